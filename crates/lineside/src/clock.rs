//! The two clocks: one that never goes back, for waits, and the one that tokens are dated by.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_hub::SavedAt;

/// The longest time between a predecessor's end and our start that counts, in milliseconds: half of what a `once` id is
/// known for, so that no step of the wall clock makes them all forgotten.
const AWAY_MS_MAX: u64 = 60_000;

/// A moment, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the clock that never goes back.
    pub ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// Measures from when the sidecar started, or goes on from where its predecessor's clock stood.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// What it showed then.
    from_ms: u64,
}

impl Clock {
    /// A clock that stands at zero.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            from_ms: 0,
        }
    }

    /// This moment.
    pub(crate) fn now(self) -> Now {
        Now {
            ms: self.now_ms(),
            wall_ms: self.wall_ms(),
        }
    }

    /// The predecessor's clock. The time since then counts too, as far as the wall clock can be trusted with it.
    pub(crate) fn go_on(saved: SavedAt) -> Self {
        let clock = Self::start();
        Self {
            from_ms: saved
                .now_ms
                .saturating_add(away_ms(saved.wall_ms, clock.wall_ms())),
            ..clock
        }
    }

    /// Milliseconds since the start of the first sidecar of this epoch; a step of the wall clock does not move it.
    pub(crate) fn now_ms(self) -> u64 {
        self.from_ms.saturating_add(millis(self.started.elapsed()))
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

/// What passed between two times of the wall clock: nothing when that went back, and [`AWAY_MS_MAX`] at most.
fn away_ms(saved_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(saved_ms).min(AWAY_MS_MAX)
}

#[cfg(test)]
mod tests;
