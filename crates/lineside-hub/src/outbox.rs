//! Outbox of one connection: everything to send, in order.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::journal::{Publication, Replay};

/// Maximum number of frames in one write. Linux takes 1,024 (`IOV_MAX`).
pub const SLICES_MAX: usize = 64;

/// Number of bytes after which a write takes no further frame, so that one connection does not delay a slice of others:
/// about 20 µs of copying.
pub const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of items that wait for a connection with a full kernel buffer. The default limit in bytes has room for as
/// many frames of 64 bytes, which is less than any message has. A replay is one item.
pub const OUTBOX_ITEMS_MAX: usize = 16 * 1024;

/// Number of items for which an empty outbox keeps memory. 64 bytes save a busy connection one allocation per publication.
const ITEMS_KEPT: usize = 4;

/// Memory of an item, and of a message in a backlog, in bytes.
const ITEM_BYTES: usize = size_of::<Item>();
const MESSAGE_BYTES: usize = size_of::<Message>();

/// Maximum size of live publications behind a replay that do not count as slowness, in bytes. Beyond it they count.
const BEHIND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One item of an outbox. Takes 16 bytes.
#[derive(Debug)]
enum Item {
    /// A frame for this connection alone.
    Frame(Box<Bytes>),
    /// A publication.
    Message(Message),
    /// A replay, and live publications behind it.
    Backlog(Box<Backlog>),
}

/// A publication as one connection receives it.
#[derive(Debug)]
enum Message {
    /// The body, which all subscribers share.
    Whole(Arc<Publication>),
    /// A head for one subscription, and the end of the shared body.
    Framed(Box<Framed>),
}

/// A publication with a head for one subscription.
#[derive(Debug)]
struct Framed {
    head: Bytes,
    publication: Arc<Publication>,
    /// Number of bytes of the body that the head replaces.
    from: usize,
}

/// Head of a subscription's publications: `encode` returns the head for a publication's body and the number of bytes of that
/// body that it replaces.
#[derive(Clone, Debug)]
pub struct Framing {
    /// Part of the head that all publications of the subscription share.
    pub prefix: Bytes,
    /// Makes the head from the prefix and the body.
    pub encode: fn(prefix: &[u8], body: &[u8]) -> (Bytes, usize),
}

/// Publications that do not count as slowness: a replay, then live publications that arrived meanwhile. Never empty.
#[derive(Debug, Default)]
struct Backlog {
    /// Next publications of the replay. Holds [`SLICES_MAX`] of them while the replay has as many.
    staged: VecDeque<Message>,
    replay: Replay,
    /// Heads of the replay's publications.
    framing: Option<Framing>,
    live: VecDeque<Message>,
    /// Size of `live`, in bytes.
    live_bytes: usize,
    /// Memory beside the publications, in bytes, until the backlog is sent.
    held: usize,
}

impl Message {
    fn new(publication: &Arc<Publication>, framing: Option<&Framing>) -> Self {
        let publication = Arc::clone(publication);
        match framing {
            None => Self::Whole(publication),
            Some(Framing { prefix, encode }) => {
                let (head, from) = encode(prefix, &publication.body);
                Self::Framed(Box::new(Framed {
                    head,
                    publication,
                    from,
                }))
            }
        }
    }

    /// The head and the part of the body behind it. A message without a head of its own is all body.
    fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Whole(publication) => [&publication.body, &[]],
            Self::Framed(framed) => [&framed.head, &framed.publication.body[framed.from..]],
        }
    }

    fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    fn publication(&self) -> &Arc<Publication> {
        match self {
            Self::Whole(publication) => publication,
            Self::Framed(framed) => &framed.publication,
        }
    }

    /// Memory beside the publication, in bytes.
    fn held(&self) -> usize {
        match self {
            Self::Whole(_) => 0,
            Self::Framed(framed) => size_of::<Framed>() + framed.head.len(),
        }
    }
}

impl Backlog {
    /// Takes publications out of the replay for the next write.
    fn stage(&mut self) {
        while self.staged.len() < SLICES_MAX
            && let Some(next) = self.replay.take_next()
        {
            let message = Message::new(&next, self.framing.as_ref());
            self.staged.push_back(message);
        }
    }

    /// Publications of the next write, and whether these are all.
    fn next(&self) -> (impl Iterator<Item = &Message>, bool) {
        let is_all = self.replay.is_empty();
        let live = is_all.then_some(&self.live).into_iter().flatten();
        (self.staged.iter().chain(live), is_all)
    }

    fn pop(&mut self) {
        if self.staged.pop_front().is_none()
            && let Some(sent) = self.live.pop_front()
        {
            self.live_bytes -= sent.len();
        }
        self.stage();
    }

    fn push_live(&mut self, message: Message) {
        self.live_bytes += message.len();
        self.held += MESSAGE_BYTES + message.held();
        self.live.push_back(message);
    }

    fn is_empty(&self) -> bool {
        self.staged.is_empty() && self.replay.is_empty() && self.live.is_empty()
    }

