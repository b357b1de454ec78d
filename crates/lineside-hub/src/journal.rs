//! Ordered in-memory log of publications. Keeps the history of each channel and answers resumes from it.

mod forgotten;
mod history;
mod replay;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{Cursor, Epoch, Position};

use crate::memory::{Charged, Memory, Pool, Stage};
use forgotten::Forgotten;
use history::History;
use replay::PointerBudget;

pub(crate) use replay::position_in;
pub use replay::{REPLAY_POINTERS_MAX, Replay, ReplayAnswer, ReplayRequest, Verdict, Want};

/// Memory of an entry beside its body and the name of its channel, in bytes, at worst: the publication with its reference
/// counts (88), its pointers in a history of its own (40) and in a half-empty B-tree (32), that history and the channel's
/// name in a half-empty hash table (166), the reference counts of the name (16), and the allocator's share (52).
const ENTRY_OVERHEAD_BYTES: usize = 400;

/// Maximum number of publications that one append evicts because memory is short, so that it does not hold the journal for
/// long.
const EVICTIONS_MAX: usize = 64;

/// One publication, encoded. All subscribers and replays share it.
#[derive(Debug)]
pub struct Publication {
    /// Position in the journal.
    pub position: Position,
    /// Name of its channel.
    pub channel: Arc<str>,
    /// The whole WebSocket frame as a browser receives it. Never empty.
    pub body: Bytes,
    /// Time at which it was appended, in milliseconds of the hub's clock. Never less than that of an earlier publication.
    pub at_ms: u64,
    /// Account to which it is charged.
    pub charged: Charged,
}

/// One publication before it is encoded.
#[derive(Debug)]
pub struct Unencoded<'a> {
    /// Name of its channel.
    pub channel: &'a str,
    /// Epoch of its position.
    pub epoch: &'a Epoch,
    /// Position in the journal.
    pub position: Position,
    /// One JSON value in UTF-8.
    pub payload: &'a [u8],
    /// The publisher sent it before, to a sidecar that may have received it.
    pub resent: bool,
}

impl Publication {
    /// Size as counted against the limits, in bytes.
    fn cost(&self) -> usize {
        self.body.len() + self.channel.len() + ENTRY_OVERHEAD_BYTES
    }
}

/// Ignores the account to which a publication is charged.
impl PartialEq for Publication {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            position,
            channel,
            body,
            at_ms,
            charged: _,
        } = self;
        (position, channel, body, at_ms)
            == (&other.position, &other.channel, &other.body, &other.at_ms)
    }
}

impl Eq for Publication {}

impl Drop for Publication {
    fn drop(&mut self) {
        self.charged.release(self.cost());
    }
}

/// Limits of the history. Publications beyond a limit are evicted, oldest first.
///
/// Bytes count bodies, channel names and an overhead of 400 bytes per publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Publications per channel. Default 1,000: a page with more to apply had better refetch.
    pub channel_publications_max: usize,
    /// Bytes per channel. Default 1 MiB: less than a second of replay at 10 Mbit/s, and sixteen of the largest payloads.
    pub channel_bytes_max: usize,
    /// Age of a publication, in milliseconds. Default 300,000 (five minutes).
    pub age_ms_max: u64,
    /// Bytes of all channels. Default 256 MiB: half the memory of the smallest machines that Rails apps commonly run on.
    pub bytes_max: usize,
    /// Channels with a publication. Default 1,000,000: more than the default `bytes_max` has room for (at most 671,000), so
    /// that it matters only if that limit is raised.
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

/// The journal of one process, in memory.
///
/// Positions increase from 1. All 2^53 of them last for 285 years at a million per second.
#[derive(Debug)]
pub struct Journal {
    epoch: Epoch,
    limits: HistoryLimits,
    newest: Position,
    /// Latest time passed in. The clock of the history never goes back.
    now_ms: u64,
    /// History of each channel that has any.
    histories: HashMap<Arc<str>, History>,
    /// All publications of all histories, for finding the oldest.
    order: BTreeMap<Position, Arc<Publication>>,
    bytes: usize,
    memory: Arc<Memory>,
    /// Evicted positions of channels without a history.
    forgotten: Forgotten,
    /// Pointers that unfinished replays hold.
    replay_budget: PointerBudget,
}

