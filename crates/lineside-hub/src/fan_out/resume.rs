//! Resumes: a connection continues after cursors.

use std::collections::HashSet;
use std::sync::Arc;

use lineside_protocol::{After, Position};

use super::{ConnectionId, FanOut};
use crate::journal::{Replay, ReplayAnswer, ReplayRequest, Verdict, Want, position_in};

/// Result of a resume for one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelVerdict {
    /// Name of the channel.
    pub channel: Arc<str>,
    /// Result of the resume.
    pub verdict: Verdict,
}

/// A completed resume. Send the reply with `floor`, then the replay, then, if any channel is recovered, a `caught_up`
/// with `seam`.
#[derive(Debug)]
pub struct Resumed {
    /// The replay ends here, and live publications begin.
    pub seam: Position,
    /// One verdict per channel, in the order in which the channels were wanted.
    pub verdicts: Vec<ChannelVerdict>,
    /// Position for the reply, never ahead of what was sent: the lowest cursor of the recovered channels, or the seam if
    /// there are none.
    pub floor: Position,
    /// Missed publications of the recovered channels, in journal order.
    pub replay: Replay,
}

/// First step of a resume.
#[derive(Debug, PartialEq, Eq)]
pub enum Resume {
    /// Ask the journal for the replay, and [complete](FanOut::complete) the resume with its answer before anything else
    /// is dispatched.
    Ready(ReplayRequest),
    /// The shard has not dispatched everything that the connection has seen on another shard. Nothing is subscribed yet.
    /// [`FanOut::next_ready`] returns the request later. A closed connection never gets it.
    Waiting,
}

/// A resume that waits until the shard has dispatched `until`.
#[derive(Debug)]
pub(super) struct PendingResume {
    pub(super) until: Position,
    wants: Vec<Want>,
}

impl FanOut {
    /// Begins to subscribe a connection to channels, each after its own cursor: all channels of a `connect`, or the one of
    /// a `subscribe`.
    ///
    /// A channel with a live subscription is replayed again if it comes with a cursor, and unchanged otherwise. Of several
    /// wants for one channel only the first counts, and has a verdict. A connection with a waiting resume must not resume
    /// again until that one is complete.
    ///
    /// `newest` returns the journal's newest position. It is called only if a cursor is ahead of this shard. A cursor that
    /// is ahead of the journal resumes as lost, even if the journal assigns that position while the resume waits.
    pub fn resume(
        &mut self,
        id: ConnectionId,
        mut wants: Vec<Want>,
        newest: impl FnOnce() -> Position,
    ) -> Resume {
        let mut mentioned = HashSet::with_capacity(wants.len());
        wants.retain(|want| mentioned.insert(Arc::clone(&want.channel)));
        let epoch = &self.epoch;
        let dispatched = self.dispatched;
        let position = |want: &Want| position_in(want.after.as_ref()?, epoch);
        let mut ahead: Option<Position> = None;
        if wants.iter().filter_map(position).any(|it| it > dispatched) {
            let newest = newest();
            for want in &mut wants {
                match position(want) {
                    Some(after) if after > newest => want.after = Some(After::Unknown),
                    Some(after) if after > dispatched => ahead = ahead.max(Some(after)),
                    _ => {}
                }
            }
        }
        let Some(until) = ahead else {
            return Resume::Ready(ReplayRequest {
                wants,
                through: dispatched,
            });
        };
        if let Some(connection) = self.connection(id) {
            debug_assert!(connection.pending.is_none(), "one resume at a time");
            connection.pending = Some(Box::new(PendingResume { until, wants }));
            self.pending.insert((until, id));
        }
        Resume::Waiting
    }

    /// Whether this shard has dispatched the position of a waiting resume.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        let next = self.pending.first();
        next.is_some_and(|(until, _)| *until <= self.dispatched)
    }

    /// The next waiting resume whose position this shard has dispatched. Call it after dispatching, and treat each request
    /// as [`Resume::Ready`].
    pub fn next_ready(&mut self) -> Option<(ConnectionId, ReplayRequest)> {
        if !self.has_ready() {
            return None;
        }
        let (_, id) = self.pending.pop_first()?;
        let through = self.dispatched;
        let pending = self.connection(id)?.pending.take()?;
        let wants = pending.wants;
        Some((id, ReplayRequest { wants, through }))
    }

    /// Subscribes the connection to the channels of a request, and completes its resume with the journal's answer.
    pub fn complete(
        &mut self,
        id: ConnectionId,
        request: ReplayRequest,
        answer: ReplayAnswer,
    ) -> Resumed {
        let seam = request.through;
        debug_assert_eq!(seam, self.dispatched, "nothing was dispatched in between");
        self.resumed += request.wants.len() as u64;
        let mut verdicts = Vec::with_capacity(request.wants.len());
        for (Want { channel, .. }, verdict) in request.wants.into_iter().zip(answer.verdicts) {
            self.subscribe(id, &channel);
            verdicts.push(ChannelVerdict { channel, verdict });
        }
        Resumed {
            seam,
            verdicts,
            floor: answer.floor.unwrap_or(seam),
            replay: answer.replay,
        }
    }
}
