//! Memory of a shard's connections: sizes of unfinished messages and backlogs, and the end of the largest ones when memory
//! is short.

use std::cmp::Reverse;
use std::sync::Arc;

use lineside_hub::{ConnectionId, Pool, Stage};
use lineside_protocol::codes::{CLOSE_OVERLOADED, CLOSE_SLOW};

use super::{Socket, Worker, peer};

/// Deadline for the rest of a message after its first bytes, in milliseconds: the largest message at 35 kbit/s.
const MESSAGE_MS_MAX: u64 = 30_000;

/// Minimum time between two passes over all connections for the largest backlogs, in milliseconds.
const RELIEF_MS_MIN: u64 = 10;

/// Incomplete message of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unfinished {
    /// Number of complete messages before it, since the reader was last idle.
    number: u32,
    /// Memory that its reader holds, in bytes. Zero without one.
    bytes: usize,
    /// Time of its first bytes, in milliseconds.
    since_ms: u64,
}

/// Memory of a shard's connections.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Size of all unfinished messages, in bytes.
    messages: usize,
    /// Sizes that the process's account has.
    counted_messages: usize,
    counted_queues: usize,
    /// Time of the latest pass over all connections for the largest backlogs, in milliseconds.
    passed_ms: u64,
}

impl<S: Socket> Worker<S> {
    /// Notes the size of a connection's unfinished message, and sets its deadline.
    pub(super) fn note_message(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        let bytes = peer.reader.held_bytes();
        let number = peer.reader.messages();
        let before = peer.unfinished;
        let is_new = bytes > 0 && (before.bytes == 0 || before.number != number);
        let since_ms = if is_new { self.now.ms } else { before.since_ms };
        peer.unfinished = Unfinished {
            number,
            bytes,
            since_ms,
        };
        self.held.messages = self.held.messages - before.bytes + bytes;
        if is_new {
            self.set_timer(id, since_ms + MESSAGE_MS_MAX);
        }
        if bytes > before.bytes {
            self.limit_messages();
        }
    }

    /// Forgets the unfinished message of a connection that closes.
    pub(super) fn forget_message(&mut self, id: ConnectionId) {
        if let Some(peer) = peer(&mut self.peers, id) {
            self.held.messages -= std::mem::take(&mut peer.unfinished).bytes;
        }
    }

    /// Deadline of a connection's unfinished message. Time in which the connection is not read does not count.
    pub(super) fn message_due_ms(&mut self, id: ConnectionId) -> Option<u64> {
        let is_unread = self.must_wait(id);
        let now_ms = self.now.ms;
        let unfinished = &mut peer(&mut self.peers, id)?.unfinished;
        if is_unread {
            unfinished.since_ms = now_ms;
        }
        (unfinished.bytes > 0).then_some(unfinished.since_ms + MESSAGE_MS_MAX)
    }

    /// Brings the process's account up to date, and ends connections if memory is short.
    pub(super) fn relieve(&mut self) {
        let memory = Arc::clone(self.plan.broker.memory());
        let held = &mut self.held;
        let queues = self.fan_out.held_bytes();
        memory.change(Pool::Queues, held.counted_queues, queues);
        memory.change(Pool::Messages, held.counted_messages, held.messages);
        held.counted_queues = queues;
        held.counted_messages = held.messages;

        self.limit_messages();
        let is_early = self.now.ms < self.held.passed_ms + RELIEF_MS_MIN;
        if memory.is_short_for_backlogs() && !is_early {
            self.held.passed_ms = self.now.ms;
            let large = self.fan_out.largest_backlogs();
            memory.note(Stage::Backlogs, large.len());
            for id in large {
                self.end(id, &CLOSE_SLOW.into());
            }
        }
    }

    /// Ends the connections with the largest unfinished messages while all of them exceed this shard's share, or a quarter of
    /// it while memory is short. Each pass over all connections releases at least a quarter of the limit.
    fn limit_messages(&mut self) {
        let memory = self.plan.broker.memory();
        let share = memory.messages_bytes_max() / self.plan.limits.shards;
        let bytes_max = if self.held.messages > share / 4 && memory.is_short(Stage::Messages) {
            share / 4
        } else {
            share
        };
        if self.held.messages <= bytes_max {
            return;
        }
        let large = self.largest_messages(bytes_max / 4 * 3);
        memory.note(Stage::Messages, large.len());
        for id in large {
            self.reject(id, CLOSE_OVERLOADED);
        }
    }

    /// Connections with the largest unfinished messages, as many as leave at most `bytes_max` bytes to the others.
    fn largest_messages(&self, bytes_max: usize) -> Vec<ConnectionId> {
        let peers = self.peers.iter().flatten();
        let unfinished = peers.filter(|peer| peer.unfinished.bytes > 0);
        let mut all: Vec<_> = unfinished.map(|it| (it.unfinished.bytes, it.id)).collect();
        all.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        let mut left = self.held.messages;
        let large = all.into_iter().take_while(|(bytes, _)| {
            let is_over = left > bytes_max;
            left -= bytes;
            is_over
        });
        large.map(|(_, id)| id).collect()
    }
}
