//! Limit of log lines per kind and second, so that a client that repeats a fault does not fill the disk.

use std::collections::BTreeMap;

use super::Level;

/// Maximum number of lines of one kind in a second: about 12 KiB, at 250 bytes each.
pub(super) const KIND_LINES_MAX: u32 = 50;

/// Kind of a line: the event and the level.
type Kind = (&'static str, Level);

/// Counters of each kind. Bounded, because kinds are literals of the code.
#[derive(Debug, Default)]
pub(super) struct Limit(BTreeMap<Kind, Counter>);

#[derive(Debug, Default)]
struct Counter {
    second: u64,
    admitted: u32,
    omitted: u64,
}

/// Lines of a kind that were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Omitted {
    pub(super) event: &'static str,
    pub(super) level: Level,
    pub(super) lines: u64,
}

impl Limit {
    /// Returns whether a line of this kind may be written in this second. Otherwise counts it.
    pub(super) fn admit(&mut self, kind: Kind, second: u64) -> bool {
        let counter = self.0.entry(kind).or_default();
        if counter.second != second {
            counter.second = second;
            counter.admitted = 0;
        }
        if counter.admitted < KIND_LINES_MAX {
            counter.admitted += 1;
            return true;
        }
        counter.omitted += 1;
        false
    }

    /// Returns the numbers of lines that were left out since the last call.
    pub(super) fn take_omitted(&mut self) -> Vec<Omitted> {
        let taken = self.0.iter_mut().map(|(&(event, level), counter)| Omitted {
            event,
            level,
            lines: std::mem::take(&mut counter.omitted),
        });
        taken.filter(|omitted| omitted.lines > 0).collect()
    }
}

#[cfg(test)]
mod tests;
