//! The ordered log of publications: what gives each its position, and what a resume is answered from.

mod forgotten;
mod state;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{After, Cursor, Epoch, Position};

use forgotten::Forgotten;

/// What an entry costs beside its body and its channel's name, in bytes, at worst: the publication with its counts (80),
/// its pointers in a record of its own (32) and in a half-empty B-tree (32), that record and its name in a half-empty
/// hash table (150), the counts of the name (16), and what the allocator adds to each of these and to the body (60).
/// Measured on x86-64 with glibc 2.36: 488 bytes for an entry that counts 494, just after the table had doubled.
const ENTRY_OVERHEAD_BYTES: usize = 384;

/// One published item, encoded. Every subscriber and every replay shares it.
#[derive(Debug, PartialEq, Eq)]
pub struct Publication {
    /// Its number in the journal.
    pub position: Position,
    /// Where it was published.
    pub channel: Arc<str>,
    /// The whole frame as a browser receives it; never empty.
    pub body: Bytes,
    /// When it was appended. Never less than that of an earlier publication.
    pub at_ms: u64,
}

impl Publication {
    /// What it counts for in the limits in bytes.
    fn cost(&self) -> usize {
        self.body.len() + self.channel.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// How much history the journal keeps. What exceeds a limit is forgotten, oldest first.
///
/// Bytes count bodies, channel names and an overhead of 384 bytes for each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications of one channel. Default 1,000: more than a page would rather apply one by one than refetch.
    pub channel_publications_max: usize,
    /// Bytes of one channel. Default 1 MiB: under a second of catching up on a link of 10 Mbit/s, and sixteen of the
    /// largest payloads.
    pub channel_bytes_max: usize,
    /// Age of a publication. Default 300,000 (five minutes): a phone in a tunnel, a laptop between two meetings.
    pub age_ms_max: u64,
    /// Bytes of all channels. Default 256 MiB: half of the smallest machines that Rails apps are commonly run on.
    pub bytes_max: usize,
    /// Channels with an entry. Default 1,000,000: above the 700,000 that the default `bytes_max` has room for, so that it
    /// matters only where that one is raised.
    pub channels_max: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            channel_publications_max: 1_000,
            channel_bytes_max: 1024 * 1024,
            age_ms_max: 300_000,
            bytes_max: 256 * 1024 * 1024,
            channels_max: 1_000_000,
        }
    }
}

/// What the journal still holds of one channel. Exists only while it holds something.
#[derive(Debug)]
struct Record {
    entries: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// Of this channel nothing up to here can be replayed.
    forgotten: Position,
}

/// One channel to replay. The channels of one replay differ.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub channel: &'a str,
    /// The newest that its reader has seen.
    pub after: &'a After,
}

/// What a resume is owed from the past.
#[derive(Debug)]
pub struct Replay {
    /// Of every channel that is not lost, all that followed its own `after`, in journal order.
    pub entries: Vec<Arc<Publication>>,
    /// For each wanted channel, in the order asked: whether continuity cannot be given.
    pub lost: Vec<bool>,
}

/// The journal of one process, in memory.
///
/// Positions count up by one from 1; 2^53 of them last 285 years at a million a second.
#[derive(Debug)]
pub struct Journal {
    epoch: Epoch,
    limits: HistoryLimits,
    newest: Position,
    /// The latest time heard of: an older one is read as this.
    now_ms: u64,
    records: HashMap<Arc<str>, Record>,
    /// All entries of all records, so that the oldest is found.
    order: BTreeMap<Position, Arc<Publication>>,
    bytes: usize,
    /// For channels without a record.
    forgotten: Forgotten,
}

impl Journal {
    /// An empty journal. `epoch` must never have been the name of another one.
    #[must_use]
    pub fn new(epoch: Epoch, limits: HistoryLimits) -> Self {
        Self {
            epoch,
            limits,
            newest: Position::default(),
            now_ms: 0,
            records: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            forgotten: Forgotten::default(),
        }
    }

    /// The identity of this numbering.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The position of the newest entry; zero before the first.
    #[must_use]
    pub fn newest(&self) -> Position {
        self.newest
    }