    /// Number of publications left.
    fn len(&self) -> usize {
        self.staged.len() + self.replay.len() + self.live.len()
    }

    /// Drops the publications of a channel, except the first one if `keep_first`.
    fn forget(&mut self, channel: &str, mut keep_first: bool) {
        self.replay.forget(channel);
        let mut is_kept = |message: &Message| {
            std::mem::take(&mut keep_first) || *message.publication().channel != *channel
        };
        self.staged.retain(&mut is_kept);
        self.live.retain(&mut is_kept);
        self.live_bytes = self.live.iter().map(Message::len).sum();
        self.stage();
    }
}

impl Item {
    /// First frame of the item.
    fn first(&self) -> Option<[&[u8]; 2]> {
        match self {
            Self::Frame(frame) => Some([frame, &[]]),
            Self::Message(message) => Some(message.parts()),
            Self::Backlog(backlog) => backlog.next().0.next().map(Message::parts),
        }
    }

    /// Size of the first frame, in bytes.
    fn first_len(&self) -> Option<usize> {
        self.first().map(|parts| parts[0].len() + parts[1].len())
    }
}

/// Queue of one connection: frames of its own, publications and replays, first in, first out.
///
/// The connection's [`FanOut`](crate::FanOut) fills it and schedules its writes. An empty outbox holds at most 64 bytes.
#[derive(Debug, Default)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Number of written bytes of the first frame.
    written: usize,
    /// Number of unwritten bytes outside backlogs.
    bytes: usize,
    /// Number of backlogs.
    backlogs: usize,
    /// Bytes of live publications that joined a backlog since there was none.
    behind: usize,
    /// Memory of frames and backlogs beside publications, in bytes.
    held: usize,
}

