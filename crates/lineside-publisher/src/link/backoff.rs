/// The first wait after a link that worked, in milliseconds: long enough not to spin, short enough for a sidecar that was
/// just replaced.
const FIRST_MS: u64 = 5;

/// The longest wait, in milliseconds: what a sidecar that is back waits for its publishers at most.
const LONGEST_MS: u64 = 1000;

/// How long to wait before the next attempt to link. Doubles from wait to wait; the publisher's random identity spreads
/// the processes of one app.
#[derive(Debug)]
pub(super) struct Backoff {
    identity: [u8; 16],
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(identity: [u8; 16]) -> Self {
        Self {
            identity,
            attempts: 0,
        }
    }

    /// The link did what it is for.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Between half and all of the next step, in milliseconds.
    pub(super) fn next_ms(&mut self) -> u64 {
        let step = (FIRST_MS << self.attempts.min(16)).min(LONGEST_MS);
        let spread = self.identity[self.attempts as usize % self.identity.len()];
        self.attempts = self.attempts.saturating_add(1);
        let least = step / 2;
        least + (step - least) * u64::from(spread) / u64::from(u8::MAX)
    }
}
