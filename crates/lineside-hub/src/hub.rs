//! What takes publications in: sequences, `once` ids and the journal, changed together.

use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{Epoch, Position, envelope};

use crate::door::{Checked, Passed, Refused};
use crate::journal::{HistoryLimits, Journal, Publication};
use crate::once::OnceIds;
use crate::publishers::{Admission, Answer, Publishers};

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is in the journal. Ack it, and answer with the receipt if it wants one.
    Landed {
        /// What is new there, in order: for every shard to dispatch. Empty for a duplicate.
        publications: Vec<Arc<Publication>>,
        /// Where its last publication stands.
        receipt: Position,
        /// All of it had landed before, under its `once` id.
        duplicate: bool,
    },
    /// It was sent before and has landed. Ack it, and answer with the receipt if it wants one.
    Known {
        /// What it was answered the first time. After [`ANSWERS_MAX`](crate::ANSWERS_MAX) later answers to the same
        /// publisher that is forgotten, and this is the journal's newest position, which is not before it.
        receipt: Position,
        /// As it was answered the first time.
        duplicate: bool,
    },
    /// It will never be taken, now or the first time it was sent. Say so, and ack it: it is dealt with.
    Refused(Refused),
    /// It came on a link that is not its publisher's newest. Discard it, and the rest of that link.
    Replaced,
}

/// The part of the hub that a process has one of. Plain state; every change to it is one call.
#[derive(Debug)]
pub struct Hub {
    /// What was published.
    pub journal: Journal,
    /// Who publishes, and how far each has come.
    pub publishers: Publishers,
    /// What must not land twice.
    pub once: OnceIds,
}

impl Hub {
    /// An empty hub. `epoch` must never have been the name of another journal.
    #[must_use]
    pub fn new(epoch: Epoch, history: HistoryLimits, publishers_max: usize) -> Self {
        Self {
            journal: Journal::new(epoch, history),
            publishers: Publishers::new(publishers_max),
            once: OnceIds::default(),
        }
    }

    /// Takes a frame that `publisher` sent on `link`: all of its publications, or none.
    ///
    /// Under a `once` id each publication lands unless its channel had that id before this frame; the frame is a
    /// duplicate when none lands.
    pub fn publish(
        &mut self,
        publisher: [u8; 16],
        link: u64,
        frame: &Checked,
        now_ms: u64,
    ) -> PublishOutcome {
        match self.publishers.admit(publisher, link, frame.sequence) {
            Admission::Replaced => PublishOutcome::Replaced,
            Admission::Known => self.answer_again(publisher, frame.sequence),
            Admission::New => {
                let outcome = match &frame.publications {
                    Ok(publications) => self.land(frame, publications, now_ms),
                    Err(refused) => PublishOutcome::Refused(refused.clone()),
                };
                self.remember(publisher, frame, &outcome);
                outcome
            }
        }
    }

    fn answer_again(&self, publisher: [u8; 16], sequence: u64) -> PublishOutcome {
        match self.publishers.answer(publisher, sequence) {
            Some(Answer::Refused(refused)) => PublishOutcome::Refused(refused.clone()),
            Some(Answer::Landed { receipt, duplicate }) => PublishOutcome::Known {
                receipt: *receipt,
                duplicate: *duplicate,
            },
            None => PublishOutcome::Known {
                receipt: self.journal.newest(),
                duplicate: false,
            },
        }
    }

    fn remember(&mut self, publisher: [u8; 16], frame: &Checked, outcome: &PublishOutcome) {
        let answer = match outcome {
            PublishOutcome::Refused(refused) => Answer::Refused(refused.clone()),
            PublishOutcome::Landed {
                receipt, duplicate, ..
            } if frame.wants_receipt => Answer::Landed {
                receipt: *receipt,
                duplicate: *duplicate,
            },
            PublishOutcome::Landed { .. }
            | PublishOutcome::Known { .. }
            | PublishOutcome::Replaced => return,
        };
        self.publishers.remember(publisher, frame.sequence, answer);
    }

    fn land(&mut self, frame: &Checked, passed: &[Passed], now_ms: u64) -> PublishOutcome {
        let earlier: Vec<Option<Position>> = passed
            .iter()
            .map(|passed| {
                self.once
                    .landing(&passed.channel, frame.once.as_ref()?, now_ms)
            })
            .collect();
        let mut publications = Vec::with_capacity(passed.len());
        for (passed, earlier) in passed.iter().zip(&earlier) {
            if earlier.is_none() {
                publications.push(self.append(passed, frame.resent, now_ms));
            }
        }
        if let Some(id) = &frame.once {
            self.note_landings(id, &publications, now_ms);
        }
        let newest = publications.last().map(|publication| publication.position);
        let receipt = newest.max(earlier.into_iter().flatten().max());
        PublishOutcome::Landed {
            receipt: receipt.unwrap_or(self.journal.newest()),
            duplicate: publications.is_empty(),
            publications,
        }
    }

    fn append(&mut self, passed: &Passed, resent: bool, now_ms: u64) -> Arc<Publication> {
        let epoch = self.journal.epoch().clone();
        self.journal.append(&passed.channel, now_ms, |position| {
            envelope::message(&passed.channel, &epoch, position, &passed.payload, resent)
        })
    }

    fn note_landings(&mut self, id: &Bytes, landed: &[Arc<Publication>], now_ms: u64) {
        for publication in landed {
            self.once
                .land(&publication.channel, id, publication.position, now_ms);
        }
    }
}

#[cfg(test)]
mod tests;
