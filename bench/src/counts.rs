//! Counts the instructions of the hot paths: `bin/bench counts`.
//!
//! Each path runs under callgrind twice, with different numbers of repetitions, on sockets in memory. The difference of the
//! counts, divided by the difference of the repetitions, is the cost of one repetition without the set-up. Other load of the
//! machine hardly changes a count, so it can be compared with the one in `bench/counts.txt`.

mod baseline;
mod paths;
mod stage;

use std::io::{self, Write};
use std::process::Command;

use crate::Outcome;
use baseline::Baseline;
use paths::PATHS;
pub(crate) use paths::run;

/// Repetitions of both runs. Each run also fills its caches and tables, which the difference leaves out.
const REPETITIONS: [u64; 2] = [500, 1_500];

/// Counts, and writes the baseline.
pub(crate) fn write() -> Outcome<()> {
    Baseline::write(&measure()?)
}

/// Prints a line for each path. Compares nothing if another compiler built the baseline.
///
/// # Errors
/// The paths whose count differs from the baseline by more than the tolerance.
pub(crate) fn compare() -> Outcome<()> {
    let baseline = Baseline::read()?;
    let problems: Vec<String> = measure()?
        .iter()
        .filter_map(|(path, count)| baseline.problem(path, *count))
        .collect();
    if !baseline.is_comparable() {
        let (theirs, ours) = (&baseline.compiler, baseline::compiler());
        writeln!(
            io::stdout(),
            "not compared: the baseline is of {theirs}, this is {ours}"
        )?;
        return Ok(());
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}; if that is intended, run bin/bench counts --write",
        problems.join("; ")
    )
    .into())
}

/// Measures every path, and prints a line for each.
fn measure() -> Outcome<Vec<(&'static str, u64)>> {
    let mut counts = Vec::new();
    for (path, unit, _) in PATHS {
        let [few, many] = REPETITIONS;
        let more = instructions(path, many)?.checked_sub(instructions(path, few)?);
        let count = more.ok_or("more repetitions take fewer instructions")? / (many - few);
        writeln!(io::stdout(), "{path:<12}{count:>8} instructions {unit}")?;
        counts.push((path, count));
    }
    Ok(counts)
}

/// Runs this program under callgrind, and returns the number of executed instructions.
fn instructions(path: &str, repetitions: u64) -> Outcome<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["count", path, &repetitions.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .filter(|_| output.status.success())
        .ok_or_else(|| format!("valgrind failed:\n{log}"))?;
    Ok(collected.1.trim().parse()?)
}
