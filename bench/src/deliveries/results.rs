//! Medians of the rounds, and their tables.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::labels::Labels;
use super::phase::Sample;
use super::scenario::{Figure, Scenario};
use super::server::Program;
use crate::Outcome;
use crate::table::{Bar, Kind, Table, thousands};

/// Every scenario, in the order of the tables.
pub(crate) const SCENARIOS: [Scenario; 10] = [
    Scenario::Shared1000Paced,
    Scenario::Shared10000Paced,
    Scenario::OwnPaced,
    Scenario::Shared1000Saturated,
    Scenario::Shared10000Saturated,
    Scenario::OwnSaturated,
    Scenario::Memory,
    Scenario::Connects,
    Scenario::Stalled,
    Scenario::Storm,
];

/// Figures of all rounds.
#[derive(Debug, Default)]
pub(crate) struct Results {
    figures: BTreeMap<(Scenario, Program), Vec<Figure>>,
    failures: Vec<(Program, String)>,
}

impl Results {
    pub(super) fn add(&mut self, program: Program, figures: Vec<Figure>) {
        for figure in figures {
            self.figures
                .entry((figure.scenario, program))
                .or_default()
                .push(figure);
        }
    }

    pub(super) fn fail(&mut self, program: Program, error: String) {
        self.failures.push((program, error));
    }

    /// Returns an error if Lineside or a limit failed, or lost, repeated or reordered a publication.
    pub(crate) fn check(&self) -> Outcome<()> {
        let failures = self
            .failures
            .iter()
            .filter(|(program, _)| !program.is_peer());
        let mut errors: Vec<String> = failures.map(|(_, error)| error.clone()).collect();
        for ((scenario, program), figures) in
            self.figures.iter().filter(|((_, it), _)| !it.is_peer())
        {
            let [missing, repeated] = losses(figures);
            if missing + repeated > 0 {
                errors.push(format!(
                    "{}: {} lost {missing} publications, and repeated or reordered {repeated}",
                    Labels::of(*scenario).title,
                    program.name()
                ));
            }
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors.join("\n").into())
        }
    }

    /// Failures of programs, for a note below the tables.
    pub(crate) fn failures(&self) -> impl Iterator<Item = &str> {
        self.failures.iter().map(|(_, error)| error.as_str())
    }

    /// All tables as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for table in self.tables() {
            // Writing to a String does not fail.
            write!(
                text,
                "{}\n{}\n\n{}\n",
                table.title, table.note, table.markdown
            )
            .unwrap_or_default();
        }
        for failure in self.failures() {
            writeln!(text, "failed: {failure}").unwrap_or_default();
        }
        text
    }

    /// Tables of the scenarios that were measured.
    pub(crate) fn tables(&self) -> Vec<Table> {
        SCENARIOS
            .into_iter()
            .filter_map(|scenario| self.table(scenario))
            .collect()
    }

    fn table(&self, scenario: Scenario) -> Option<Table> {
        let rows: Vec<Row> = self
            .figures
            .iter()
            .filter(|((of, _), _)| *of == scenario)
            .map(|((_, program), figures)| Row::new(*program, figures))
            .collect();
        rows.first()?;
        let reference = rows
            .iter()
            .find(|row| row.program == reference(scenario))
            .map_or(f64::NAN, |row| row.value);
        let labels = Labels::of(scenario);
        let mut markdown = format!("| server | {} |\n", labels.head.join(" | "));
        markdown += &format!("|---|{}\n", "--:|".repeat(labels.head.len()));
        let mut bars = Vec::new();
        for row in &rows {
            let cells = row.cells(scenario, reference);
            let far = if row.is_near { "" } else { " *" };
            markdown += &format!("| {}{far} | {} |\n", row.program.name(), cells.join(" | "));
            bars.push(row.bar(scenario, reference));
        }
        Some(Table {
            title: labels.title.into(),
            name: labels.name.into(),
            note: labels.note.into(),
            unit: labels.unit.into(),
            is_less_better: labels.is_less_better,
            markdown,
            bars,
        })
    }
}

/// The limit that a scenario is compared with.
fn reference(scenario: Scenario) -> Program {
    match scenario {
        Scenario::Shared1000Saturated | Scenario::Shared10000Saturated => Program::LimitCoalescing,
        _ => Program::Limit,
    }
}

/// Publications lost, and those repeated or out of order.
fn losses(figures: &[Figure]) -> [u64; 2] {
    let samples = figures.iter().filter_map(|it| it.sample);
    samples.fold([0, 0], |[missing, repeated], it| {
        [missing + it.missing, repeated + it.repeated]
    })
}

/// Medians of one program.
struct Row {
    program: Program,
    value: f64,
    connect_micros: f64,
    sample: Option<Sample>,
    losses: [u64; 2],
    /// Shares of a core that the server and the generator use, in percent.
    busy: [f64; 2],
    /// Whether the figures come from near cores.
    is_near: bool,
}

