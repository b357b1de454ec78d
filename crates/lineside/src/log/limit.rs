//! Limit of log lines per kind and second, so that a client that repeats a fault does not fill the disk.

use std::collections::BTreeMap;

use super::Level;

/// Maximum number of lines of one kind at once, as a restart of many processes or a script of an operator causes.
const KIND_LINES_MAX: u64 = 200;

/// Average number of lines of one kind in a second: about 5 KiB, at 250 bytes each.
const KIND_LINES_PER_SECOND: u64 = 20;

/// Kind of a line: the event and the level.
type Kind = (&'static str, Level);

/// Counters of each kind. Bounded, because kinds are literals of the code.
#[derive(Debug, Default)]
pub(super) struct Limit(BTreeMap<Kind, Counter>);

#[derive(Debug)]
struct Counter {
    second: u64,
    /// Number of lines that may be written now.
    room: u64,
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
        let counter = self.0.entry(kind).or_insert(Counter {
            second,
            room: KIND_LINES_MAX,
            omitted: 0,
        });
        // No time has passed if the clock was set back.
        let passed = second.saturating_sub(counter.second);
        let room = passed
            .saturating_mul(KIND_LINES_PER_SECOND)
            .saturating_add(counter.room);
        counter.room = room.min(KIND_LINES_MAX);
        counter.second = second;
        if counter.room > 0 {
            counter.room -= 1;
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
