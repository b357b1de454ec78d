//! What one connection is yet to be sent, in order.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::journal::Publication;

/// Frames in one write: a connection that fell behind catches up by this many at a time. Linux takes 1,024 (`IOV_MAX`).
pub const SLICES_MAX: usize = 64;

/// Bytes after which a write takes no further frame, so that one connection does not hold up a slice of others: some
/// 20 microseconds of copying.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Items that may wait for a connection whose kernel buffer is full: at 64 bytes each, less than any message has, as many
/// as the sidecar's default limit in bytes has room for. A replay is one item.
pub const OUTBOX_ITEMS_MAX: usize = 16 * 1024;

/// Items whose room an empty outbox keeps: 64 bytes spare a busy connection an allocation for each publication.
const ITEMS_KEPT: usize = 4;

/// Live publications that may wait behind replays without being counted, in bytes; more are counted. On a busy channel a
/// reader of a long replay is not slow because of what was published meanwhile, but what it is owed has an end.
const BEHIND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Sixteen bytes each, as most are publications.
#[derive(Debug)]
enum Item {
    Frame(Box<Bytes>),
    Publication(Arc<Publication>),
    /// Entries of a replay, and what was published while one was under way; never empty.
    #[expect(
        clippy::box_collection,
        reason = "unboxed it would triple the size of every item"
    )]
    Replay(Box<VecDeque<Arc<Publication>>>),
}

impl Item {
    /// The frames of the item, in order.
    fn frames(&self) -> impl Iterator<Item = &Bytes> {
        let (one, many) = match self {
            Self::Frame(frame) => (Some(&**frame), None),
            Self::Publication(publication) => (Some(&publication.body), None),
            Self::Replay(entries) => (None, Some(entries.iter().map(|entry| &entry.body))),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

/// The queue of one connection: frames of its own, publications and replays, first in, first out.
///
/// It is filled through its [`Shard`](crate::Shard), which then has it flushed. Empty, it holds 64 bytes at most.
#[derive(Debug, Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Of the first frame, how many bytes are written.
    written: usize,
    /// Unwritten bytes of all but replays.
    bytes: usize,
    /// Items that are replays.
    replays: usize,
    /// Bytes of live publications that went behind replays since there was none.
    behind: usize,
}

impl Outbox {
    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Unwritten bytes, without replays and what waits behind them: what is owed from the past says nothing about how fast
    /// a reader is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many frames, publications and replays wait, or wait in part. A replay counts as one, with what waits behind it.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Whether a replay is not all sent yet, or what waited behind it.
    #[must_use]
    pub fn has_replay(&self) -> bool {
        self.replays > 0
    }

    /// When the publication was appended that the next write begins with; `None` when it goes on with, or begins with,
    /// something else. A replay is of the past, and says nothing about how fast the present is.
    #[must_use]
    pub fn begins_with_ms(&self) -> Option<u64> {
        match self.items.front() {
            Some(Item::Publication(publication)) if self.written == 0 => Some(publication.at_ms),
            _ => None,
        }
    }

    /// The bytes to write next, into `slices`; returns how many of these are filled. Zero only when nothing is left.
    #[must_use]
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut written = self.written;
        let mut bytes = 0;
        let mut count = 0;
        let frames = self.items.iter().flat_map(Item::frames);
        for (slice, frame) in slices.iter_mut().zip(frames) {
            if bytes >= WRITE_BYTES_MAX {
                break;
            }
            *slice = IoSlice::new(&frame[written..]);
            bytes += slice.len();
            written = 0;
            count += 1;
        }
        count
    }

    /// Lets go of the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.items.front().and_then(|item| item.frames().next()) {
            let left = first.len() - self.written;
            if written < left {
                self.written += written;
                self.discount(written);
                return;
            }
            self.discount(left);
            self.written = 0;
            self.drop_first();
            written -= left;
        }
        debug_assert_eq!(written, 0, "more was written than there was");
        self.items.shrink_to(ITEMS_KEPT);
    }

    /// Drops every publication of `channel` that no byte was written of, within replays too.
    pub(crate) fn forget(&mut self, channel: &str) {
        let mut partly_written = self.written > 0;
        let mut bytes = 0;
        self.items.retain_mut(|item| {
            let is_first = std::mem::take(&mut partly_written);
            match item {
                Item::Frame(_) => true,
                Item::Publication(publication) => {
                    let kept = is_first || *publication.channel != *channel;
                    bytes += if kept { 0 } else { publication.body.len() };
                    kept
                }
                Item::Replay(entries) => {
                    let mut is_first = is_first;
                    entries.retain(|entry| {
                        std::mem::take(&mut is_first) || *entry.channel != *channel
                    });
                    !entries.is_empty()
                }
            }
        });
        self.bytes -= bytes;
        self.recount_replays();
    }

    /// Drops everything but the rest of a frame that is partly written.
    pub(crate) fn abandon(&mut self) {
        self.items.truncate(usize::from(self.written > 0));
        self.items.shrink_to(ITEMS_KEPT);
        if let Some(Item::Replay(entries)) = self.items.front_mut() {
            entries.truncate(1);
        }
        let rest = self
            .items
            .front()
            .filter(|item| !matches!(item, Item::Replay(_)));
        let rest = rest.and_then(|item| item.frames().next());
        self.bytes = rest.map_or(0, |frame| frame.len() - self.written);
        self.recount_replays();
    }

    pub(crate) fn push_frame(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.items.push_back(Item::Frame(Box::new(frame)));
    }

    pub(crate) fn push_publication(&mut self, publication: &Arc<Publication>) {
        let bytes = publication.body.len();
        let entry = Arc::clone(publication);
        if self.replays == 0 || self.behind + bytes > BEHIND_BYTES_MAX {
            self.bytes += bytes;
            return self.items.push_back(Item::Publication(entry));
        }
        self.behind += bytes;
        match self.items.back_mut() {
            Some(Item::Replay(entries)) => entries.push_back(entry),
            _ => self.push_replay(vec![entry]),
        }
    }

    pub(crate) fn push_replay(&mut self, entries: Vec<Arc<Publication>>) {
        if !entries.is_empty() {
            self.replays += 1;
            self.items.push_back(Item::Replay(Box::new(entries.into())));
        }
    }

    /// Takes bytes of the first frame out of the count, if they are in it.
    fn discount(&mut self, bytes: usize) {
        if !matches!(self.items.front(), Some(Item::Replay(_))) {
            self.bytes -= bytes;
        }
    }

    fn drop_first(&mut self) {
        if let Some(Item::Replay(entries)) = self.items.front_mut() {
            entries.pop_front();
            if !entries.is_empty() {
                return;
            }
            self.replays -= 1;
            self.behind = if self.replays == 0 { 0 } else { self.behind };
        }
        self.items.pop_front();
    }

    fn recount_replays(&mut self) {
        let replays = self
            .items
            .iter()
            .filter(|item| matches!(item, Item::Replay(_)));
        self.replays = replays.count();
        self.behind = if self.replays == 0 { 0 } else { self.behind };
    }
}

#[cfg(test)]
mod tests;
