//! Which connection is written next, and which is given up.

use std::collections::VecDeque;

use super::{Connection, ConnectionId};
use crate::outbox::OUTBOX_ITEMS_MAX;

/// Writes that a lane gets before the other one's turn: under a millisecond at the 2.7 microseconds that a write to a
/// local socket was measured at.
pub const SLICE_CONNECTIONS: usize = 256;

/// Publications that a shard offers while the longest waiting connection is not written. Beyond it, taking more in would
/// only move the backlog from the link, where publishers notice it, into outboxes. As many as go into one write.
pub const PASS_PUBLICATIONS_MAX: u64 = 64;

/// Why a connection is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Something concerns it and few others: at most half of the slices while both lanes wait.
    Direct,
    /// Something concerns it and many others, or more is owed to it than one write takes.
    Bulk,
}

/// Where a connection stands in the flush; kept in the connection.
#[derive(Debug, Default)]
pub(super) struct Standing {
    in_direct: bool,
    in_bulk: bool,
    /// The kernel takes none of its bytes.
    pub(super) blocked: bool,
    /// It is to be closed, and is offered nothing more.
    pub(super) slow: bool,
}

/// A connection in a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) id: ConnectionId,
    lane: Lane,
    /// How many publications had been offered when it came.
    since: u64,
}

/// The two lanes. Each holds a connection once at most, and is first in, first out; a connection may stand in both, and
/// is then written from whichever comes first.
#[derive(Debug)]
pub(super) struct Flush {
    direct: VecDeque<Waiting>,
    bulk: VecDeque<Waiting>,
    turn: Lane,
    /// Writes left in this turn.
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
            turn: Lane::Direct,
            left: SLICE_CONNECTIONS,
            offered: 0,
            outbox_bytes_max,
            slow: VecDeque::new(),
        }
    }

    /// Counts one publication more.
    pub(super) fn count_offered(&mut self) {
        self.offered += 1;
    }

    /// Publications offered since the longest waiting connection came.
    pub(super) fn offered_since_pass(&self) -> u64 {
        let oldest = self.direct.front().into_iter().chain(self.bulk.front());
        oldest
            .map(|waiting| self.offered - waiting.since)
            .max()
            .unwrap_or(0)
    }

    /// Has a connection written after its outbox grew, from the lane or from a better one that it stands in; or gives it
    /// up, if the kernel refuses its bytes and too many have gathered.
    pub(super) fn enqueue(&mut self, connection: &mut Connection, lane: Lane) {
        let Connection {
            id,
            standing,
            outbox,
            ..
        } = connection;
        if standing.blocked {
            let is_full =
                outbox.bytes() > self.outbox_bytes_max || outbox.items() > OUTBOX_ITEMS_MAX;
            if is_full && !standing.slow {
                standing.slow = true;
                self.slow.push_back(*id);
            }
            return;
        }
        let waits = standing.in_direct || (lane == Lane::Bulk && standing.in_bulk);
        if !waits {
            let waiting = Waiting {
                id: *id,
                lane,
                since: self.offered,
            };
            self.lane(lane).push_back(waiting);
            standing.set(lane, true);
        }
    }

    /// Has a connection that was just written go on: ahead of the bulk if it came from there, so that one pass empties
    /// every outbox or finds the kernel full.
    pub(super) fn requeue(&mut self, written: Waiting, connection: &mut Connection) {
        let Standing {
            in_bulk, blocked, ..
        } = connection.standing;
        if written.lane == Lane::Bulk && !in_bulk && !blocked {
            self.bulk.push_front(written);
            connection.standing.set(Lane::Bulk, true);
        } else {
            self.enqueue(connection, Lane::Bulk);
        }
    }

    /// Whether any connection stands in a lane.
    pub(super) fn is_waiting(&self) -> bool {
        !self.direct.is_empty() || !self.bulk.is_empty()
    }

    /// The next connection that was given up. It may be gone.
    pub(super) fn next_slow(&mut self) -> Option<ConnectionId> {
        self.slow.pop_front()
    }

    /// The next in turn. It may be gone, blocked or have nothing left to send.
    pub(super) fn dequeue(&mut self) -> Option<Waiting> {
        let other = match self.turn {
            Lane::Direct => Lane::Bulk,
            Lane::Bulk => Lane::Direct,
        };
        let is_over = self.left == 0 && !self.lane(other).is_empty();
        if is_over || self.lane(self.turn).is_empty() {
            self.turn = other;
            self.left = SLICE_CONNECTIONS;
        }
        self.left = self.left.saturating_sub(1);
        self.lane(self.turn).pop_front()
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Waiting> {
        match lane {
            Lane::Direct => &mut self.direct,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

impl Standing {
    /// Notes that the connection left the lane.
    pub(super) fn leave(&mut self, waiting: Waiting) {
        self.set(waiting.lane, false);
    }

    fn set(&mut self, lane: Lane, stands: bool) {
        match lane {
            Lane::Direct => self.in_direct = stands,
            Lane::Bulk => self.in_bulk = stands,
        }
    }
}

#[cfg(test)]
mod tests;
