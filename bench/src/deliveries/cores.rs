//! The two cores of a measurement: one for the server, one for the generator.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::Outcome;

const SERVER: usize = 0;
const GENERATOR: usize = 1;
/// Number of batches of a probe, and of round trips in a batch.
const BATCHES: usize = 15;
const ROUND_TRIPS: u32 = 200;
/// Time-out of a probe.
const PROBE: Duration = Duration::from_millis(50);
/// Round trip of a cache line between near cores, in nanoseconds. Virtual cores move on the host: a round trip takes about
/// 55 ns on cores that share a cache, and 300 to 500 ns on others.
pub(super) const NEAR_NANOS_MAX: u64 = 160;

/// Moves this thread, and the threads and processes that it starts later, to the generator's core.
pub(super) fn pin_generator() -> Outcome<()> {
    pin(GENERATOR)
}

/// Runs a step whose processes stay on the server's core.
pub(super) fn on_server_core<T>(step: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    pin(SERVER)?;
    let result = step();
    pin(GENERATOR)?;
    result
}

fn pin(core: usize) -> Outcome<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores).map_err(|error| {
        format!("core {core}: {error}; a measurement needs the cores {SERVER} and {GENERATOR}")
    })?;
    Ok(())
}

/// Measures the round trip of a cache line between the two cores, in nanoseconds: the median of some batches.
pub(crate) fn round_trip_nanos() -> u64 {
    let turn = AtomicU32::new(0);
    let end = Instant::now() + PROBE;
    let rounds = u32::try_from(BATCHES).unwrap_or_default() * ROUND_TRIPS;
    let mut batches = thread::scope(|scope| {
        scope.spawn(|| {
            if pin(SERVER).is_ok() {
                for round in 0..rounds {
                    if !await_turn(&turn, round * 2 + 1, end) {
                        break;
                    }
                    turn.store(round * 2 + 2, Ordering::Release);
                }
            }
        });
        let mut batches = Vec::with_capacity(BATCHES);
        let mut begin = Instant::now();
        for round in 0..rounds {
            turn.store(round * 2 + 1, Ordering::Release);
            if !await_turn(&turn, round * 2 + 2, end) {
                break;
            }
            if (round + 1) % ROUND_TRIPS == 0 {
                batches.push(begin.elapsed() / ROUND_TRIPS);
                begin = Instant::now();
            }
        }
        batches
    });
    batches.sort_unstable();
    let median = batches.get(batches.len() / 2).copied().unwrap_or(PROBE);
    u64::try_from(median.as_nanos()).unwrap_or(u64::MAX)
}

fn await_turn(turn: &AtomicU32, expected: u32, end: Instant) -> bool {
    let mut spins = 0_u32;
    while turn.load(Ordering::Acquire) != expected {
        std::hint::spin_loop();
        spins = spins.wrapping_add(1);
        if spins.is_multiple_of(1024) && Instant::now() > end {
            return false;
        }
    }
    true
}
