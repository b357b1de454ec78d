//! CPU time and memory of processes.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// CPU time of a process at one moment.
pub(crate) struct Cpu {
    pid: u32,
    nanos: u64,
    at: Instant,
}

impl Cpu {
    pub(crate) fn now(pid: u32) -> Self {
        Self {
            pid,
            nanos: cpu_nanos(pid),
            at: Instant::now(),
        }
    }

    /// Share of one core since then, in percent; 0 if the process has ended.
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of a run of minutes are exact"
    )]
    pub(crate) fn share(&self) -> f64 {
        let used = cpu_nanos(self.pid).saturating_sub(self.nanos) as f64;
        used / self.at.elapsed().as_secs_f64() / 1e9 * 100.0
    }
}

/// CPU time of a process and its threads so far, in nanoseconds; 0 if it has ended.
pub(crate) fn cpu_nanos(pid: u32) -> u64 {
    let time = i32::try_from(pid)
        .ok()
        .and_then(|pid| clock_getcpuclockid(Pid::from_raw(pid)).ok())
        .and_then(|clock| clock.now().ok());
    time.map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
        seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or_default()
    })
}

/// A process, its children, and theirs. Linux lists them in `/proc/<pid>/task/<tid>/children` (proc(5)).
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let children: Vec<u32> = tasks
            .filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok())
            .flat_map(|list| {
                let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
                pids.collect::<Vec<u32>>()
            })
            .collect();
        pids.extend(children);
        next += 1;
    }
    pids
}

/// Memory of a process that no other shares, in bytes (`Private_Dirty` of proc(5)); 0 if it has ended.
pub(crate) fn private_bytes(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib = line.and_then(|it| it.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Kills a process that a measured server has started.
pub(crate) fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended already.
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or_default();
    }
}
