//! Ceiling of the process's memory, and the task that measures it.
//!
//! Pools count what they hold at once ([`lineside_hub::Memory`]). The rest of the process (connections, links, the allocator)
//! is measured from outside, a few times a second.

mod ceiling;
mod estimate;

use std::convert::Infallible;
use std::time::Duration;

use lineside_hub::{Memory, Pool, Stage};

use crate::broker::Broker;
use crate::clock::Clock;
use crate::log::{Level, event};
pub(crate) use ceiling::{available_bytes, default_bytes_max};
use estimate::Estimate;

/// Interval of the measurements, in milliseconds.
const TICK_MS: u64 = 100;

/// Number of locks of the hub per measurement for evicting history.
const RELIEFS_MAX: usize = 10;

/// Time after which a stage that gives up nothing more has ended, in milliseconds.
const QUIET_MS: u64 = 10_000;

/// Use of the ceiling from which memory that the allocator may have kept is assumed to be free, in percent: below the first
/// stage, so that a peak which is over leaves room for history.
const ALMOST_SHORT_PERCENT: usize = 70;

/// Minimum ceiling with room for a useful history, in bytes. `lineside check` warns below it.
pub(crate) const BYTES_FEW: usize = 64 * 1024 * 1024;

/// Measurement of the process's memory.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    estimate: Estimate,
}

impl Monitor {
    /// Sets the ceiling, and measures for the first time.
    pub(crate) fn start(memory: &Memory, bytes_max: usize) -> Self {
        let mut monitor = Self::default();
        memory.limit(bytes_max);
        monitor.measure(memory);
        monitor
    }

    fn measure(&mut self, memory: &Memory) {
        let before = memory.counted();
        if let Some(resident) = resident_bytes() {
            self.note(memory, resident, (before, memory.counted()));
        }
    }

    /// Notes resident memory, and what the pools counted before and after it was read.
    fn note(&mut self, memory: &Memory, resident: usize, counted: (usize, usize)) {
        memory.set(Pool::Other, self.estimate.other(resident, counted));
        let bytes_max = memory.bytes_max();
        if memory.used() > bytes_max / 100 * ALMOST_SHORT_PERCENT {
            memory.set(Pool::Other, self.estimate.assume_free(bytes_max));
        }
    }

    /// Measures the process's memory, evicts history while memory is short, and logs when a stage begins and ends. Runs until
    /// the sidecar stops.
    pub(crate) async fn run(mut self, broker: &Broker, clock: Clock) -> Infallible {
        let memory = broker.memory();
        let mut stages = Stage::ALL.map(Reported::new);
        let mut tick = tokio::time::interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.measure(memory);
            for _ in 0..RELIEFS_MAX {
                if !broker.relieve() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            for stage in &mut stages {
                stage.report(memory, clock.now_ms());
            }
        }
    }
}

/// Resident memory of the process, in bytes. `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kibibytes(&status, "VmRSS:")
}

/// Returns the bytes of a line of proc_pid_status(5) or proc_meminfo(5).
pub(crate) fn kibibytes(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    number.checked_mul(1024)
}

/// State of a stage, for the log.
struct Reported {
    stage: Stage,
    /// Number that it had given up at the previous measurement.
    seen: u64,
    /// Number before it began, and the time at which it last gave up something. `None` while it has not begun.
    active: Option<(u64, u64)>,
}

impl Reported {
    fn new(stage: Stage) -> Self {
        Self {
            stage,
            seen: 0,
            active: None,
        }
    }

    fn report(&mut self, memory: &Memory, now_ms: u64) {
        let stage = self.stage.name();
        let given_up = memory.given_up(self.stage);
        let before = std::mem::replace(&mut self.seen, given_up);
        if given_up > before {
            if self.active.is_none() {
                let (used, bytes_max) = (memory.used(), memory.bytes_max());
                let effect = effect(self.stage);
                let remedy =
                    "give the process more memory, or raise LINESIDE_MEMORY_MAX if it has more";
                event!(
                    Level::Warn,
                    "memory_short",
                    stage,
                    effect,
                    used,
                    bytes_max,
                    remedy
                );
            }
            let (first, _) = self.active.unwrap_or((before, 0));
            self.active = Some((first, now_ms));
        } else if let Some((first, last_ms)) = self.active
            && now_ms >= last_ms + QUIET_MS
        {
            let count = given_up - first;
            event!(Level::Info, "memory_short_ended", stage, count);
            self.active = None;
        }
    }
}

/// Effect of a stage, for people.
fn effect(stage: Stage) -> &'static str {
    match stage {
        Stage::History => "the oldest history is evicted",
        Stage::Backlogs => "slow connections with large backlogs are ended",
        Stage::Messages => "connections with large unfinished messages are ended",
        Stage::Connections => "new connections are refused",
        Stage::Publishers => "publishers wait",
    }
}

#[cfg(test)]
mod tests;
