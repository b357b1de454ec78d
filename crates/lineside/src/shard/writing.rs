//! Writing: from outboxes to the kernel.

use std::io::{ErrorKind, IoSlice};

use lineside_hub::{ConnectionId, Outbox, SLICES_MAX};

use super::{Socket, Worker, peer};

/// Number of writes of replays in a millisecond: 256 KiB at most, or 256 short publications. They take a shard about a quarter of a
/// core.
pub(super) const REPLAY_WRITES_PER_MS: usize = 4;

impl<S: Socket> Worker<S> {
    /// Marks a connection's kernel buffer as writable again.
    pub(super) fn note_writable(&mut self, id: ConnectionId) {
        let peer = peer(&mut self.peers, id);
        if peer.is_some_and(|peer| peer.blocked_since_ms.take().is_some()) {
            self.fan_out.unblock(id);
        }
    }

    /// Writes to a connection with a full kernel buffer. Returns false if the buffer is still full.
    ///
    /// Linux reports a buffer as writable only when a third of it is free. A steady reader may need longer for that than the
    /// limit of slow readers.
    pub(super) fn write_again(&mut self, id: ConnectionId) -> bool {
        self.note_writable(id);
        self.write(id);
        peer(&mut self.peers, id).is_none_or(|peer| peer.blocked_since_ms.is_none())
    }

    /// Writes a connection's outbox with one gathered write.
    pub(super) fn write(&mut self, id: ConnectionId) {
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        let Some(outbox) = self.fan_out.outbox(id) else {
            return;
        };
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = outbox.slices(&mut slices);
        let begins_with_ms = outbox.begins_with_ms();
        let is_replay = outbox.has_replay();
        // A write of one slice costs the kernel less than a gathered one.
        let written = match &slices[..count] {
            [slice] => peer.socket.write(slice),
            slices => peer.socket.write_vectored(slices),
        };
        match written {
            Ok(bytes) => {
                self.counts.sent_bytes.add(bytes as u64);
                if is_replay {
                    self.replays.1 = self.replays.1.saturating_sub(1);
                }
                if let Some(at_ms) = begins_with_ms {
                    // Both times are rounded down to milliseconds, so adding one gives an upper bound.
                    self.counts
                        .latency
                        .observe(self.now.ms.saturating_sub(at_ms) + 1);
                }
                self.fan_out.advance(id, bytes);
                let outbox = self.fan_out.outbox(id);
                if !outbox.is_some_and(Outbox::has_replay) {
                    peer.replay_since_ms = None;
                }
                let is_drained = outbox.is_none_or(Outbox::is_empty);
                if is_drained && peer.has_left {
                    return self.close(id);
                }
                // Requests that waited for the outbox may continue.
                if !peer.reader.is_idle() || peer.is_readable {
                    self.queue_read(id);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                peer.blocked_since_ms = Some(self.now.ms);
                if outbox.has_replay() {
                    peer.replay_since_ms.get_or_insert(self.now.ms);
                }
                let slow_at_ms = peer.slow_at_ms(&self.plan.limits).unwrap_or(u64::MAX);
                self.fan_out.block(id);
                self.set_timer(id, slow_at_ms);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => self.fan_out.advance(id, 0),
            Err(_) => self.close(id),
        }
    }
}
