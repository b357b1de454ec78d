//! How long to wait before the next attempt to link.

use std::time::Duration;

/// The first wait after a link that worked: long enough not to spin, short enough for a sidecar that was just replaced.
const FIRST: Duration = Duration::from_millis(5);

/// The longest wait: what a sidecar that is back waits for its publishers at most.
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from wait to wait. The publisher's random identity spreads the processes of one app.
#[derive(Debug)]
pub(crate) struct Backoff {
    identity: [u8; 16],
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(identity: [u8; 16]) -> Self {
        Self {
            identity,
            attempts: 0,
        }
    }

    /// The link did what it is for.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Between half and all of the next step.
    pub(crate) fn next(&mut self) -> Duration {
        let step = FIRST
            .saturating_mul(1 << self.attempts.min(16))
            .min(LONGEST);
        let spread = self.identity[self.attempts as usize % self.identity.len()];
        self.attempts = self.attempts.saturating_add(1);
        step / 2 + step / 2 * u32::from(spread) / u32::from(u8::MAX)
    }
}
