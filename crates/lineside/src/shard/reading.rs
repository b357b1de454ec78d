//! From the kernel's bytes to a connection's words.

use std::io::ErrorKind;

use lineside_hub::{ConnectionId, Outbox};
use lineside_protocol::codes::{CLOSE_UNSUPPORTED_DATA, CloseCode};

use super::{Socket, Worker, peer};
use crate::shard::websocket::{Inbound, Reader};

/// What one read takes from a socket, in bytes: browsers send little.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// Reads of one connection in one turn, so that one that sends much does not hold up the others.
const READS_MAX: usize = 4;

impl<S: Socket> Worker<S> {
    /// Reads what came.
    pub(super) fn note_readable(&mut self, id: ConnectionId) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_readable = true;
            self.read(id);
        }
    }

    /// Reads until the kernel has nothing, the connection must wait, or its share of this turn is spent.
    pub(super) fn read(&mut self, id: ConnectionId) {
        for _ in 0..READS_MAX {
            if self.must_wait(id) {
                return;
            }
            let Some(peer) = peer(&mut self.peers, id) else {
                return;
            };
            if !peer.is_readable {
                return;
            }
            match peer.socket.read(&mut self.scratch) {
                Ok(0) => return self.close(id),
                Ok(bytes) => {
                    peer.pinged_ms = None;
                    if !peer.is_broken {
                        peer.reader.receive(&self.scratch[..bytes]);
                        self.listen(id);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => peer.is_readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(id),
            }
        }
        self.unread.push(id);
    }

    /// Hears every message that was received, as long as the connection may go on.
    pub(super) fn listen(&mut self, id: ConnectionId) {
        while !self.must_wait(id) {
            let Some(peer) = peer(&mut self.peers, id) else {
                return;
            };
            let is_closing = peer.closing_until_ms.is_some();
            let shard = &mut self.shard;
            let inbound = peer.reader.next(|reply| {
                if !is_closing {
                    shard.push_frame(id, reply);
                }
            });
            match inbound {
                Inbound::Empty => return,
                Inbound::Broken(code) => return self.give_up(id, code),
                Inbound::Binary(_) => return self.give_up(id, CLOSE_UNSUPPORTED_DATA),
                Inbound::Closed if is_closing => return self.close(id),
                _ if is_closing => {}
                Inbound::Closed => return self.see_off(id),
                Inbound::Control => {
                    self.count_request(id);
                }
                Inbound::Text(text) => {
                    if self.count_request(id) {
                        self.act(id, |connection, turn| connection.hear(&text, turn));
                    }
                }
            }
        }
    }

    /// Ends a connection whose further bytes mean nothing.
    fn give_up(&mut self, id: ConnectionId, code: CloseCode) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_broken = true;
            peer.reader = Reader::default();
        }
        self.end(id, &code.into());
    }

    /// Counts a message; false when it was one too many, and the connection ends.
    fn count_request(&mut self, id: ConnectionId) -> bool {
        let now_s = self.now.ms / 1000;
        let Some(peer) = peer(&mut self.peers, id) else {
            return false;
        };
        match peer.connection.count_request(now_s) {
            Ok(()) => true,
            Err(ending) => {
                self.end(id, &ending);
                false
            }
        }
    }

    /// The browser closed: what is in the outbox, its answer last, is still written.
    fn see_off(&mut self, id: ConnectionId) {
        let until_ms = self.now.ms + super::timing::CLOSE_MS_MAX;
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.has_left = true;
            peer.closing_until_ms = Some(until_ms);
        }
        self.look_again(id, until_ms);
    }

    /// Whether the connection's next words must wait: for an answer that is under way, or until it has read what it was
    /// sent. So what it can make us keep is bounded, and everything is answered in order.
    pub(super) fn must_wait(&mut self, id: ConnectionId) -> bool {
        let Some(peer) = peer(&mut self.peers, id) else {
            return true;
        };
        if peer.has_left {
            return true;
        }
        let owed = self.shard.outbox(id).is_some_and(Outbox::has_replay);
        // One that is told to go is heard to the end: its close is awaited.
        peer.closing_until_ms.is_none()
            && (peer.connection.is_busy() || owed || peer.blocked_since_ms.is_some())
    }
}
