//! The reference: every publication there ever was.

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

/// As the documentation of `HistoryLimits` says.
const ENTRY_OVERHEAD_BYTES: usize = 384;

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

    /// What a replay owes: of each channel all after its own position, up to and with `through`.
    pub(crate) fn owed(&self, after: &BTreeMap<usize, Position>, through: Position) -> Vec<Line> {
        let is_owed = |it: &&Entry| {
            it.position <= through
                && after
                    .get(&it.channel)
                    .is_some_and(|after| it.position > *after)
        };
        let line = |it: &Entry| Line::Message {
            position: it.position,
            channel: it.channel,
        };
        self.0.iter().filter(is_owed).map(line).collect()
    }

    /// Whether no limit was ever a reason to forget anything after `after`, of any channel.
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
