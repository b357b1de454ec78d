//! Measurements: `bin/bench`.
//!
//! [`counts`] counts the instructions of the hot paths. `fairness` measures the release sidecar under attack: each attack has a
//! sidecar of its own. The honest load of [`load`] is measured first without and then with the attack, which runs in a process
//! of its own with low priority, and [`report`] prints the ratios of both. [`deliveries`] measures what deliveries and
//! connections cost, [`publish`] the calls of Ruby, and [`performance`] writes a page of both.

mod attack;
mod chart;
mod client;
mod clock;
mod counts;
mod deliveries;
mod load;
mod performance;
mod process;
mod publish;
mod report;
mod sidecar;
mod table;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::attack::ATTACKS;
use crate::load::Load;
use crate::process::Cpu;
use crate::report::{Report, Row};
use crate::sidecar::Sidecar;

/// Result of a step of the measurement.
type Outcome<T> = Result<T, Box<dyn Error>>;

/// Duration of a phase, in seconds, unless `--seconds` names another one. A run takes two phases for each attack.
const PHASE_SECONDS: u64 = 20;
/// Maximum duration of a phase, in seconds. History older than 300 s is evicted, which would end the resumes.
const PHASE_SECONDS_MAX: u64 = 120;
/// Duration of a phase of `deliveries`, in seconds, unless `--seconds` names another one.
const CELL_SECONDS: u64 = 1;
/// Time of the load before the first phase, and of the attack before and after the second one.
const MARGIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    // Nothing is left to do if standard error is closed.
    drop(writeln!(io::stderr(), "bench: {error}"));
    ExitCode::FAILURE
}

fn run() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["fairness", "--seconds", seconds, ref names @ ..] => fairness(seconds.parse()?, names),
        ["fairness", ref names @ ..] => fairness(PHASE_SECONDS, names),
        ["attack", name, port, seconds, cursor] => {
            let count = attack::run(name, port.parse()?, seconds.parse()?, cursor)?;
            Ok(writeln!(io::stdout(), "{count}")?)
        }
        ["deliveries", "--seconds", seconds, ref names @ ..] => {
            deliveries::run(seconds.parse()?, names)
        }
        ["deliveries", ref names @ ..] => deliveries::run(CELL_SECONDS, names),
        ["publish", "--seconds", seconds] => publish::run(seconds.parse()?),
        ["publish"] => publish::run(CELL_SECONDS),
        ["report", "--seconds", seconds, ref names @ ..] => {
            performance::run(seconds.parse()?, names)
        }
        ["report", ref names @ ..] => performance::run(CELL_SECONDS, names),
        ["limit", port, socket, form] => {
            deliveries::run_limit(port.parse()?, Path::new(socket), form == "coalesce")
        }
        ["counts"] => counts::compare(),
        ["counts", "--write"] => counts::write(),
        ["count", path, repetitions] => counts::run(path, repetitions.parse()?),
        _ => Err(
            "usage: bin/bench fairness [--seconds N] [ATTACK…], bin/bench deliveries [--seconds N] \
             [SERVER…] [SCENARIO…], bin/bench publish [--seconds N], bin/bench report [--seconds N] [SERVER…] [SCENARIO…], \
             or bin/bench counts [--write]"
                .into(),
        ),
    }
}

/// Measures the named attacks, or all, and prints the table. Returns an error if an attack misses the goal.
fn fairness(seconds: u64, names: &[&str]) -> Outcome<()> {
    let known: Vec<&str> = ATTACKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
        return Err(format!("unknown attack '{unknown}'; use {}", known.join(", ")).into());
    }
    if !(1..=PHASE_SECONDS_MAX).contains(&seconds) {
        return Err(format!("--seconds {seconds}: use 1 to {PHASE_SECONDS_MAX}").into());
    }
    let mut report = Report::begin(seconds)?;
    for name in known {
        if names.is_empty() || names.contains(&name) {
            report.add(measure(name, seconds)?)?;
        }
    }
    report.end()
}

/// Measures one attack on a new sidecar.
fn measure(name: &'static str, seconds: u64) -> Outcome<Row> {
    let sidecar = Sidecar::start()?;
    let load = Load::start(&sidecar)?;
    let cursor = attack::prepare(name, &sidecar.link())?;
    let phase = Duration::from_secs(seconds);
    load.measure(MARGIN)?;
    let quiet = load.measure(phase)?;
    let attacker = attack::start(name, &sidecar, MARGIN + phase + MARGIN, &cursor)?;
    std::thread::park_timeout(MARGIN);
    let cpu = [sidecar.pid(), attacker.id()].map(Cpu::now);
    let log_bytes = sidecar.log_bytes()?;
    let attacked = load.measure(phase)?;
    let [sidecar_cpu, attack_cpu] = cpu.map(|it| it.share());
    Ok(Row {
        name,
        quiet,
        attacked,
        sidecar_cpu,
        attack_cpu,
        log_bytes_per_second: (sidecar.log_bytes()? - log_bytes) / seconds,
        attack_count: attack::wait(attacker)?,
    })
}