impl Journal {
    /// Creates an empty journal. No other journal may ever have had this `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, limits: HistoryLimits) -> Self {
        let memory = Arc::<Memory>::default();
        Self {
            epoch,
            limits,
            newest: Position::default(),
            now_ms: 0,
            histories: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            forgotten: Forgotten::default(),
            replay_budget: PointerBudget::new(&memory),
            memory,
        }
    }

    /// Identity of this numbering.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// Position of the newest entry. Zero before the first.
    #[must_use]
    pub fn newest(&self) -> Position {
        self.newest
    }

    /// Cursor of the newest entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.epoch.at(self.newest)
    }

    /// Number of publications held.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no caller needs is_empty")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Size of the publications held, as counted against [`HistoryLimits::bytes_max`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Account of the process's memory. It has no ceiling until one is [set](Memory::limit).
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Number of channels with a publication.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.histories.len()
    }

    /// Appends a publication, then evicts publications beyond the limits.
    ///
    /// `position` must be higher than [`newest`](Self::newest). `encode` returns a buffer of its own, never empty, which
    /// lives as long as the publication.
    pub fn append(
        &mut self,
        channel: &str,
        (position, at_ms): (Position, u64),
        encode: impl FnOnce(&Epoch) -> Bytes,
    ) -> Arc<Publication> {
        self.pass(position);
        self.now_ms = self.now_ms.max(at_ms);
        let at_ms = self.now_ms;
        self.keep(channel, None, |channel, epoch| Publication {
            position,
            channel,
            body: encode(epoch),
            at_ms,
            charged: Charged::default(),
        })
    }

    /// Uses a position for an entry without a publication.
    ///
    /// `position` must be higher than [`newest`](Self::newest).
    pub fn pass(&mut self, position: Position) {
        debug_assert!(position > self.newest, "positions increase");
        self.newest = position;
    }

    /// Evicts publications that are too old. A time before the latest one passed in changes nothing.
    pub fn expire(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some((_, oldest)) = self.order.first_key_value()
            && self.now_ms - oldest.at_ms > self.limits.age_ms_max
        {
            let channel = Arc::clone(&oldest.channel);
            self.evict_oldest_of(&channel);
        }
    }

    /// Evicts at most `count_max` publications while memory is short. Returns whether it is still short and the history has
    /// more to evict.
    pub fn relieve(&mut self, count_max: usize) -> bool {
        let is_short =
            |journal: &Self| !journal.order.is_empty() && journal.memory.is_short(Stage::History);
        let mut count = 0;
        while count < count_max && is_short(self) {
            self.evict_oldest();
            count += 1;
        }
        if count > 0 {
            self.memory.note(Stage::History, count);
        }
        is_short(self)
    }

    /// Adds the publication that `make` returns for the shared name of its channel, then evicts publications beyond the limits.
    /// `forgotten` is the evicted position of a channel without a history; by default the one of the table.
    fn keep(
        &mut self,
        channel: &str,
        forgotten: Option<Position>,
        make: impl FnOnce(Arc<str>, &Epoch) -> Publication,
    ) -> Arc<Publication> {
        let make = |name: Arc<str>| {
            let mut publication = make(name, &self.epoch);
            publication.charged = Charged::new(&self.memory, publication.cost());
            Arc::new(publication)
        };
        // One look at the table for most publications, because hashing a name costs as much as encoding it.
        let (publication, is_full) = if let Some(history) = self.histories.get_mut(channel) {
            let newest = history.newest();
            let publication =
                make(newest.map_or_else(|| channel.into(), |it| Arc::clone(&it.channel)));
            history.push(Arc::clone(&publication));
            (publication, history.exceeds(&self.limits))
        } else {
            let publication = make(channel.into());
            let forgotten = forgotten.unwrap_or_else(|| self.forgotten.of(channel));
            let mut history = History::new(forgotten);
            history.push(Arc::clone(&publication));
            let is_full = history.exceeds(&self.limits);
            self.histories
                .insert(Arc::clone(&publication.channel), history);
            (publication, is_full)
        };
        self.bytes += publication.cost();
        self.memory.set(Pool::History, self.bytes);
        self.order
            .insert(publication.position, Arc::clone(&publication));
        self.evict(channel, is_full);
        publication
    }

    /// Evicts publications until the channel, if it `is_full`, and then the whole journal, is within its limits.
    fn evict(&mut self, channel: &str, mut is_full: bool) {
        while is_full {
            self.evict_oldest_of(channel);
            let history = self.histories.get(channel);
            is_full = history.is_some_and(|it| it.exceeds(&self.limits));
        }
        while !self.order.is_empty()
            && (self.bytes > self.limits.bytes_max
                || self.histories.len() > self.limits.channels_max)
        {
            self.evict_oldest();
        }
        self.expire(self.now_ms);
        self.relieve(EVICTIONS_MAX);
    }

    fn evict_oldest(&mut self) {
        if let Some((_, oldest)) = self.order.first_key_value() {
            let channel = Arc::clone(&oldest.channel);
            self.evict_oldest_of(&channel);
        }
    }

    fn evict_oldest_of(&mut self, channel: &str) {
        let Some(history) = self.histories.get_mut(channel) else {
            return;
        };
        let Some(oldest) = history.pop() else {
            return;
        };
        if history.is_empty() {
            self.forgotten.raise(channel, oldest.position);
            self.histories.remove(channel);
        }
        self.bytes -= oldest.cost();
        self.memory.set(Pool::History, self.bytes);
        self.order.remove(&oldest.position);
    }
}

#[cfg(test)]
mod tests;
