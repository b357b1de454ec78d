//! The two clocks: one that never goes back, for waits, and the one that tokens are dated by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the clock that never goes back.
    pub ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// Measures from when the sidecar started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock that stands at zero.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// This moment.
    pub(crate) fn now(self) -> Now {
        Now {
            ms: self.now_ms(),
            wall_ms: self.wall_ms(),
        }
    }

    /// Milliseconds since the start; a step of the wall clock does not move it.
    pub(crate) fn now_ms(self) -> u64 {
        millis(self.started.elapsed())
    }

    /// Milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, millis)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