impl Row {
    fn new(program: Program, figures: &[Figure]) -> Self {
        let near = |it: &&Figure| it.sample.is_none_or(|sample| sample.is_near);
        let is_near = figures.iter().any(|it| near(&it));
        let kept: Vec<&Figure> = figures.iter().filter(|it| !is_near || near(it)).collect();
        let of = |field: fn(&Figure) -> f64| median(kept.iter().map(|it| field(it)).collect());
        let samples: Vec<Sample> = kept.iter().filter_map(|it| it.sample).collect();
        let each = |field: fn(&Sample) -> f64| median(samples.iter().map(field).collect());
        let sample = samples.first().map(|first| Sample {
            deliveries_per_second: each(|it| it.deliveries_per_second),
            server_micros: each(|it| it.server_micros),
            generator_micros: each(|it| it.generator_micros),
            p50: each(|it| it.p50),
            p99: each(|it| it.p99),
            p99_before: each(|it| it.p99_before),
            growth_bytes: each(|it| it.growth_bytes),
            ..*first
        });
        Self {
            program,
            value: of(|it| it.value),
            connect_micros: of(|it| it.connect_micros),
            sample,
            losses: losses(figures),
            busy: [
                each(|it| busy(it.server_micros, it)),
                each(|it| busy(it.generator_micros, it)),
            ],
            is_near,
        }
    }

    fn cells(&self, scenario: Scenario, reference: f64) -> Vec<String> {
        let ratio = if reference.is_finite() {
            format!("{:.2}", self.value / reference)
        } else {
            "–".into()
        };
        let lost = format!("{} / {}", self.losses[0], self.losses[1]);
        let mut cells = match scenario {
            Scenario::Memory => return vec![thousands(self.value)],
            Scenario::Connects => {
                let micros = format!("{:.1}", self.connect_micros);
                return vec![thousands(self.value), ratio, micros];
            }
            Scenario::Shared1000Paced | Scenario::Shared10000Paced | Scenario::OwnPaced => {
                vec![format!("{:.2}", self.value), ratio]
            }
            Scenario::Shared1000Saturated
            | Scenario::Shared10000Saturated
            | Scenario::OwnSaturated => vec![thousands(self.value), ratio],
            Scenario::Stalled | Scenario::Storm => vec![format!("{:.2}", self.value)],
        };
        let Some(sample) = &self.sample else {
            return cells;
        };
        match scenario {
            Scenario::Stalled => cells.extend([
                latency(sample.p99_before),
                latency(sample.p99),
                format!("{:.1}", sample.growth_bytes / 1024.0 / 1024.0),
            ]),
            Scenario::Storm => cells.extend([
                latency(sample.p99_before),
                latency(sample.p99),
                String::from(if self.program.resumes() { "yes" } else { "no" }),
            ]),
            Scenario::Shared1000Saturated
            | Scenario::Shared10000Saturated
            | Scenario::OwnSaturated => cells.extend([
                format!("{:.2}", sample.server_micros),
                format!("{:.0} %", self.busy[0]),
                format!("{:.0} %", self.busy[1]),
            ]),
            _ => cells.extend([
                latency(sample.p50),
                latency(sample.p99),
                thousands(sample.deliveries_per_second),
                format!("{:.2}", sample.generator_micros),
            ]),
        }
        cells.push(lost);
        cells
    }

    fn bar(&self, scenario: Scenario, reference: f64) -> Bar {
        let ratio = self.value / reference;
        let (value, text) = match scenario {
            Scenario::Memory => (self.value, format!("{} B", thousands(self.value))),
            Scenario::Stalled | Scenario::Storm => (self.value, format!("{:.2} ×", self.value)),
            Scenario::Shared1000Paced | Scenario::Shared10000Paced | Scenario::OwnPaced => {
                (ratio, format!("{ratio:.2} × ({:.2} µs)", self.value))
            }
            _ => (ratio, format!("{ratio:.2} × ({}/s)", thousands(self.value))),
        };
        Bar {
            label: self.program.name().into(),
            value,
            text,
            kind: match self.program {
                Program::Limit | Program::LimitCoalescing => Kind::Limit,
                Program::Lineside => Kind::Lineside,
                _ => Kind::Peer,
            },
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Share of a core that microseconds per delivery take, in percent.
fn busy(micros: f64, sample: &Sample) -> f64 {
    micros * sample.deliveries_per_second / 10_000.0
}

/// A latency in milliseconds, with three decimals below 1 ms and one above.
fn latency(millis: f64) -> String {
    if millis < 1.0 {
        format!("{millis:.3}")
    } else {
        format!("{millis:.1}")
    }
}
