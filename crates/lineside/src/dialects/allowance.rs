//! Rate limit of the messages of one connection.

use lineside_protocol::codes;

use super::Ending;

/// Maximum number of messages per second and connection, on average.
pub(super) const MESSAGES_PER_SECOND_MAX: u32 = 50;

/// Period of that average, in seconds. A page may subscribe to many channels when it opens.
pub(super) const BURST_SECONDS: u32 = 10;

/// Number of messages that a connection may send now.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// Time at which they were counted, in seconds.
    counted_s: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            left: MESSAGES_PER_SECOND_MAX * BURST_SECONDS,
            counted_s: 0,
        }
    }
}

impl Allowance {
    /// Counts a message. `now_s` is monotonic, in seconds.
    ///
    /// # Errors
    /// The end of the connection if it has sent too many.
    pub(super) fn count(&mut self, now_s: u64) -> Result<(), Ending> {
        let most = MESSAGES_PER_SECOND_MAX * BURST_SECONDS;
        let passed = now_s.saturating_sub(self.counted_s);
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let more = passed.saturating_mul(MESSAGES_PER_SECOND_MAX);
        let left = self.left.saturating_add(more).min(most);
        *self = Self {
            left: left.saturating_sub(1),
            counted_s: now_s,
        };
        if left == 0 {
            Err(codes::CLOSE_TOO_MANY_REQUESTS.into())
        } else {
            Ok(())
        }
    }
}
