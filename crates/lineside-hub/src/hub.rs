//! What takes publications in: sequences, `once` ids and the journal, changed together.

use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::{Epoch, Position, envelope};

use crate::counts::Counts;
use crate::door::{Checked, Passed, Refused};
use crate::journal::{HistoryLimits, Journal, Publication};
use crate::once::OnceIds;
use crate::outcome::PublishOutcome;
use crate::publishers::{Admission, Answer, Publishers};
use crate::revocations::{CheckedRevocation, Revocations};

/// The part of the hub that a process has one of. Plain state; every change to it is one call.
#[derive(Debug)]
pub struct Hub {
    /// What was published.
    pub journal: Journal,
    /// Who publishes, and how far each has come.
    pub publishers: Publishers,
    /// What must not land twice.
    pub once: OnceIds,
    /// Whose tokens are over before their time.
    pub revocations: Revocations,
    /// What became of all that came.
    pub counts: Counts,
}

impl Hub {
    /// An empty hub. `epoch` must never have been the name of another journal.
    #[must_use]
    pub fn new(epoch: Epoch, history: HistoryLimits, publishers_max: usize) -> Self {
        Self {
            journal: Journal::new(epoch, history),
            publishers: Publishers::new(publishers_max),
            once: OnceIds::default(),
            revocations: Revocations::default(),
            counts: Counts::default(),
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
        let numbered = (frame.sequence, frame.wants_receipt);
        self.take(publisher, link, numbered, |hub| match &frame.publications {
            Ok(publications) => hub.land(frame, publications, now_ms),
            Err(refused) => PublishOutcome::Refused(refused.clone()),
        })
    }

    /// Takes a frame that signs somebody out: from here on the tokens that it means are revoked.
    ///
    /// A connection that is registered by a shard before the shard passes the revocation's position is closed there; one
    /// that comes later finds its token revoked. So none slips between, as long as revocations are asked for and the
    /// connection is registered on the thread that also passes positions.
    pub fn revoke(
        &mut self,
        publisher: [u8; 16],
        link: u64,
        frame: &CheckedRevocation,
    ) -> PublishOutcome {
        let numbered = (frame.sequence, frame.wants_receipt);
        self.take(publisher, link, numbered, |hub| {
            let landed = frame.revocation.as_ref().map_err(Refused::clone);
            match landed.and_then(|it| hub.revocations.add(it).map(|()| it)) {
                Ok(revocation) => PublishOutcome::Revoked {
                    position: hub.journal.assign(),
                    revocation: Arc::new(revocation.clone()),
                },
                Err(refused) => PublishOutcome::Refused(refused),
            }
        })
    }

    /// Lets a frame that was not dealt with before `land`, and keeps its answer.
    fn take(
        &mut self,
        publisher: [u8; 16],
        link: u64,
        (sequence, wants_receipt): (u64, bool),
        land: impl FnOnce(&mut Self) -> PublishOutcome,
    ) -> PublishOutcome {
        let outcome = match self.publishers.admit(publisher, link, sequence) {
            Admission::Replaced => PublishOutcome::Replaced,
            Admission::Known => self.answer_again(publisher, sequence),
            Admission::New => {
                let outcome = land(self);
                if let Some(answer) = answer(&outcome, wants_receipt) {
                    self.publishers.remember(publisher, sequence, answer);
                }
                outcome
            }
        };
        self.counts.note(&outcome);
        outcome
    }

    fn answer_again(&self, publisher: [u8; 16], sequence: u64) -> PublishOutcome {
        match self.publishers.answer(publisher, sequence) {
            Some(Answer::Refused(refused)) => PublishOutcome::Refused(refused.clone()),
            Some(Answer::Landed { receipt, duplicate }) => PublishOutcome::Known {
                receipt: Some(*receipt),
                duplicate: *duplicate,
            },
            None => PublishOutcome::Known {
                receipt: None,
                duplicate: false,
            },
        }
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
        self.counts.land(passed);
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

/// What is to be answered when the frame comes again.
fn answer(outcome: &PublishOutcome, wants_receipt: bool) -> Option<Answer> {
    match outcome {
        PublishOutcome::Refused(refused) => Some(Answer::Refused(refused.clone())),
        PublishOutcome::Landed {
            receipt, duplicate, ..
        } => wants_receipt.then_some(Answer::Landed {
            receipt: *receipt,
            duplicate: *duplicate,
        }),
        PublishOutcome::Revoked { position, .. } => wants_receipt.then_some(Answer::Landed {
            receipt: *position,
            duplicate: false,
        }),
        PublishOutcome::Known { .. } | PublishOutcome::Replaced => None,
    }
}

#[cfg(test)]
mod tests;