    /// The cursor of the newest entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.epoch.at(self.newest)
    }

    /// How many publications it holds.
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "nobody asks whether it is empty"
    )]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// What they count for against [`HistoryLimits::bytes_max`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many channels it holds any of.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.records.len()
    }

    /// Appends a publication at the next position, which `encode` is told, and forgets what then exceeds a limit.
    ///
    /// `encode` returns a buffer of its own, never empty: it is kept as long as the entry.
    pub fn append(
        &mut self,
        channel: &str,
        now_ms: u64,
        encode: impl FnOnce(Position) -> Bytes,
    ) -> Arc<Publication> {
        self.now_ms = self.now_ms.max(now_ms);
        self.newest = self.newest.next();
        let known = self.records.get_key_value(channel);
        let channel = known.map_or_else(|| channel.into(), |(name, _)| Arc::clone(name));
        let publication = Arc::new(Publication {
            position: self.newest,
            channel,
            body: encode(self.newest),
            at_ms: self.now_ms,
        });
        self.keep(&publication, None);
        self.evict(&publication.channel);
        publication
    }

    /// Gives the next position away, to an entry that no resume replays.
    pub fn assign(&mut self) -> Position {
        self.newest = self.newest.next();
        self.newest
    }

    /// Forgets what is too old. A time before one heard of earlier changes nothing.
    pub fn expire(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some((_, oldest)) = self.order.first_key_value()
            && self.now_ms - oldest.at_ms > self.limits.age_ms_max
        {
            let channel = Arc::clone(&oldest.channel);
            self.forget_oldest_of(&channel);
        }
    }

    /// What each wanted channel missed after its own `after`, up to and with `through`.
    ///
    /// A channel is lost when its `after` is unknown, of another epoch, ahead of the journal, or older than what was
    /// forgotten of it. For a channel of which nothing is held that last bound is shared with a few others, so `lost`
    /// may be a false alarm, for cursors older than something forgotten; the opposite never happens.
    ///
    /// Costs the merge of the entries it returns.
    #[must_use]
    pub fn replay(&self, wanted: &[Wanted<'_>], through: Position) -> Replay {
        let mut replay = Replay {
            entries: Vec::new(),
            lost: Vec::with_capacity(wanted.len()),
        };
        for Wanted { channel, after } in wanted {
            let record = self.records.get(*channel);
            let forgotten =
                record.map_or_else(|| self.forgotten.of(channel), |record| record.forgotten);
            let after = self.position(after).filter(|after| *after >= forgotten);
            replay.lost.push(after.is_none());
            if let (Some(after), Some(record)) = (after, record) {
                let start = record
                    .entries
                    .partition_point(|entry| entry.position <= after);
                let missed = record.entries.range(start..);
                let missed = missed.take_while(|entry| entry.position <= through);
                replay.entries.extend(missed.cloned());
            }
        }
        // A stable sort finds the runs that the channels are, and merges them.
        replay.entries.sort_by_key(|entry| entry.position);
        replay
    }

    /// The position that `after` names, if this journal has assigned it.
    pub(crate) fn position(&self, after: &After) -> Option<Position> {
        match after {
            After::Cursor(cursor) if cursor.epoch == self.epoch => {
                Some(cursor.position).filter(|position| *position <= self.newest)
            }
            After::Cursor(_) | After::Unknown => None,
        }
    }

    /// Of a channel without a record `forgotten` is forgotten; by default what the table says.
    fn keep(&mut self, publication: &Arc<Publication>, forgotten: Option<Position>) {
        let table = &self.forgotten;
        let channel = &publication.channel;
        let record = self
            .records
            .entry(Arc::clone(channel))
            .or_insert_with(|| Record {
                entries: VecDeque::new(),
                bytes: 0,
                forgotten: forgotten.unwrap_or_else(|| table.of(channel)),
            });
        record.entries.push_back(Arc::clone(publication));
        record.bytes += publication.cost();
        self.bytes += publication.cost();
        self.order
            .insert(publication.position, Arc::clone(publication));
    }

    /// Brings `channel` within its limits, then the whole journal.
    fn evict(&mut self, channel: &str) {
        let HistoryLimits {
            channel_publications_max,
            channel_bytes_max,
            ..
        } = self.limits;
        while self.records.get(channel).is_some_and(|record| {
            record.entries.len() > channel_publications_max || record.bytes > channel_bytes_max
        }) {
            self.forget_oldest_of(channel);
        }
        while let Some((_, oldest)) = self.order.first_key_value()
            && (self.bytes > self.limits.bytes_max || self.records.len() > self.limits.channels_max)
        {
            let channel = Arc::clone(&oldest.channel);
            self.forget_oldest_of(&channel);
        }
        self.expire(self.now_ms);
    }

    fn forget_oldest_of(&mut self, channel: &str) {
        let Some(record) = self.records.get_mut(channel) else {
            return;
        };
        let Some(oldest) = record.entries.pop_front() else {
            return;
        };
        record.bytes -= oldest.cost();
        record.forgotten = oldest.position;
        if record.entries.is_empty() {
            self.forgotten.raise(channel, oldest.position);
            self.records.remove(channel);
        }
        self.bytes -= oldest.cost();
        self.order.remove(&oldest.position);
    }
}

#[cfg(test)]
mod tests;
