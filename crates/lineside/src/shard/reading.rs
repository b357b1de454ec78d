//! Reading: from received bytes to messages for the dialect.

use std::io::ErrorKind;

use lineside_hub::{ConnectionId, Outbox};
use lineside_protocol::codes::{CLOSE_UNSUPPORTED_DATA, CloseCode};

use super::websocket::{Inbound, Reader};
use super::{Socket, Worker, peer};

/// Size of one read, in bytes. Browsers send little.
pub(super) const READ_BYTES: usize = 4 * 1024;

/// Maximum number of reads per turn, one per connection: less than 30 ms if every one brings 682 pings, each of 6 bytes.
pub(super) const READS_MAX: usize = 256;

/// Maximum number of reads of a connection that was told to close: more than a message of maximum size, which may be on its
/// way. Behind it the browser's close is not found, and the connection is closed at its deadline.
pub(super) const CLOSING_READS_MAX: u8 = 64;

impl<S: Socket> Worker<S> {
    /// Marks a connection as readable, and queues it for a read.
    pub(super) fn note_readable(&mut self, id: ConnectionId) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_readable = true;
            self.queue_read(id);
        }
    }

    /// Queues a connection for a read, once, if it may have more received bytes. A connection that sends without a pause is
    /// read as often as any other.
    pub(super) fn queue_read(&mut self, id: ConnectionId) {
        if let Some(peer) =
            peer(&mut self.peers, id).filter(|peer| peer.is_readable && !peer.is_queued)
        {
            peer.is_queued = true;
            self.unread.push_back(id);
        }
    }

    /// Reads connections of the queue, each once, and at most [`READS_MAX`] of them.
    pub(super) fn read_queued(&mut self) {
        for _ in 0..self.unread.len().min(READS_MAX) {
            let Some(id) = self.unread.pop_front() else {
                return;
            };
            if let Some(peer) = peer(&mut self.peers, id) {
                peer.is_queued = false;
                self.guarded(id, Self::read);
            }
        }
    }

    /// Reads once, unless the connection must wait, and queues it again if the kernel may have more.
    fn read(&mut self, id: ConnectionId) {
        if self.must_wait(id) {
            return;
        }
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        if peer.closing_until_ms.is_some() {
            peer.closing_reads += 1;
        }
        match peer.socket.read(&mut self.scratch) {
            Ok(0) => return self.close(id),
            Ok(bytes) => {
                peer.pinged_ms = None;
                if !peer.is_broken {
                    peer.reader.receive(&self.scratch[..bytes]);
                    self.receive(id);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => peer.is_readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return self.close(id),
        }
        self.queue_read(id);
    }

    /// Handles received messages while the connection may continue.
    pub(super) fn receive(&mut self, id: ConnectionId) {
        while !self.must_wait(id) {
            let Some(peer) = peer(&mut self.peers, id) else {
                return;
            };
            let is_closing = peer.closing_until_ms.is_some();
            let fan_out = &mut self.fan_out;
            let inbound = peer.reader.next(|reply| {
                if !is_closing {
                    fan_out.push_frame(id, reply);
                }
            });
            match inbound {
                Inbound::Empty => return,
                Inbound::Broken(code) => return self.reject(id, code),
                Inbound::Binary(_) => return self.reject(id, CLOSE_UNSUPPORTED_DATA),
                Inbound::Closed if is_closing => return self.close(id),
                _ if is_closing => {}
                Inbound::Closed => return self.finish(id),
                Inbound::Control => {
                    self.count_message(id);
                }
                Inbound::Text(text) => {
                    if self.count_message(id) {
                        self.act(id, |connection, turn| connection.receive(&text, turn));
                    }
                }
            }
        }
    }

    /// Ends a connection that violated the WebSocket protocol. Its further bytes are ignored.
    fn reject(&mut self, id: ConnectionId, code: CloseCode) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_broken = true;
            peer.reader = Reader::default();
        }
        self.end(id, &code.into());
    }

    /// Counts a message. Returns false, and ends the connection, if it exceeds the rate limit.
    fn count_message(&mut self, id: ConnectionId) -> bool {
        let now_s = self.now.ms / 1000;
        let Some(peer) = peer(&mut self.peers, id) else {
            return false;
        };
        match peer.connection.count_message(now_s) {
            Ok(()) => true,
            Err(ending) => {
                self.end(id, &ending);
                false
            }
        }
    }

    /// Closes a connection after the browser's close: the outbox is still written, with the answer to the close at its end.
    fn finish(&mut self, id: ConnectionId) {
        let until_ms = self.now.ms + super::timing::CLOSE_MS_MAX;
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.has_left = true;
            peer.closing_until_ms = Some(until_ms);
        }
        // No publication may follow the answer to the close (RFC 6455 §5.5.1).
        self.fan_out.leave(id);
        self.set_timer(id, until_ms);
    }

    /// Whether requests of a connection must wait: for the reply under way, for its replay, or for room in the kernel buffer.
    /// This bounds what a connection can make the sidecar store, and keeps replies in order.
    pub(super) fn must_wait(&mut self, id: ConnectionId) -> bool {
        let Some(peer) = peer(&mut self.peers, id) else {
            return true;
        };
        if peer.has_left || peer.closing_reads >= CLOSING_READS_MAX {
            return true;
        }
        let has_replay = self.fan_out.outbox(id).is_some_and(Outbox::has_replay);
        // A connection that was told to close is read to the end, because its close is awaited.
        peer.closing_until_ms.is_none()
            && (peer.connection.is_busy() || has_replay || peer.blocked_since_ms.is_some())
    }
}
