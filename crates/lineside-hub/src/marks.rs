//! Marks: how far each page has received each stream of Action Cable, so that a page with a stock client, which keeps no cursor,
//! resumes when it connects again.
//!
//! A page has a random key, which is part of the identifiers of its subscriptions. A mark lives as long as its connection, and
//! then as long as the history: after that, the page's own cursor leads to the same replay.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lineside_protocol::Position;
use sha2::{Digest as _, Sha256};

use crate::ConnectionId;
use crate::encoding::{Reader, SnapshotError, Writer};

/// Maximum number of marks. They take 30 MB. Beyond it the one that ended first is forgotten.
pub const MARKS_MAX: usize = 256 * 1024;

/// Maximum number of noted ends, which exceed the marks if pages subscribe and unsubscribe often. They take 17 MB. Beyond it
/// those of marks that were opened again are removed.
const ENDS_MAX: usize = 2 * MARKS_MAX;

/// Maximum time between the end and the new beginning of a subscription by a Turbo visit, in milliseconds.
const VISIT_MS_MAX: u64 = 500;

/// Maximum length of a page's key, in bytes.
pub const PAGE_KEY_BYTES_MAX: usize = 64;

/// A page and a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MarkKey([u8; 16]);

impl MarkKey {
    /// Key of a page's stream. `None` if the page's key is empty or longer than [`PAGE_KEY_BYTES_MAX`].
    #[must_use]
    pub fn new(page: &str, channel: &str) -> Option<Self> {
        if page.is_empty() || page.len() > PAGE_KEY_BYTES_MAX {
            return None;
        }
        // The length in front makes the two texts unambiguous.
        let mut digest = Sha256::new();
        digest.update([u8::try_from(page.len()).unwrap_or(u8::MAX)]);
        digest.update(page);
        digest.update(channel);
        digest.finalize().first_chunk().copied().map(Self)
    }
}

/// Connection of a mark: its shard, and its id there.
pub type MarkedConnection = (usize, ConnectionId);

/// Position up to which a browser has confirmed everything of a subscription. Its connection raises it.
#[derive(Clone, Debug, Default)]
pub struct Confirmed(Arc<AtomicU64>);

impl Confirmed {
    /// Raises the position.
    pub fn raise(&self, position: Position) {
        self.0.fetch_max(position.0, Ordering::Relaxed);
    }

    /// The position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.0.load(Ordering::Relaxed))
    }
}

/// How far a page has received a stream.
#[derive(Clone, Debug)]
struct Mark {
    /// Position after which its subscription began. Once it has ended, the position up to which everything is confirmed.
    begun: Position,
    confirmed: Confirmed,
    connection: Option<MarkedConnection>,
    /// Number of the subscription, which tells an earlier connection of the page from the newest.
    number: u64,
    end: Option<End>,
}

/// End of a subscription.
#[derive(Clone, Copy, Debug)]
struct End {
    at_ms: u64,
    /// Newest position that was sent on the connection, if the page unsubscribed.
    sent: Option<Position>,
}

impl Mark {
    fn position(&self) -> Position {
        match self.end {
            Some(_) => self.begun,
            None => self.begun.max(self.confirmed.position()),
        }
    }

    /// Position up to which the page has everything, if it subscribes again on this connection. A Turbo visit ends and begins
    /// the subscription of a permanent element at once: what was sent in between arrives.
    fn position_on(&self, connection: MarkedConnection, now_ms: u64) -> Position {
        let is_same = self.connection == Some(connection);
        match self.end {
            Some(End {
                at_ms,
                sent: Some(sent),
            }) if is_same && now_ms.saturating_sub(at_ms) <= VISIT_MS_MAX => sent,
            _ => self.position(),
        }
    }
}

/// Marks of all pages.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: HashMap<MarkKey, Mark>,
    /// Ended marks with the time of their end, oldest first. A mark that was opened again has another number.
    ended: VecDeque<(u64, u64, MarkKey)>,
    /// Number of the newest subscription.
    opened: u64,
    /// Newest position of a page whose mark was forgotten too early: pages from before it cannot resume by their own cursor.
    forgotten: Position,
}

/// Where a page's subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// After the page's own cursor: it has not subscribed before.
    Own,
    /// After this position, which the page has received.
    After(Position),
    /// Now: how far the page has received is not known any more.
    Now,
}

