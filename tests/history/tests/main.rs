//! Tests of the history checker: no findings in correct random histories, and a finding in every mutant of them.

mod generator;
mod mutants;

use lineside_tests::history::{Counts, Event, judge, read, write};
use lineside_tests::random::Random;

/// Number of histories, each of `STEPS` steps: some seconds in the dev profile.
const SEEDS: u64 = 80;
const STEPS: u64 = 400;

/// Mutants made of each history in each way.
const PLACES: usize = 3;

#[test]
fn correct_history_has_no_findings() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let judgement = judge(&generator::history(seed, STEPS));
        assert!(judgement.findings.is_empty(), "seed {seed}: {judgement}");
        counts += judgement.counts;
    }
    let rare = [counts.false_alarms, counts.repeated];
    let common = [
        counts.acked,
        counts.deliveries,
        counts.recovered,
        counts.lost,
    ];
    assert!(rare.iter().all(|count| *count > SEEDS / 4), "{counts:?}");
    assert!(common.iter().all(|count| *count > SEEDS * 10), "{counts:?}");
}

#[test]
fn every_mutant_is_caught() {
    for mutant in mutants::ALL {
        let mut made = 0;
        for seed in 0..SEEDS {
            let history = generator::history(seed, STEPS);
            let mut random = Random::new(seed);
            for _ in 0..PLACES {
                let Some(mutated) = (mutant.mutate)(&history, &mut random) else {
                    continue;
                };
                made += 1;
                let judgement = judge(&mutated);
                let is_caught = |fault| judgement.findings.iter().any(|it| it.fault == fault);
                let is_right = mutant.expected.iter().any(|fault| is_caught(*fault));
                assert!(is_right, "{}, seed {seed}: {judgement}", mutant.name);
            }
        }
        assert!(made >= SEEDS / 3, "{}: only {made} mutants", mutant.name);
        println!("{}: {made} mutants, all caught", mutant.name);
    }
}

#[test]
fn log_is_read_as_written() {
    let history = generator::history(1, STEPS);
    let mut log = Vec::new();
    write(&history, &mut log).unwrap();
    assert_eq!(read(log.as_slice()).unwrap(), history);
    let lines = b"\n{\"event\":\"settled\"}\n{\"event\":\"messages\"}\n";
    assert_eq!(read(&lines[..21]).unwrap(), [Event::Settled]);
    let error = read(&lines[..]).unwrap_err().to_string();
    assert!(
        error.starts_with("line 3 of the log is no event"),
        "{error}"
    );
}
