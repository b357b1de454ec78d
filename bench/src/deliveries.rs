//! `bin/bench deliveries`: what deliveries and connections cost the release sidecar, beside a limit program and the peers that
//! are installed.
//!
//! The server runs on one core and the generator on another ([`cores`]). The programs take turns within each round, so that
//! all of a round meet the same conditions of the machine; figures are the medians of the rounds ([`results`]).

mod cores;
mod dialect;
mod frames;
mod histogram;
mod labels;
mod limit;
mod pages;
mod peers;
mod phase;
mod publishing;
mod results;
mod scenario;
mod server;

use std::io::{self, Write};
use std::time::Duration;

use crate::Outcome;

pub(crate) use limit::run as run_limit;
pub(crate) use results::Results;

use scenario::{GROUPS, Group};
use server::{PROGRAMS, Program};

/// Maximum duration of a phase, in seconds. Tokens and history last longer than a run of them.
const SECONDS_MAX: u64 = 60;
/// Rounds, of which figures are medians.
const ROUNDS: usize = 3;

/// Measures the named programs and groups of scenarios, or all that are installed. Prints the tables.
pub(crate) fn run(seconds: u64, names: &[&str]) -> Outcome<()> {
    let results = measure(seconds, names)?;
    writeln!(io::stdout(), "\n{}", results.text())?;
    results.check()
}

/// Measures, and prints a line for each step.
pub(crate) fn measure(seconds: u64, names: &[&str]) -> Outcome<Results> {
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(format!("--seconds {seconds}: use 1 to {SECONDS_MAX}").into());
    }
    let (programs, groups) = select(names)?;
    cores::pin_generator()?;
    let time = Duration::from_secs(seconds);
    let mut results = Results::default();
    for group in groups {
        for round in 1..=ROUNDS {
            for program in programs.iter().filter(|it| it.pages_max() >= group.pages()) {
                let figures = group
                    .run(*program, time)
                    .map_err(|error| format!("{} {}: {error}", group.name(), program.name()));
                match figures {
                    Ok(figures) => results.add(*program, figures),
                    Err(error) => results.fail(*program, error),
                }
                writeln!(
                    io::stdout(),
                    "{} {}, round {round}",
                    group.name(),
                    program.name()
                )?;
            }
        }
    }
    Ok(results)
}

/// Programs and groups of these names. Programs that are not installed are left out, and a line says so.
fn select(names: &[&str]) -> Outcome<(Vec<Program>, Vec<Group>)> {
    let mut programs: Vec<Program> = PROGRAMS
        .into_iter()
        .filter(|it| names.contains(&it.name()))
        .collect();
    let mut groups: Vec<Group> = GROUPS
        .into_iter()
        .filter(|it| names.contains(&it.name()))
        .collect();
    if programs.len() + groups.len() < names.len() {
        let known = PROGRAMS.map(Program::name).join(", ");
        let scenarios = GROUPS.map(Group::name).join(", ");
        return Err(format!("{}: use {known}, {scenarios}", names.join(" ")).into());
    }
    if programs.is_empty() {
        programs = PROGRAMS.to_vec();
    }
    if groups.is_empty() {
        groups = GROUPS.to_vec();
    }
    for program in &programs {
        if let Some(reason) = program.missing() {
            writeln!(io::stdout(), "{} is left out: {reason}", program.name())?;
        }
    }
    programs.retain(|it| it.missing().is_none());
    Ok((programs, groups))
}
