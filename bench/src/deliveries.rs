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
use std::time::{Duration, Instant};

use crate::Outcome;

pub(crate) use cores::round_trip_nanos;
pub(crate) use limit::run as run_limit;
pub(crate) use results::Results;

use scenario::{GROUPS, Group};
use server::{PROGRAMS, Program};

/// Maximum duration of a phase, in seconds. Tokens and history last longer than a run of them.
const SECONDS_MAX: u64 = 60;
/// Rounds, of which figures are medians.
const ROUNDS: u32 = 3;
/// Peers take part in another round if all is over by this time, and otherwise in the first alone.
const PEERS_MAX: Duration = Duration::from_secs(9 * 60);
/// No round begins after this time.
const BEGIN_MAX: Duration = Duration::from_secs(10 * 60);

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
    let mut results = Results::default();
    let (mut programs, groups) = select(names)?;
    for program in &programs {
        if let Some(reason) = program.missing() {
            results.fail(*program, format!("{}: {reason}", program.name()));
        }
    }
    programs.retain(|it| it.missing().is_none());
    cores::pin_generator()?;
    let time = Duration::from_secs(seconds);
    let begin = Instant::now();
    for round in 1..=ROUNDS {
        if begin.elapsed() > BEGIN_MAX {
            break;
        }
        let has_peers = round == 1 || begin.elapsed() / (round - 1) * round < PEERS_MAX;
        for (group, program) in pairs(&groups, &programs, has_peers) {
            match group.run(program, time) {
                Ok(figures) => results.add(program, figures),
                Err(error) => {
                    let error = format!("{} {}: {error}", group.name(), program.name());
                    results.fail(program, error);
                }
            }
            let elapsed = begin.elapsed().as_secs();
            let (group, program) = (group.name(), program.name());
            writeln!(
                io::stdout(),
                "round {round}: {group} {program}, after {elapsed} s"
            )?;
        }
    }
    Ok(results)
}

/// Scenarios with the programs that run them, in the order of a round.
fn pairs(groups: &[Group], programs: &[Program], has_peers: bool) -> Vec<(Group, Program)> {
    let of = |group: Group| {
        let able = programs
            .iter()
            .filter(move |it| it.pages_max() >= group.pages() && (has_peers || !it.is_peer()));
        able.map(move |program| (group, *program))
    };
    groups.iter().copied().flat_map(of).collect()
}

/// Programs and groups of these names.
fn select(names: &[&str]) -> Outcome<(Vec<Program>, Vec<Group>)> {
    let (servers, scenarios) = (PROGRAMS.map(Program::name), GROUPS.map(Group::name));
    let is_known = |name: &&&str| servers.contains(*name) || scenarios.contains(*name);
    if let Some(unknown) = names.iter().find(|it| !is_known(it)) {
        let (servers, scenarios) = (servers.join(", "), scenarios.join(", "));
        return Err(format!(
            "unknown server or scenario '{unknown}'; servers: {servers}; scenarios: {scenarios}"
        )
        .into());
    }
    let mut programs = PROGRAMS.to_vec();
    programs.retain(|it| names.contains(&it.name()));
    let mut groups = GROUPS.to_vec();
    groups.retain(|it| names.contains(&it.name()));
    if programs.is_empty() {
        programs = PROGRAMS.to_vec();
    }
    if groups.is_empty() {
        groups = GROUPS.to_vec();
    }
    Ok((programs, groups))
}
