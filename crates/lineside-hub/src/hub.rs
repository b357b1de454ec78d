//! State of one sidecar that all shards share: journal, publishers, `once` ids and revocations, changed together.

use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{Cursor, Epoch, Position};

use crate::counts::Counts;
use crate::journal::{HistoryLimits, Journal, Publication, ReplayAnswer, ReplayRequest, Unencoded};
use crate::marks::{Begin, Confirmed, MarkKey, MarkedConnection, Marks};
use crate::memory::Memory;
use crate::once::OnceIds;
use crate::outcome::Outcome;
use crate::publishers::{
    Admission, Answer, Greeting, Origin, PublisherId, Publishers, PublishersFull,
};
use crate::revocations::Revocations;
use crate::validation::{Change, Proposal, ValidPublication};

/// Encodes a publication as the frame that its subscribers receive. The result is never empty.
pub type Encode = fn(&Unencoded<'_>) -> Bytes;

/// A change that is not in the journal yet: the output of [`Hub::propose`], and the input of [`Hub::apply`] once an engine
/// has ordered it.
#[derive(Debug)]
pub struct Entry {
    publisher: PublisherId,
    proposal: Proposal,
}

/// Result of [`Hub::propose`].
#[derive(Debug)]
pub enum Proposed {
    /// A new entry. The engine must order it; then it must be [applied](Hub::apply).
    New(Entry),
    /// The frame needs no entry.
    Answered(Outcome),
}

/// An entry with its place in the order of all entries.
#[derive(Debug)]
pub struct Ordered {
    /// The entry.
    pub entry: Entry,
    /// Position of its first publication. Higher than every position that was applied before.
    pub first: Position,
    /// Time at which it was ordered, in milliseconds of the hub's clock.
    pub at_ms: u64,
}

/// Shared state of one sidecar, without IO. Each change is one call.
#[derive(Debug)]
pub struct Hub {
    pub(crate) journal: Journal,
    pub(crate) publishers: Publishers,
    pub(crate) once: OnceIds,
    pub(crate) revocations: Revocations,
    pub(crate) marks: Marks,
    pub(crate) counts: Counts,
}

impl Hub {
    /// Creates an empty hub. No other journal may ever have had this `epoch`.
    #[must_use]
    pub fn new(epoch: Epoch, history: HistoryLimits, publishers_max: usize) -> Self {
        Self {
            journal: Journal::new(epoch, history),
            publishers: Publishers::new(publishers_max),
            once: OnceIds::default(),
            revocations: Revocations::default(),
            marks: Marks::default(),
            counts: Counts::default(),
        }
    }

    /// Registers a publisher's link. The publisher will not retransmit any sequence up to `done`.
    ///
    /// # Errors
    /// Returns an error if the table of publishers is full and every publisher is linked.
    pub fn greet(
        &mut self,
        origin: Origin,
        done: u64,
        now_ms: u64,
    ) -> Result<Greeting, PublishersFull> {
        self.publishers.hello(origin, done, now_ms)
    }

    /// Registers the end of a publisher's link.
    pub fn unlink(&mut self, origin: Origin, now_ms: u64) {
        self.publishers.unlink(origin, now_ms);
    }

    /// First step of a frame: drops retransmissions and frames of replaced links. A new frame becomes an [`Entry`].
    ///
    /// Entries of one publisher must be ordered in the order in which they were proposed.
    pub fn propose(&mut self, origin: Origin, proposal: Proposal) -> Proposed {
        let sequence = proposal.sequence;
        let is_skip = matches!(proposal.change, Change::Skip);
        let admission = if is_skip {
            self.publishers.propose_skip(origin, sequence)
        } else {
            self.publishers.propose(origin, sequence)
        };
        let outcome = match admission {
            Admission::New => {
                return Proposed::New(Entry {
                    publisher: origin.publisher,
                    proposal,
                });
            }
            Admission::UnderWay => Outcome::UnderWay,
            Admission::Landed if is_skip => Outcome::Skipped,
            Admission::Landed => self.answer_again(origin.publisher, sequence),
            Admission::Replaced => Outcome::Replaced,
        };
        self.counts.note(&outcome);
        Proposed::Answered(outcome)
    }

    /// Second step of a frame: applies the entry, all of its publications or none.
    ///
    /// The outcome depends only on the entries applied so far and on `ordered`. An entry whose publisher and sequence
    /// landed before changes nothing. Under a `once` id each publication lands unless its channel had that id before
    /// this entry; the entry is a duplicate if none lands.
    ///
    /// A revocation that is applied before a shard registers a connection is visible to
    /// [`is_revoked`](Self::is_revoked); one that is applied later reaches the shard as an entry of the journal. So no
    /// connection escapes it if the shard calls `is_revoked` and registers the connection on the thread that also
    /// receives entries.
    pub fn apply(&mut self, ordered: Ordered, encode: Encode) -> Outcome {
        let Ordered {
            entry,
            first,
            at_ms,
        } = ordered;
        let Entry {
            publisher,
            proposal,
        } = entry;
        let Proposal {
            sequence,
            wants_receipt,
            change,
        } = proposal;
        if !self.publishers.land(publisher, sequence, at_ms) {
            let outcome = match change {
                Change::Skip => Outcome::Skipped,
                _ => self.answer_again(publisher, sequence),
            };
            self.counts.note(&outcome);
            return outcome;
        }
        let outcome = match change {
            Change::Publish {
                resent,
                once,
                publications,
            } => {
                let encode = |publication: &ValidPublication, epoch: &Epoch, position| {
                    encode(&Unencoded {
                        channel: &publication.channel,
                        epoch,
                        position,
                        payload: &publication.payload,
                        resent,
                    })
                };
                self.land(&publications, once.as_ref(), (first, at_ms), encode)
            }
            Change::Revoke(revocation) => {
                self.journal.pass(first);
                Outcome::Revoked {
                    position: first,
                    revocation: self.revocations.add(revocation, at_ms),
                }
            }
            Change::Skip => Outcome::Skipped,
            Change::Reject(rejection) => Outcome::Rejected(rejection),
        };
        if let Some(answer) = answer(&outcome, wants_receipt) {
            self.publishers.remember(publisher, sequence, answer);
        }
        self.counts.note(&outcome);
        outcome
    }

    /// Lowest position that an entry may be given next.
    #[must_use]
    pub fn next_position(&self) -> Position {
        self.journal.newest().next()
    }

    /// Cursor of the newest entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.journal.cursor()
    }

    /// Whether a token of the user with this session and issue time (milliseconds since the Unix epoch) is revoked.
    #[must_use]
    pub fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        self.revocations.is_revoked(user, session, issued_ms)
    }

    /// Issue time, in milliseconds since the Unix epoch, up to which the tokens of all users are revoked, because there were
    /// more than [`REVOCATIONS_MAX`](crate::REVOCATIONS_MAX) revocations.
    #[must_use]
    pub fn all_users_revoked_ms(&self) -> Option<u64> {
        self.revocations.all_users_ms()
    }

    /// Collects the publications that a resume needs. See [`Journal::replay`].
    #[must_use]
    pub fn replay(&self, request: &ReplayRequest) -> ReplayAnswer {
        self.journal.replay(request)
    }

    /// Latest issue time of tokens from before the wall clock was set back, if it was set back and has not caught up. Both
    /// times are in milliseconds since the Unix epoch.
    #[must_use]
    pub fn set_back_from_ms(&self, wall_ms: u64) -> Option<u64> {
        self.revocations.set_back_from_ms(wall_ms)
    }

    /// Removes history and revocations that are too old, and notes the reading of the wall clock. Call it every second.
    pub fn expire(&mut self, now_ms: u64, wall_ms: u64) {
        self.journal.expire(now_ms);
        self.revocations.expire(now_ms);
        self.revocations.note_wall(wall_ms);
        self.marks.expire(now_ms, self.journal.limits().age_ms_max);
    }

    /// Where the subscription of a page begins on a connection. `own` is the position of the page's cursor.
    #[must_use]
    pub fn begin_after(
        &self,
        key: &MarkKey,
        own: Position,
        connection: MarkedConnection,
        now_ms: u64,
    ) -> Begin {
        self.marks.begin(key, own, connection, now_ms)
    }

    /// Notes that a page has subscribed after `begun`. Returns the number of the mark.
    pub fn open_mark(
        &mut self,
        key: MarkKey,
        begun: Position,
        confirmed: Confirmed,
        connection: MarkedConnection,
    ) -> u64 {
        self.marks.open(key, begun, confirmed, Some(connection))
    }

    /// Notes the end of a page's subscription. `sent` is the newest position that was sent, if its connection goes on.
    pub fn end_mark(&mut self, key: MarkKey, number: u64, sent: Option<Position>, now_ms: u64) {
        self.marks.end(key, number, sent, now_ms);
    }

    /// Forgets the mark of this number, so that the page's own cursor counts if it subscribes again.
    pub fn forget_mark(&mut self, key: &MarkKey, number: u64) {
        self.marks.forget(key, number);
    }

    /// Account of the process's memory. It has no ceiling until one is [set](Memory::limit).
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        self.journal.memory()
    }

    /// Evicts history while memory is short. See [`Journal::relieve`].
    pub fn relieve(&mut self, count_max: usize) -> bool {
        self.journal.relieve(count_max)
    }

    /// Number of jumps in the sequences of publishers. Each one is a fault of a publisher.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.publishers.gaps()
    }

    /// Counters since the start of the process, and the current sizes.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            linked: self.publishers.linked_count(),
            gaps: self.gaps(),
            journal_publications: self.journal.len(),
            journal_bytes: self.journal.bytes(),
            journal_channels: self.journal.channels(),
            newest: self.journal.newest(),
            ..self.counts.clone()
        }
    }

    fn answer_again(&self, publisher: PublisherId, sequence: u64) -> Outcome {
        match self.publishers.answer(publisher, sequence) {
            Some(Answer::Rejected(rejection)) => Outcome::Rejected(rejection.clone()),
            Some(Answer::Landed { receipt, duplicate }) => Outcome::Known {
                receipt: Some(*receipt),
                duplicate: *duplicate,
            },
            None => Outcome::Known {
                receipt: None,
                duplicate: false,
            },
        }
    }

    /// Positions at which each publication landed before under this `once` id.
    fn earlier(
        &mut self,
        publications: &[ValidPublication],
        once: &[u8],
        at_ms: u64,
    ) -> Vec<Option<Position>> {
        publications
            .iter()
            .map(|publication| self.once.landing(&publication.channel, once, at_ms))
            .collect()
    }

    fn land(
        &mut self,
        publications: &[ValidPublication],
        once: Option<&Bytes>,
        (first, at_ms): (Position, u64),
        encode: impl Fn(&ValidPublication, &Epoch, Position) -> Bytes,
    ) -> Outcome {
        let mut landed: Vec<Arc<Publication>> = Vec::with_capacity(publications.len());
        let earlier = once.map(|id| self.earlier(publications, id, at_ms));
        let mut position = first;
        for (index, publication) in publications.iter().enumerate() {
            if earlier.as_ref().is_some_and(|it| it[index].is_some()) {
                continue;
            }
            self.counts.land(publication);
            landed.push(
                self.journal
                    .append(&publication.channel, (position, at_ms), |epoch| {
                        encode(publication, epoch, position)
                    }),
            );
            position = position.next();
        }
        if let Some(id) = once {
            for publication in &landed {
                self.once
                    .land(&publication.channel, id, publication.position, at_ms);
            }
        }
        let newest = landed.last().map(|publication| publication.position);
        let receipt = newest.max(earlier.into_iter().flatten().flatten().max());
        Outcome::Landed {
            receipt: receipt.unwrap_or(self.journal.newest()),
            duplicate: landed.is_empty(),
            publications: landed,
        }
    }
}

/// Answer to store for a retransmission of the frame.
fn answer(outcome: &Outcome, wants_receipt: bool) -> Option<Answer> {
    match outcome {
        Outcome::Rejected(rejection) => Some(Answer::Rejected(rejection.clone())),
        Outcome::Landed {
            receipt, duplicate, ..
        } => wants_receipt.then_some(Answer::Landed {
            receipt: *receipt,
            duplicate: *duplicate,
        }),
        Outcome::Revoked { position, .. } => wants_receipt.then_some(Answer::Landed {
            receipt: *position,
            duplicate: false,
        }),
        Outcome::Skipped | Outcome::Known { .. } | Outcome::UnderWay | Outcome::Replaced => None,
    }
}

#[cfg(test)]
mod tests;
