//! Per-publisher sequence numbers, used to drop retransmitted frames.

mod snapshot;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use lineside_protocol::Position;

use crate::rejection::Rejection;

/// Maximum number of publishers in the table, linked or not. Each is one Ruby process, and one machine runs far fewer.
/// The rest are processes that ended, such as runs of `lineside publish` in a script.
pub const PUBLISHERS_MAX: usize = 4_096;

/// Maximum number of stored answers per publisher: as many receipts as a publisher waits for (`WAITERS_MAX` of
/// `lineside-publisher`). With fewer, a link that breaks under load would leave a receipt without an answer.
pub const ANSWERS_MAX: usize = 1024;

/// Random id of one publisher process, from its hello.
pub type PublisherId = [u8; 16];

/// Sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The publisher.
    pub publisher: PublisherId,
    /// Number of the link on which the frame arrived.
    pub link: u64,
}

/// Answer to a frame, kept for its retransmission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The frame is in the journal.
    Landed {
        /// Position of its last entry.
        receipt: Position,
        /// All of its publications had landed before, under its `once` id.
        duplicate: bool,
    },
    /// The frame was rejected permanently.
    Rejected(Rejection),
}

/// Result of a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Newest sequence of the publisher that has landed.
    pub last: u64,
    /// Older link of the same publisher. Close it, and discard its unread input.
    pub replaces: Option<u64>,
}

/// Error of a hello when the table is full of linked publishers.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0} publishers are linked, which is the maximum; stop some of them")]
pub struct PublishersFull(pub usize);

/// State of a frame's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Never proposed before. It counts as proposed from here on.
    New,
    /// Proposed before, and not ordered yet.
    UnderWay,
    /// Landed before.
    Landed,
    /// The link is not the publisher's newest, or sent no hello.
    Replaced,
}

#[derive(Debug)]
struct Publisher {
    /// All sequences up to this one are proposed.
    proposed: u64,
    /// All sequences up to this one have landed.
    landed: u64,
    /// Number of the newest link, open or closed.
    link: u64,
    /// End of that link. `None` while it is open.
    unlinked_ms: Option<u64>,
    /// Sequences and their answers, oldest first.
    answers: VecDeque<(u64, Answer)>,
}

/// Hasher of publisher ids, which are random already. Only processes of the sidecar's own user choose them.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Table of publishers with their sequence numbers.
///
/// Links are numbered in the order in which they were accepted, so of two links of one publisher the one with the higher
/// number is the newer, whichever hello is processed first.
#[derive(Debug)]
pub(crate) struct Publishers {
    publishers: HashMap<PublisherId, Publisher, BuildHasherDefault<IdHasher>>,
    publishers_max: usize,
    gaps: u64,
}

impl Publishers {
    /// Creates an empty table for at most `publishers_max` publishers.
    #[must_use]
    pub(crate) fn new(publishers_max: usize) -> Self {
        Self {
            publishers: HashMap::default(),
            publishers_max,
            gaps: 0,
        }
    }

    /// Makes `link` the publisher's newest link. The publisher will not retransmit any sequence up to `done`.
    ///
    /// A hello of an older link than the newest changes nothing: its frames are answered [`Admission::Replaced`]. A full
    /// table evicts the publisher whose link ended first. If that publisher comes back, what it retransmits lands twice.
    ///
    /// # Errors
    /// Returns an error if the table is full and every publisher is linked.
    pub(crate) fn hello(
        &mut self,
        origin: Origin,
        done: u64,
        now_ms: u64,
    ) -> Result<Greeting, PublishersFull> {
        let Origin { publisher, link } = origin;
        if !self.publishers.contains_key(&publisher) {
            self.make_room()?;
        }
        let known = self
            .publishers
            .entry(publisher)
            .or_insert_with(|| Publisher {
                proposed: done,
                landed: done,
                link,
                unlinked_ms: Some(now_ms),
                answers: VecDeque::new(),
            });
        if link < known.link {
            return Ok(Greeting {
                last: known.landed,
                replaces: None,
            });
        }
        let replaces = (known.unlinked_ms.is_none() && known.link != link).then_some(known.link);
        // An entry under way with a sequence up to `done` still has to land.
        if known.landed == known.proposed {
            known.landed = known.landed.max(done);
        }
        known.proposed = known.proposed.max(done);
        known.link = link;
        known.unlinked_ms = None;
        known.answers.retain(|(sequence, _)| *sequence > done);
        Ok(Greeting {
            last: known.landed.max(done),
            replaces,
        })
    }

