//! Resume: a connection continues after cursors, and the seam between what is replayed and what comes live.

use std::collections::HashSet;
use std::sync::Arc;

use lineside_protocol::{After, Position};

use super::{ConnectionId, Shard};
use crate::journal::{Journal, Publication, Wanted};

/// A channel to be subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Its name.
    pub channel: Arc<str>,
    /// The newest that its reader has seen; without it nothing of the past is owed.
    pub after: Option<After>,
}

/// How a channel continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was asked of the past. What follows the seam comes.
    Fresh,
    /// All that followed `after` comes, in order, once.
    Recovered,
    /// Continuity cannot be given: refetch. What follows the seam comes.
    Lost,
}

/// The verdict on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub channel: Arc<str>,
    /// How it continues.
    pub verdict: Verdict,
}

/// A completed resume. Its caller pushes the reply with `floor`, then the replay, then, when any channel is recovered,
/// that it is caught up with `seam`.
#[derive(Debug, PartialEq, Eq)]
pub struct Resumed {
    /// Up to here the replay goes, from here on publications come live.
    pub seam: Position,
    /// One for each channel, in the order wanted.
    pub outcomes: Vec<Outcome>,
    /// The position for the reply, never ahead of what was sent: the lowest `after` of the recovered channels, or the
    /// seam when there are none.
    pub floor: Position,
    /// What the recovered channels missed, in journal order.
    pub replay: Vec<Arc<Publication>>,
}

/// What came of a resume.
#[derive(Debug, PartialEq, Eq)]
pub enum Resume {
    /// The subscriptions are made.
    Ready(Resumed),
    /// The shard has not dispatched all that the connection has seen elsewhere. Nothing is subscribed yet:
    /// [`Shard::ready`] will say when. (A closed connection waits for ever.)
    Waiting,
}

/// A resume that waits for the shard to get to `until`.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) until: Position,
    wants: Vec<Want>,
}

impl Shard {
    /// Subscribes a connection to channels, each after its own cursor: all of a `connect`, or the one of a `subscribe`.
    ///
    /// A channel that it is subscribed to already is replayed again if it comes with an `after`, and stays as it is
    /// otherwise. Of several wants for one channel the first counts, and is the only one with an outcome. A connection
    /// whose resume is waiting must not resume again until that is ready.
    pub fn resume(&mut self, id: ConnectionId, journal: &Journal, mut wants: Vec<Want>) -> Resume {
        for after in wants.iter_mut().filter_map(|want| want.after.as_mut()) {
            // What the journal has not assigned by now stays lost, even if it assigns it while the resume waits.
            if journal.position(after).is_none() {
                *after = After::Unknown;
            }
        }
        let until = self.ahead(journal, &wants);
        let Some(connection) = self.connection(id) else {
            return Resume::Waiting;
        };
        debug_assert!(connection.pending.is_none(), "one resume at a time");
        match until {
            None => Resume::Ready(self.complete(id, journal, wants)),
            Some(until) => {
                connection.pending = Some(Box::new(Pending { until, wants }));
                self.pending.insert((until, id));
                Resume::Waiting
            }
        }
    }

    /// Whether a waiting resume can be completed: asks nothing of the journal.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.pending
            .first()
            .is_some_and(|(until, _)| *until <= self.dispatched)
    }

    /// Completes the next waiting resume that the shard has come to. To be called after dispatching, until `None`.
    pub fn ready(&mut self, journal: &Journal) -> Option<(ConnectionId, Resumed)> {
        if !self.has_ready() {
            return None;
        }
        let (_, id) = self.pending.pop_first()?;
        let pending = self.connection(id)?.pending.take()?;
        Some((id, self.complete(id, journal, pending.wants)))
    }

    /// The highest position wanted that the journal has reached and this shard has not.
    fn ahead(&self, journal: &Journal, wants: &[Want]) -> Option<Position> {
        let afters = wants
            .iter()
            .filter_map(|want| journal.position(want.after.as_ref()?));
        afters.max().filter(|after| *after > self.dispatched)
    }

    fn complete(&mut self, id: ConnectionId, journal: &Journal, mut wants: Vec<Want>) -> Resumed {
        let mut mentioned = HashSet::with_capacity(wants.len());
        wants.retain(|want| mentioned.insert(Arc::clone(&want.channel)));
        let wanted: Vec<_> = wants
            .iter()
            .filter_map(|want| {
                Some(Wanted {
                    channel: &want.channel,
                    after: want.after.as_ref()?,
                })
            })
            .collect();
        let seam = self.dispatched;
        let replay = journal.replay(&wanted, seam);
        let recovered = wanted.iter().zip(&replay.lost).filter(|(_, lost)| !**lost);
        let floor = recovered
            .filter_map(|(wanted, _)| journal.position(wanted.after))
            .min();

        let mut lost = replay.lost.into_iter();
        let mut outcomes = Vec::with_capacity(wants.len());
        for Want { channel, after } in wants {
            let verdict = match after.and_then(|_| lost.next()) {
                None => Verdict::Fresh,
                Some(false) => Verdict::Recovered,
                Some(true) => Verdict::Lost,
            };
            self.subscribe(id, &channel);
            outcomes.push(Outcome { channel, verdict });
        }
        Resumed {
            seam,
            outcomes,
            floor: floor.unwrap_or(seam),
            replay: replay.entries,
        }
    }
}
