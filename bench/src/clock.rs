//! Pace of the load.

use std::time::{Duration, Instant};

/// Waits until `due`; returns at once if it has passed.
pub(crate) fn wait_until(due: Instant) {
    while let Some(left) = due
        .checked_duration_since(Instant::now())
        .filter(|it| !it.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

/// Times of a fixed schedule: every `interval` from now on, until `end`.
pub(crate) fn schedule(interval: Duration, end: Instant) -> impl Iterator<Item = Instant> {
    std::iter::successors(Some(Instant::now()), move |due| Some(*due + interval))
        .take_while(move |due| *due < end)
}

/// A duration in whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