impl Marks {
    /// Where a subscription begins. `own` is the position of the page's cursor.
    pub(crate) fn begin(
        &self,
        key: &MarkKey,
        own: Position,
        connection: MarkedConnection,
        now_ms: u64,
    ) -> Begin {
        match self.marks.get(key) {
            Some(mark) => Begin::After(mark.position_on(connection, now_ms)),
            None if own < self.forgotten => Begin::Now,
            None => Begin::Own,
        }
    }

    /// Notes a subscription that began after `begun`. Returns its number, for [`end`](Self::end).
    pub(crate) fn open(
        &mut self,
        key: MarkKey,
        begun: Position,
        confirmed: Confirmed,
        connection: Option<MarkedConnection>,
    ) -> u64 {
        self.opened += 1;
        let mark = Mark {
            begun,
            confirmed,
            connection,
            number: self.opened,
            end: None,
        };
        self.marks.insert(key, mark);
        while self.marks.len() > MARKS_MAX {
            if !self.forget_oldest(true) {
                self.marks.remove(&key);
                self.forgotten = self.forgotten.max(begun);
            }
        }
        self.opened
    }

    /// Notes the end of a subscription. `sent` is the newest position that was sent, if its connection goes on.
    pub(crate) fn end(&mut self, key: MarkKey, number: u64, sent: Option<Position>, now_ms: u64) {
        let mark = self.marks.get_mut(&key).filter(|it| it.number == number);
        if let Some(mark) = mark.filter(|it| it.end.is_none()) {
            mark.begun = mark.position();
            let at_ms = now_ms;
            mark.end = Some(End { at_ms, sent });
            self.ended.push_back((now_ms, number, key));
            if self.ended.len() > ENDS_MAX {
                // Marks that were opened again or forgotten have left at least half of the entries behind.
                let marks = &self.marks;
                self.ended.retain(|(_, number, key)| {
                    marks.get(key).is_some_and(|it| it.number == *number)
                });
            }
        }
    }

    /// Forgets a mark, if its number is still this one.
    pub(crate) fn forget(&mut self, key: &MarkKey, number: u64) {
        if self.marks.get(key).is_some_and(|it| it.number == number) {
            self.marks.remove(key);
        }
    }

    /// Removes marks that ended longer ago than `age_ms_max`, the age of the history.
    pub(crate) fn expire(&mut self, now_ms: u64, age_ms_max: u64) {
        let is_old = |marks: &Self| {
            let oldest = marks.ended.front();
            oldest.is_some_and(|(at_ms, ..)| now_ms.saturating_sub(*at_ms) > age_ms_max)
        };
        while is_old(self) && self.forget_oldest(false) {}
    }

    /// Removes the mark that ended first. Returns false if none has.
    fn forget_oldest(&mut self, is_early: bool) -> bool {
        let Some((_, number, key)) = self.ended.pop_front() else {
            return false;
        };
        let is_newest = self.marks.get(&key).is_some_and(|it| it.number == number);
        if is_newest
            && let Some(mark) = self.marks.remove(&key)
            && is_early
        {
            self.forgotten = self.forgotten.max(mark.position());
        }
        true
    }

    pub(crate) fn save(&self, out: &mut Writer<impl Write>, now_ms: u64) -> io::Result<()> {
        let end_ms = |mark: &Mark| mark.end.map_or(now_ms, |end| end.at_ms);
        let mut marks: Vec<_> = self.marks.iter().collect();
        marks.sort_by_key(|(key, mark)| (end_ms(mark), **key));
        out.u64(self.forgotten.0)?;
        out.count(marks.len())?;
        for (key, mark) in marks {
            out.bytes(&key.0)?;
            out.u64(mark.position().0)?;
            out.u64(end_ms(mark))?;
        }
        Ok(())
    }

    pub(crate) fn restore(input: &mut Reader<impl Read>) -> Result<Self, SnapshotError> {
        let mut marks = Self {
            forgotten: input.position()?,
            ..Self::default()
        };
        for _ in 0..input.u32()? {
            let key = MarkKey(input.array()?);
            let position = input.position()?;
            let number = marks.open(key, position, Confirmed::default(), None);
            marks.end(key, number, None, input.u64()?);
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests;
