//! The counts to compare with, in `bench/counts.txt`.

use std::fmt::Write as _;
use std::fs;

use crate::Outcome;

/// File of the baseline: a line with the compiler, then a line for each path with its count.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.txt");

/// Tolerated difference from the baseline, in percent. Hashes and addresses differ from run to run, and the
/// functions of the C library from processor to processor.
const TOLERANCE_PERCENT: u64 = 10;

/// Counts of an earlier version of the code.
pub(crate) struct Baseline {
    /// Compiler that built that version.
    pub(crate) compiler: String,
    counts: Vec<(String, u64)>,
}

/// Compiler of this program.
pub(crate) fn compiler() -> &'static str {
    env!("BENCH_COMPILER")
}

impl Baseline {
    /// Reads `bench/counts.txt`.
    pub(crate) fn read() -> Outcome<Self> {
        let text = fs::read_to_string(FILE)?;
        let mut lines = text.lines();
        let compiler = lines.next().unwrap_or_default().to_owned();
        let counts = lines.map(|line| {
            let (path, count) = line
                .rsplit_once(' ')
                .ok_or_else(|| format!("{FILE} has the line {line:?}"))?;
            Outcome::Ok((path.trim().to_owned(), count.parse()?))
        });
        let counts = counts.collect::<Outcome<_>>()?;
        Ok(Self { compiler, counts })
    }

    /// Writes `bench/counts.txt`.
    pub(crate) fn write(counts: &[(&str, u64)]) -> Outcome<()> {
        let mut text = format!("{}\n", compiler());
        for (path, count) in counts {
            writeln!(text, "{path} {count}")?;
        }
        Ok(fs::write(FILE, text)?)
    }

    /// Whether the same compiler built both versions. Other compilers emit other instructions.
    pub(crate) fn is_comparable(&self) -> bool {
        self.compiler == compiler()
    }

    /// Describes the difference of a count from the baseline. `None` within the tolerance.
    pub(crate) fn problem(&self, path: &str, count: u64) -> Option<String> {
        let Some((_, known)) = self.counts.iter().find(|(known, _)| known == path) else {
            return Some(format!("{path} has no baseline"));
        };
        let is_same = known.abs_diff(count) * 100 <= known * TOLERANCE_PERCENT;
        (!is_same).then(|| {
            format!(
                "{path} takes {count} instructions, and {known} before (± {TOLERANCE_PERCENT} %)"
            )
        })
    }
}
