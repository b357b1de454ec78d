/// First delay after a connection that worked, in milliseconds. Long enough not to spin, and short after the restart of a
/// sidecar.
const FIRST_MS: u64 = 5;

/// Maximum delay, in milliseconds. After a longer outage of the sidecar, publishers are back within this time.
pub(super) const LONGEST_MS: u64 = 1000;

/// Exponential back-off between connections. The jitter comes from the publisher's random identity.
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

    /// Starts again from the first delay, after an ack.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Returns the next delay, in milliseconds: 50 % to 100 % of the next step.
    pub(super) fn next_ms(&mut self) -> u64 {
        let step = (FIRST_MS << self.attempts.min(16)).min(LONGEST_MS);
        let spread = self.identity[self.attempts as usize % self.identity.len()];
        self.attempts = self.attempts.saturating_add(1);
        let least = step / 2;
        least + (step - least) * u64::from(spread) / u64::from(u8::MAX)
    }
}
