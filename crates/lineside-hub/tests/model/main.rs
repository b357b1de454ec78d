//! Journal and shards against a plain reference, over thousands of seeded interleavings:
//! what every connection receives is compared line by line with what the rules of resume say it must.

mod client;
mod history;
mod random;
mod resume;
mod tally;
mod world;

use random::Random;
use tally::Tally;
use world::World;

/// Under 20 s in the dev profile on two cores of 2024.
const SEEDS: u64 = 4_000;

/// Steps of one run: enough for a client to lose its connection a few times in the middle of a replay.
const STEPS: u64 = 400;

/// Names the seed of a run that fails.
struct Seed(u64);

#[expect(
    clippy::print_stderr,
    reason = "it is how a failing run is found again"
)]
impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the failing run has seed {}: LINESIDE_SEED={} repeats it alone",
                self.0, self.0
            );
        }
    }
}

fn run(seed: u64, tally: &mut Tally) {
    let seed = Seed(seed);
    let mut world = World::new(Random::new(seed.0));
    for _ in 0..STEPS {
        world.step();
    }
    world.settle();
    tally.add(&world.tally);
}

#[test]
fn every_connection_receives_what_its_verdicts_promise_and_nothing_else() {
    let mut tally = Tally::default();
    match std::env::var("LINESIDE_SEED") {
        Ok(seed) => run(seed.parse().expect("LINESIDE_SEED is a number"), &mut tally),
        Err(_) => {
            (0..SEEDS).for_each(|seed| run(seed, &mut tally));
            tally.assert_everything_happened(SEEDS);
        }
    }
}
