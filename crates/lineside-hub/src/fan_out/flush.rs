//! Order in which connections are written, and detection of slow ones.

use std::collections::VecDeque;

use super::{Connection, ConnectionId};
use crate::outbox::OUTBOX_ITEMS_MAX;

/// Number of writes in one lane before the next lane's turn: less than a millisecond at 2.7 µs per write to a local
/// socket (measured).
pub const SLICE_CONNECTIONS: usize = 256;

/// Number of writes of replays before the next lane's turn: 256 KiB at most. Copying it takes about 0.1 ms.
pub(super) const SLICE_REPLAYS: usize = 4;

/// Maximum number of publications that a shard offers while the longest waiting connection is not written. Offering more
/// would only move the backlog from the link, where publishers notice it, into outboxes. One write takes as many.
pub const PASS_PUBLICATIONS_MAX: u64 = 64;

/// Queue of connections to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Publications with few subscribers. Gets at most half of the writes while the bulk lane waits.
    Direct,
    /// Publications with many subscribers, and connections with more in the outbox than one write takes.
    Bulk,
    /// Connections with a replay. A page that resumes does not delay those that are up to date.
    Replay,
}

impl Lane {
    /// Number of writes before the next lane's turn.
    fn slice(self) -> usize {
        match self {
            Self::Direct | Self::Bulk => SLICE_CONNECTIONS,
            Self::Replay => SLICE_REPLAYS,
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Direct => Self::Bulk,
            Self::Bulk => Self::Replay,
            Self::Replay => Self::Direct,
        }
    }
}

/// State of one connection in the flush.
#[derive(Debug, Default)]
pub(super) struct FlushState {
    in_direct: bool,
    in_bulk: bool,
    in_replay: bool,
    /// The kernel buffer is full.
    pub(super) blocked: bool,
    /// The connection is about to be closed and receives no more publications.
    pub(super) slow: bool,
}

/// A connection in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) id: ConnectionId,
    lane: Lane,
    /// Number of publications offered before it was queued.
    since: u64,
}

/// The lanes, each first in, first out. A lane holds a connection at most once. A connection in several lanes is written
/// from whichever comes first.
#[derive(Debug)]
pub(super) struct Flush {
    direct: VecDeque<Queued>,
    bulk: VecDeque<Queued>,
    replay: VecDeque<Queued>,
    turn: Lane,
    /// Number of writes left in this turn.
    left: usize,
    offered: u64,
    outbox_bytes_max: usize,
    /// Connections to close.
    slow: VecDeque<ConnectionId>,
}

impl Flush {
    pub(super) fn new(outbox_bytes_max: usize) -> Self {
        Self {
            direct: VecDeque::new(),
            bulk: VecDeque::new(),
            replay: VecDeque::new(),
            turn: Lane::Direct,
            left: SLICE_CONNECTIONS,
            offered: 0,
            outbox_bytes_max,
            slow: VecDeque::new(),
        }
    }

    /// Counts a publication.
    pub(super) fn count_offered(&mut self) {
        self.offered += 1;
    }

    /// Number of publications offered since the longest waiting connection was queued. Connections with a replay do not count,
    /// because their live publications wait behind it anyway.
    pub(super) fn offered_since_pass(&self) -> u64 {
        let oldest = self.direct.front().into_iter().chain(self.bulk.front());
        oldest
            .map(|queued| self.offered - queued.since)
            .max()
            .unwrap_or(0)
    }

    /// Queues a connection whose outbox grew, unless it waits in this lane or a faster one. A blocked connection whose
    /// outbox exceeds a limit becomes slow instead.
    pub(super) fn enqueue(&mut self, connection: &mut Connection, lane: Lane) {
        let Connection {
            id,
            flush: state,
            outbox,
            ..
        } = connection;
        if state.blocked {
            let is_full =
                outbox.bytes() > self.outbox_bytes_max || outbox.items() > OUTBOX_ITEMS_MAX;
            if is_full && !state.slow {
                state.slow = true;
                self.slow.push_back(*id);
            }
            return;
        }
        let lane = if outbox.has_replay() {
            Lane::Replay
        } else {
            lane
        };
        let is_queued = match lane {
            Lane::Direct => state.in_direct,
            Lane::Bulk => state.in_direct || state.in_bulk,
            Lane::Replay => state.in_replay,
        };
        if !is_queued {
            let queued = Queued {
                id: *id,
                lane,
                since: self.offered,
            };
            self.lane(lane).push_back(queued);
            state.set(lane, true);
        }
    }

    /// Queues a connection that was just written and has more to send. One from the bulk lane goes to its front, so that one
    /// pass over the lane empties every outbox or fills the kernel buffer.
    pub(super) fn requeue(&mut self, written: Queued, connection: &mut Connection) {
        let FlushState {
            in_bulk, blocked, ..
        } = connection.flush;
        if written.lane == Lane::Bulk && !in_bulk && !blocked && !connection.outbox.has_replay() {
            self.bulk.push_front(written);
            connection.flush.set(Lane::Bulk, true);
        } else {
            self.enqueue(connection, Lane::Bulk);
        }
    }

    /// Whether a connection is queued.
    pub(super) fn has_queued(&self) -> bool {
        self.has_live() || !self.replay.is_empty()
    }

    /// Whether a connection without a replay is queued.
    pub(super) fn has_live(&self) -> bool {
        !self.direct.is_empty() || !self.bulk.is_empty()
    }

    /// Next slow connection. It may be closed.
    pub(super) fn next_slow(&mut self) -> Option<ConnectionId> {
        self.slow.pop_front()
    }

    /// Removes the next connection. It may be closed, blocked or have an empty outbox.
    pub(super) fn dequeue(&mut self) -> Option<Queued> {
        let next = self.turn.next();
        if self.left == 0 || self.lane(self.turn).is_empty() {
            let others = [next, next.next()];
            let waiting = others.into_iter().find(|lane| !self.lane(*lane).is_empty());
            self.turn = waiting.unwrap_or(self.turn);
            self.left = self.turn.slice();
        }
        self.left = self.left.saturating_sub(1);
        self.lane(self.turn).pop_front()
    }

    /// Removes the next connection without a replay.
    pub(super) fn dequeue_live(&mut self) -> Option<Queued> {
        if self.turn == Lane::Replay || !self.has_live() {
            let waiting = [Lane::Direct, Lane::Bulk]
                .into_iter()
                .find(|lane| !self.lane(*lane).is_empty());
            self.turn = waiting?;
            self.left = self.turn.slice();
        }
        let replays = std::mem::take(&mut self.replay);
        let next = self.dequeue();
        self.replay = replays;
        next
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Queued> {
        match lane {
            Lane::Direct => &mut self.direct,
            Lane::Bulk => &mut self.bulk,
            Lane::Replay => &mut self.replay,
        }
    }
}

impl FlushState {
    /// Marks the connection as no longer in the lane.
    pub(super) fn leave(&mut self, queued: Queued) {
        self.set(queued.lane, false);
    }

    fn set(&mut self, lane: Lane, stands: bool) {
        match lane {
            Lane::Direct => self.in_direct = stands,
            Lane::Bulk => self.in_bulk = stands,
            Lane::Replay => self.in_replay = stands,
        }
    }
}

#[cfg(test)]
mod tests;
