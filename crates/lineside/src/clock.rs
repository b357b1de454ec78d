//! Two clocks: a monotonic one for deadlines, and the wall clock for tokens.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_hub::SavedAt;

/// Maximum time between the end of the previous sidecar and the start that is counted, in milliseconds: half of the lifetime
/// of a `once` id, so that a step of the wall clock does not expire all of them.
pub const AWAY_MS_MAX: u64 = 60_000;

/// A time by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of the monotonic clock.
    pub ms: u64,
    /// Milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

/// Time at which a right ends, by both clocks. It is over when one of them has passed it. So a step of the wall clock back
/// extends no right, and neither does a suspension of the machine, which the monotonic clock does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline(Now);

impl Deadline {
    /// Deadline at a time of the wall clock, in milliseconds since the Unix epoch.
    pub(crate) fn at_wall(wall_ms: u64, now: Now) -> Self {
        Self(Now {
            ms: now.ms.saturating_add(wall_ms.saturating_sub(now.wall_ms)),
            wall_ms,
        })
    }

    /// Time left, in milliseconds. Zero when it is over.
    pub(crate) fn left_ms(self, now: Now) -> u64 {
        let left_ms = self.0.ms.saturating_sub(now.ms);
        left_ms.min(self.0.wall_ms.saturating_sub(now.wall_ms))
    }
}

/// Monotonic clock. Starts at zero, or continues the clock of the previous sidecar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// Its value at that time, in milliseconds.
    from_ms: u64,
}

impl Clock {
    /// Starts a clock at zero.
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            from_ms: 0,
        }
    }

    /// Current time.
    pub(crate) fn now(self) -> Now {
        Now {
            ms: self.now_ms(),
            wall_ms: self.wall_ms(),
        }
    }

    /// Continues the clock of the previous sidecar, and adds the time between the two, at most [`AWAY_MS_MAX`].
    pub(crate) fn go_on(saved: SavedAt) -> Self {
        let clock = Self::start();
        Self {
            from_ms: saved
                .now_ms
                .saturating_add(away_ms(saved.wall_ms, clock.wall_ms())),
            ..clock
        }
    }

    /// Milliseconds since the start of the first sidecar of this epoch.
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

/// Time between two readings of the wall clock, between zero and [`AWAY_MS_MAX`].
fn away_ms(saved_ms: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(saved_ms).min(AWAY_MS_MAX)
}

#[cfg(test)]
mod tests;