    /// Registers a proposed sequence.
    ///
    /// A sequence that jumps ahead is accepted, because rejecting it would lose more; [`gaps`](Self::gaps) counts it.
    pub(crate) fn propose(&mut self, origin: Origin, sequence: u64) -> Admission {
        self.register(origin, sequence, true)
    }

    /// Registers that the publisher dropped every frame up to `through`. This is not a gap.
    pub(crate) fn propose_skip(&mut self, origin: Origin, through: u64) -> Admission {
        self.register(origin, through, false)
    }

    fn register(&mut self, origin: Origin, sequence: u64, counts_gaps: bool) -> Admission {
        let Some(known) = self.linked(origin) else {
            return Admission::Replaced;
        };
        if sequence <= known.landed {
            return Admission::Landed;
        }
        if sequence <= known.proposed {
            return Admission::UnderWay;
        }
        let is_gap = counts_gaps && sequence - known.proposed > 1;
        known.proposed = sequence;
        self.gaps += u64::from(is_gap);
        Admission::New
    }

    /// Registers that a sequence has landed. Returns false if it had landed before: then the entry must not be applied.
    ///
    /// A publisher that sent no hello here is added as unlinked, because an entry may have been proposed by another sidecar.
    pub(crate) fn land(&mut self, publisher: PublisherId, sequence: u64, now_ms: u64) -> bool {
        if let Some(known) = self.publishers.get_mut(&publisher) {
            let is_new = sequence > known.landed;
            known.landed = known.landed.max(sequence);
            known.proposed = known.proposed.max(sequence);
            return is_new;
        }
        if self.make_room().is_ok() {
            let unlinked = Publisher {
                proposed: sequence,
                landed: sequence,
                link: 0,
                unlinked_ms: Some(now_ms),
                answers: VecDeque::new(),
            };
            self.publishers.insert(publisher, unlinked);
        }
        true
    }

    /// Registers the end of `link`. Has no effect on a newer link of the publisher.
    pub(crate) fn unlink(&mut self, origin: Origin, now_ms: u64) {
        if let Some(known) = self.linked(origin) {
            known.unlinked_ms = Some(now_ms);
        }
    }

    /// Number of publishers with an open link. Costs a pass over the table.
    #[must_use]
    pub(crate) fn linked_count(&self) -> usize {
        let known = self.publishers.values();
        known.filter(|it| it.unlinked_ms.is_none()).count()
    }

    /// Number of jumps in sequences. Each one is a fault of a publisher.
    #[must_use]
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Stores the answer to a frame for its retransmission. The newest [`ANSWERS_MAX`] are kept.
    pub(crate) fn remember(&mut self, publisher: PublisherId, sequence: u64, answer: Answer) {
        if let Some(known) = self.publishers.get_mut(&publisher) {
            if known.answers.len() >= ANSWERS_MAX {
                known.answers.pop_front();
            }
            known.answers.push_back((sequence, answer));
        }
    }

    /// Stored answer to a sequence.
    pub(crate) fn answer(&self, publisher: PublisherId, sequence: u64) -> Option<&Answer> {
        let answers = &self.publishers.get(&publisher)?.answers;
        let at = answers
            .binary_search_by_key(&sequence, |(sequence, _)| *sequence)
            .ok()?;
        Some(&answers[at].1)
    }

    /// The publisher, if the link is its newest and open.
    fn linked(&mut self, origin: Origin) -> Option<&mut Publisher> {
        let known = self.publishers.get_mut(&origin.publisher)?;
        (known.link == origin.link && known.unlinked_ms.is_none()).then_some(known)
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