impl Outbox {
    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of unwritten bytes, without replays and the live publications behind them: the length of a replay says
    /// nothing about the speed of its reader.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of items.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items.len()
    }

    /// Memory beside publications, in bytes: items, frames, and pointers of replays.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.items.len() * ITEM_BYTES + self.held
    }

    /// Number of bytes left to send, with replays and the live publications behind them. The size of a replay is
    /// estimated.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        let backlogs = self.items.iter().filter_map(|item| match item {
            Item::Backlog(backlog) => Some(backlog.replay.bytes() + backlog.live_bytes),
            Item::Frame(_) | Item::Message(_) => None,
        });
        self.bytes + backlogs.take(self.backlogs).sum::<usize>()
    }

    /// Whether a replay, or a live publication behind one, is left to send.
    #[must_use]
    pub fn has_replay(&self) -> bool {
        self.backlogs > 0
    }

    /// Append time of the first publication of the next write. `None` if that write begins in the middle of a frame, with
    /// another kind of frame, or with a replay.
    #[must_use]
    pub fn begins_with_ms(&self) -> Option<u64> {
        match self.items.front() {
            Some(Item::Message(message)) if self.written == 0 => Some(message.publication().at_ms),
            _ => None,
        }
    }

    /// Fills `slices` with the next bytes to write, and returns the number of slices. Zero only if nothing is left.
    #[must_use]
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES_MAX]) -> usize {
        let mut gather = Gather {
            slices,
            written: self.written,
            bytes: 0,
            count: 0,
        };
        for item in &self.items {
            let has_room = match item {
                Item::Frame(frame) => gather.add([frame, &[]]),
                Item::Message(message) => gather.add(message.parts()),
                Item::Backlog(backlog) => {
                    let (mut next, is_all) = backlog.next();
                    next.all(|message| gather.add(message.parts())) && is_all
                }
            };
            if !has_room {
                break;
            }
        }
        gather.count
    }

    /// Removes the first `written` bytes.
    pub(crate) fn advance(&mut self, mut written: usize) {
        while let Some(first_len) = self.items.front().and_then(Item::first_len) {
            let left = first_len - self.written;
            if written < left {
                self.written += written;
                self.discount(written);
                return;
            }
            self.discount(left);
            self.written = 0;
            self.pop();
            written -= left;
        }
        debug_assert_eq!(written, 0, "more was written than there was");
        self.items.shrink_to(ITEMS_KEPT);
    }

    /// Drops every publication of `channel`, in replays too, except one that is partly written. Returns whether there was one.
    pub(crate) fn forget(&mut self, channel: &str) -> bool {
        let mut partly_written = self.written > 0;
        let mut bytes = 0;
        let mut dropped = false;
        self.items.retain_mut(|item| {
            let is_first = std::mem::take(&mut partly_written);
            match item {
                Item::Frame(_) => true,
                Item::Message(message) => {
                    let kept = is_first || *message.publication().channel != *channel;
                    bytes += if kept { 0 } else { message.len() };
                    dropped |= !kept;
                    kept
                }
                Item::Backlog(backlog) => {
                    let before = backlog.len();
                    backlog.forget(channel, is_first);
                    dropped |= backlog.len() < before;
                    !backlog.is_empty()
                }
            }
        });
        self.bytes -= bytes;
        self.recount_backlogs();
        dropped
    }

    /// Drops everything except the rest of a frame that is partly written.
    pub(crate) fn abandon(&mut self) {
        self.items.truncate(usize::from(self.written > 0));
        self.items.shrink_to(ITEMS_KEPT);
        self.bytes = 0;
        match self.items.front_mut() {
            Some(Item::Backlog(backlog)) => {
                let first = backlog
                    .staged
                    .pop_front()
                    .or_else(|| backlog.live.pop_front());
                **backlog = Backlog {
                    staged: first.into_iter().collect(),
                    ..Backlog::default()
                };
            }
            Some(item) => self.bytes = item.first_len().map_or(0, |bytes| bytes - self.written),
            None => {}
        }
        self.recount_backlogs();
    }

    pub(crate) fn push_frame(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.held += frame.len();
        self.items.push_back(Item::Frame(Box::new(frame)));
    }

    pub(crate) fn push_publication(&mut self, publication: &Arc<Publication>) {
        self.push_message(Message::new(publication, None));
    }

    /// Appends a publication with a head of its own.
    pub(crate) fn push_framed(&mut self, publication: &Arc<Publication>, framing: &Framing) {
        self.push_message(Message::new(publication, Some(framing)));
    }

    fn push_message(&mut self, message: Message) {
        let bytes = message.len();
        if self.backlogs == 0 || self.behind + bytes > BEHIND_BYTES_MAX {
            self.bytes += bytes;
            self.held += message.held();
            return self.items.push_back(Item::Message(message));
        }
        self.behind += bytes;
        if let Some(Item::Backlog(backlog)) = self.items.back_mut() {
            self.held += MESSAGE_BYTES + message.held();
            return backlog.push_live(message);
        }
        let mut backlog = Backlog::default();
        backlog.push_live(message);
        self.push_backlog(backlog);
    }

    /// Appends a replay, whose publications have heads if `framing` is given.
    pub(crate) fn push_replay(&mut self, replay: Replay, framing: Option<Framing>) {
        if !replay.is_empty() {
            let heads = framing.as_ref().map_or(0, |framing| {
                replay.len().min(SLICES_MAX) * (size_of::<Framed>() + framing.prefix.len())
            });
            let mut backlog = Backlog {
                held: replay.held_bytes() + heads,
                framing,
                replay,
                ..Backlog::default()
            };
            backlog.stage();
            self.push_backlog(backlog);
        }
    }

    fn push_backlog(&mut self, backlog: Backlog) {
        self.backlogs += 1;
        self.held += backlog.held;
        self.items.push_back(Item::Backlog(Box::new(backlog)));
    }

    /// Subtracts written bytes of the first frame, if they are counted.
    fn discount(&mut self, bytes: usize) {
        match self.items.front() {
            Some(Item::Backlog(_)) => {}
            Some(Item::Frame(_)) => {
                self.bytes -= bytes;
                self.held -= bytes;
            }
            Some(Item::Message(_)) | None => self.bytes -= bytes,
        }
    }

    /// Removes the first frame.
    fn pop(&mut self) {
        if let Some(Item::Backlog(backlog)) = self.items.front_mut() {
            backlog.pop();
            if !backlog.is_empty() {
                return;
            }
            self.backlogs -= 1;
            self.held -= backlog.held;
            self.behind = if self.backlogs == 0 { 0 } else { self.behind };
        }
        if let Some(Item::Message(message)) = self.items.pop_front() {
            self.held -= message.held();
        }
    }

    fn recount_backlogs(&mut self) {
        self.backlogs = 0;
        self.held = 0;
        let written = self.written;
        for (index, item) in self.items.iter().enumerate() {
            match item {
                Item::Frame(frame) => {
                    self.held += frame.len() - if index == 0 { written } else { 0 }
                }
                Item::Message(message) => self.held += message.held(),
                Item::Backlog(backlog) => {
                    self.backlogs += 1;
                    self.held += backlog.held;
                }
            }
        }
        self.behind = if self.backlogs == 0 { 0 } else { self.behind };
    }
}

/// Slices of one write.
struct Gather<'a, 'b> {
    slices: &'b mut [IoSlice<'a>; SLICES_MAX],
    /// Number of written bytes of the next frame.
    written: usize,
    bytes: usize,
    count: usize,
}

impl<'a> Gather<'a, '_> {
    /// Adds the parts of a frame that have bytes left. Returns false, and adds nothing, when the write is full.
    fn add(&mut self, parts: [&'a [u8]; 2]) -> bool {
        let slices = parts.iter().filter(|part| !part.is_empty()).count();
        if self.count + slices > SLICES_MAX || self.bytes >= WRITE_BYTES_MAX {
            return false;
        }
        for part in parts {
            let skipped = self.written.min(part.len());
            self.written -= skipped;
            let rest = &part[skipped..];
            if !rest.is_empty() {
                self.slices[self.count] = IoSlice::new(rest);
                self.bytes += rest.len();
                self.count += 1;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
