//! Who publishes, and how far each has come: what makes a frame that is sent again land once.

mod state;

use std::collections::{HashMap, VecDeque};

use lineside_protocol::Position;

use crate::door::Refused;

/// Publishers remembered, linked or not: each is a Ruby process, and far fewer run on one machine. The rest is memory of
/// processes that are gone, which a command that publishes once in a script fills too.
pub const PUBLISHERS_MAX: usize = 4_096;

/// Answers remembered of one publisher. A thread that waits for a receipt has one frame under way, so this is how many
/// threads of one process may wait while their link breaks.
pub const ANSWERS_MAX: usize = 256;

/// What became of a frame that was dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is in the journal.
    Landed {
        /// Where its last publication stands.
        receipt: Position,
        /// All of it had landed before, under its `once` id.
        duplicate: bool,
    },
    /// It will never be taken.
    Refused(Refused),
}

/// What a link is told at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// The publisher's newest sequence that was dealt with.
    pub last: u64,
    /// The link that this one takes the place of: close it, and discard what it has not read.
    pub replaces: Option<u64>,
}

/// As many publishers are linked as may be remembered.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} publishers are linked, and no more are taken; raise publishers_max or end some")]
pub struct PublishersFull(pub usize);

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the publisher's newest; from here on it counts as dealt with.
    New,
    /// It was dealt with before.
    Known,
    /// It came on a link that is not the publisher's newest, or that never said hello: discard it.
    Replaced,
}

#[derive(Debug)]
struct Publisher {
    /// All sequences up to here are dealt with.
    last: u64,
    /// The newest link, open or not.
    link: u64,
    /// When that link ended; `None` while it is open.
    unlinked_ms: Option<u64>,
    /// Sequences and their answers, oldest first.
    answers: VecDeque<(u64, Answer)>,
}

/// The sequences of every publisher.
///
/// Links are numbered by the order in which they were accepted, so the higher of two is the newer, whichever is heard
/// first. A publisher is identified by the 16 random bytes of its hello.
#[derive(Debug)]
pub struct Publishers {
    publishers: HashMap<[u8; 16], Publisher>,
    publishers_max: usize,
    gaps: u64,
}

impl Publishers {
    /// No publisher yet; at most `publishers_max` are remembered at a time.
    #[must_use]
    pub fn new(publishers_max: usize) -> Self {
        Self {
            publishers: HashMap::new(),
            publishers_max,
            gaps: 0,
        }
    }

    /// Makes `link` the publisher's own. No sequence up to `done` will come again.
    ///
    /// A hello that is heard after that of a newer link changes nothing: what follows on it is [`Admission::Replaced`].
    /// When there is no room, the publisher whose link ended the longest ago is forgotten; what that one sends again
    /// after yet another hello would land twice.
    ///
    /// # Errors
    /// When there is no room and every publisher is linked.
    pub fn hello(
        &mut self,
        publisher: [u8; 16],
        done: u64,
        link: u64,
        now_ms: u64,
    ) -> Result<Greeting, PublishersFull> {
        if !self.publishers.contains_key(&publisher) {
            self.make_room()?;
        }
        let known = self
            .publishers
            .entry(publisher)
            .or_insert_with(|| Publisher {
                last: done,
                link,
                unlinked_ms: Some(now_ms),
                answers: VecDeque::new(),
            });
        if link < known.link {
            return Ok(Greeting {
                last: known.last,
                replaces: None,
            });
        }
        let replaces = (known.unlinked_ms.is_none() && known.link != link).then_some(known.link);
        known.last = known.last.max(done);
        known.link = link;
        known.unlinked_ms = None;
        known.answers.retain(|(sequence, _)| *sequence > done);
        Ok(Greeting {
            last: known.last,
            replaces,
        })
    }

    /// Whether the frame `sequence` is to be dealt with, which it then counts as.
    ///
    /// A sequence that jumps is taken, since refusing it would lose more; [`gaps`](Self::gaps) counts it.
    pub fn admit(&mut self, publisher: [u8; 16], link: u64, sequence: u64) -> Admission {
        let Some(known) = self.linked(publisher, link) else {
            return Admission::Replaced;
        };
        if sequence <= known.last {
            return Admission::Known;
        }
        let jumped = sequence - known.last > 1;
        known.last = sequence;
        self.gaps += u64::from(jumped);
        Admission::New
    }

    /// Notes that nothing up to `through` will come, because the publisher dropped it. That is no gap.
    pub fn skip(&mut self, publisher: [u8; 16], link: u64, through: u64) -> Admission {
        let Some(known) = self.linked(publisher, link) else {
            return Admission::Replaced;
        };
        if through <= known.last {
            return Admission::Known;
        }
        known.last = through;
        Admission::New
    }

    /// Notes that `link` ended. Says nothing about a newer one.
    pub fn unlink(&mut self, publisher: [u8; 16], link: u64, now_ms: u64) {
        if let Some(known) = self.linked(publisher, link) {
            known.unlinked_ms = Some(now_ms);
        }
    }

    /// How many are linked. Costs a look at each that is remembered.
    #[must_use]
    pub fn linked_count(&self) -> usize {
        let known = self.publishers.values();
        known.filter(|it| it.unlinked_ms.is_none()).count()
    }

    /// How often a sequence jumped. Each is a fault of a publisher.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Keeps the answer to an admitted frame, for when it is sent again; the last [`ANSWERS_MAX`] are kept.
    pub(crate) fn remember(&mut self, publisher: [u8; 16], sequence: u64, answer: Answer) {
        if let Some(known) = self.publishers.get_mut(&publisher) {
            if known.answers.len() >= ANSWERS_MAX {
                known.answers.pop_front();
            }
            known.answers.push_back((sequence, answer));
        }
    }

    /// What `sequence` was answered, if that was kept.
    pub(crate) fn answer(&self, publisher: [u8; 16], sequence: u64) -> Option<&Answer> {
        let answers = &self.publishers.get(&publisher)?.answers;
        let at = answers
            .binary_search_by_key(&sequence, |(sequence, _)| *sequence)
            .ok()?;
        Some(&answers[at].1)
    }

    /// The publisher, if `link` is its newest and still open.
    fn linked(&mut self, publisher: [u8; 16], link: u64) -> Option<&mut Publisher> {
        let known = self.publishers.get_mut(&publisher)?;
        (known.link == link && known.unlinked_ms.is_none()).then_some(known)
    }

    fn make_room(&mut self) -> Result<(), PublishersFull> {
        if self.publishers.len() < self.publishers_max {
            return Ok(());
        }
        let unlinked = self
            .publishers
            .iter()
            .filter_map(|(id, known)| Some((known.unlinked_ms?, *id)));
        let (_, oldest) = unlinked.min().ok_or(PublishersFull(self.publishers_max))?;
        self.publishers.remove(&oldest);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
