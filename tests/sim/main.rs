//! Deterministic simulation: one seed decides every step of a run. It runs the real spools, links, ingress sessions, hub,
//! journal, workers and tokens, planned stops and kills, and pages with the browser module, over in-memory connections and
//! virtual clocks.
//!
//! At the end of a run all faults stop. Once nothing is left to do, the history checker reads the log, and every page must show
//! what the database has. `bin/test sim --seed S` repeats a failed run.

#![expect(clippy::print_stderr, reason = "a failing run prints its seed")]

mod app;
mod client;
mod network;
mod panics;
mod process;
mod sidecar;
mod tab;
mod tally;
mod websocket;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use lineside_tests::history::Counts;
use lineside_tests::random::Random;

use tally::Tally;
use world::World;

/// Number of seeds, unless `LINESIDE_SIM_SEEDS` gives another.
const SEEDS: u64 = 2_000;

/// Number of seeds that are run twice and compared.
const REPEATED: u64 = 100;

/// Steps of one run, before its faults end.
const STEPS: u64 = 1_000;

/// Prints the seed if the run panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "the failing run has seed {seed}: bin/test sim --seed {seed} repeats it alone"
            );
        }
    }
}

/// Totals of all runs.
#[derive(Default)]
struct Sum {
    tally: Tally,
    counts: Counts,
}

fn run(seed: u64, sum: &Mutex<Sum>) -> u64 {
    let seed = Seed(seed);
    panics::watch();
    let mut world = World::new(Random::new(seed.0));
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    world.write_log();
    let counts = world.check();
    let mut sum = sum.lock().expect("the sum");
    sum.tally.add(&world.tally);
    sum.counts += counts;
    drop(sum);
    world.trace()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Runs all seeds, on one thread per core.
fn run_all(seeds: u64, sum: &Mutex<Sum>) {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < seeds
                {
                    run(seed, sum);
                }
            });
        }
    });
}

#[test]
fn every_run_keeps_every_promise() {
    let sum = Mutex::default();
    if let Some(seed) = number("LINESIDE_SIM_SEED") {
        run(seed, &sum);
        return;
    }
    let seeds = number("LINESIDE_SIM_SEEDS").unwrap_or(SEEDS);
    run_all(seeds, &sum);
    let Sum { tally, counts } = sum.into_inner().expect("the sum");
    println!("{seeds} runs: {counts:?} {tally:#?}");
    tally.assert_everything_happened(seeds);
}

#[test]
fn repeated_run_is_identical() {
    let sum = Mutex::default();
    for seed in 0..REPEATED {
        assert_eq!(run(seed, &sum), run(seed, &sum), "seed {seed}");
    }
}
