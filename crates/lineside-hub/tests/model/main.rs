//! Compares journal and shards with a plain reference, in thousands of seeded runs. Each line that a connection receives
//! is compared with the rules of resume.

mod client;
mod history;
mod random;
mod resume;
mod tally;
mod world;

use random::Random;
use tally::Tally;
use world::World;

/// Number of runs. They take under 20 s in the dev profile on two cores of 2024.
const SEEDS: u64 = 4_000;

/// Number of steps of one run: enough to close a connection several times during a replay.
const STEPS: u64 = 400;

/// Seed of a run. Prints itself if the run fails.
struct Seed(u64);

#[expect(clippy::print_stderr, reason = "the seed repeats the failing run")]
impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the failing run has seed {}; to repeat it alone, set LINESIDE_SEED={}",
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
fn connections_receive_exactly_what_their_verdicts_promise() {
    let mut tally = Tally::default();
    match std::env::var("LINESIDE_SEED") {
        Ok(seed) => run(
            seed.parse().expect("LINESIDE_SEED must be a number"),
            &mut tally,
        ),
        Err(_) => {
            (0..SEEDS).for_each(|seed| run(seed, &mut tally));
            tally.assert_all_frequent(SEEDS);
        }
    }
}
