//! The table of ratios.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::thread;

use crate::Outcome;
use crate::load::{METRICS, Phase, RATES, READERS};

/// Goal: no attack raises the 99th percentile of others by more than this factor.
const RATIO_MAX: f64 = 3.0;

/// The measurement of one attack.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) quiet: Phase,
    pub(crate) attacked: Phase,
    /// CPU shares during the attack, in percent of one core.
    pub(crate) sidecar_cpu: f64,
    pub(crate) attack_cpu: f64,
    /// Connections, requests or frames that the attack sent.
    pub(crate) attack_count: u64,
    /// Growth of the sidecar's log during the attack.
    pub(crate) log_bytes_per_second: u64,
}

/// A table that is printed row by row.
pub(crate) struct Report {
    missed: Vec<String>,
}

impl Report {
    /// Prints the machine, the load and the table's head.
    pub(crate) fn begin(seconds: u64) -> Outcome<Self> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let model = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name"));
        let model = model.map_or("unknown CPU", |it| it.trim_start_matches([' ', '\t', ':']));
        let cores = thread::available_parallelism()?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let busy = fs::read_to_string("/proc/loadavg")?;
        let rates: Vec<String> = RATES
            .iter()
            .zip(METRICS)
            .map(|(rate, metric)| format!("{rate} {metric}"))
            .collect();
        writeln!(
            io::stdout(),
            "{model}, {cores} cores, Linux {}; load average {}\n\
             {READERS} readers; each second: {}; {seconds} s without and {seconds} s with each attack\n\
             p50 and p99 in ms without the attack, and the factor by which it raises them; CPU in % of one core: a load near 100 is saturated\n",
            kernel.trim(),
            busy.split(' ').next().unwrap_or_default(),
            rates.join(", "),
        )?;
        let metrics = METRICS.map(|metric| format!("{metric:^33}")).concat();
        let cells = format!("{:>7}{:>9}{:>7}{:>9} ", "p50", "×", "p99", "×").repeat(METRICS.len());
        writeln!(io::stdout(), "{:<16}{metrics}{:>24}", "", "CPU")?;
        writeln!(
            io::stdout(),
            "{:<16}{cells}{:>8}{:>8}{:>8}{:>8}{:>12}{:>11}",
            "attack",
            "load",
            "sidecar",
            "attack",
            "failed",
            "sent",
            "log B/s"
        )?;
        Ok(Self { missed: Vec::new() })
    }

    /// Prints a row.
    pub(crate) fn add(&mut self, mut row: Row) -> Outcome<()> {
        let mut cells = String::new();
        for (index, metric) in METRICS.iter().enumerate() {
            let [quiet, attacked] = [&mut row.quiet, &mut row.attacked].map(|phase| {
                phase.latencies[index].sort_unstable();
                [50, 99].map(|percent| percentile(&phase.latencies[index], percent))
            });
            let ratios = [attacked[0] / quiet[0], attacked[1] / quiet[1]];
            for (before, ratio) in quiet.iter().zip(ratios) {
                write!(cells, "{before:>7.1}{ratio:>8.1}×")?;
            }
            cells += " ";
            if ratios[1] > RATIO_MAX {
                self.missed.push(format!("{} ({metric})", row.name));
            }
        }
        writeln!(
            io::stdout(),
            "{:<16}{cells}{:>8.0}{:>8.0}{:>8.0}{:>8}{:>12}{:>11}",
            row.name,
            row.attacked.cpu,
            row.sidecar_cpu,
            row.attack_cpu,
            row.quiet.failed + row.attacked.failed,
            row.attack_count,
            row.log_bytes_per_second
        )?;
        Ok(())
    }

    /// Returns an error that names the attacks that missed the goal.
    pub(crate) fn end(self) -> Outcome<()> {
        if self.missed.is_empty() {
            return Ok(());
        }
        Err(format!(
            "p99 raised by more than {RATIO_MAX} ×: {}",
            self.missed.join(", ")
        )
        .into())
    }
}

/// A percentile of sorted latencies, in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "latencies of minutes in microseconds are exact"
)]
fn percentile(sorted: &[u64], percent: usize) -> f64 {
    let index = sorted.len().saturating_sub(1) * percent / 100;
    sorted
        .get(index)
        .map_or(f64::NAN, |micros| *micros as f64 / 1000.0)
}
