//! Reference: a list of all publications.

use std::collections::BTreeMap;

use lineside_hub::HistoryLimits;
use lineside_protocol::Position;

use crate::client::Line;

pub(crate) const CHANNELS: [&str; 6] = [
    "board",
    "news",
    "user:1",
    "user:2",
    "orders:7",
    "cable:Z2lkOi8v",
];

/// As documented at `HistoryLimits`.
const ENTRY_OVERHEAD_BYTES: usize = 400;

/// One publication.
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) channel: usize,
    bytes: usize,
    at_ms: u64,
}

/// All publications, in journal order.
#[derive(Default)]
pub(crate) struct History(Vec<Entry>);

impl History {
    pub(crate) fn add(
        &mut self,
        position: Position,
        channel: usize,
        body_bytes: usize,
        at_ms: u64,
    ) {
        let bytes = body_bytes + CHANNELS[channel].len() + ENTRY_OVERHEAD_BYTES;
        self.0.push(Entry {
            position,
            channel,
            bytes,
            at_ms,
        });
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Expected lines of a replay: all publications of each channel after its own position, up to and including `through`.
    pub(crate) fn replay(&self, after: &BTreeMap<usize, Position>, through: Position) -> Vec<Line> {
        let is_replayed = |it: &&Entry| {
            it.position <= through
                && after
                    .get(&it.channel)
                    .is_some_and(|after| it.position > *after)
        };
        let line = |it: &Entry| Line::Message {
            position: it.position,
            channel: it.channel,
        };
        self.0.iter().filter(is_replayed).map(line).collect()
    }

    /// Whether no limit can have evicted a publication of any channel after `after`.
    pub(crate) fn must_hold_after(
        &self,
        after: Position,
        limits: &HistoryLimits,
        now_ms: u64,
    ) -> bool {
        let mut of_channel = BTreeMap::<usize, (usize, usize)>::new();
        let mut bytes = 0;
        self.0
            .iter()
            .filter(|entry| entry.position > after)
            .all(|entry| {
                let (count, channel_bytes) = of_channel.entry(entry.channel).or_default();
                *count += 1;
                *channel_bytes += entry.bytes;
                bytes += entry.bytes;
                *count <= limits.channel_publications_max
                    && *channel_bytes <= limits.channel_bytes_max
                    && bytes <= limits.bytes_max
                    && now_ms - entry.at_ms <= limits.age_ms_max
                    && of_channel.len() <= limits.channels_max
            })
    }
}
