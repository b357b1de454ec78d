//! CPU time of processes, from `/proc`.

use std::fs;
use std::time::Instant;

/// Ticks of `/proc/<pid>/stat` in a second: a constant of Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of a process at one moment.
pub(crate) struct Cpu {
    pid: u32,
    ticks: u64,
    at: Instant,
}

impl Cpu {
    pub(crate) fn now(pid: u32) -> Self {
        Self {
            pid,
            ticks: ticks(pid),
            at: Instant::now(),
        }
    }

    /// Share of one core since then, in percent; 0 if the process has ended.
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a run of minutes are small"
    )]
    pub(crate) fn share(&self) -> f64 {
        let used = ticks(self.pid).saturating_sub(self.ticks) as f64 / TICKS_PER_SECOND;
        used / self.at.elapsed().as_secs_f64() * 100.0
    }
}

/// CPU time of a process and its threads so far; 0 if it has ended.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may contain spaces. The fields 14 and 15 of proc(5) follow it: user and system time.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let times = fields.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}
