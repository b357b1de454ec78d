//! Reading: from received bytes to messages for the dialect.

use std::io::ErrorKind;

use lineside_hub::{ConnectionId, Outbox};
use lineside_protocol::codes::{CLOSE_UNSUPPORTED_DATA, CloseCode};

use super::websocket::{Inbound, Reader};
use super::{Socket, Worker, peer};

/// Size of one read, in bytes. Browsers send little.
pub(super) const READ_BYTES: usize = 4 * 1024;

/// Maximum number of reads per turn, one per connection.
pub(super) const READS_MAX: usize = 256;

/// Cost of the requests in one turn, in bytes, beyond which requests wait for the next turn: about two connects of 256
/// channels. The last request may exceed it.
pub(super) const COST_BYTES_MAX: usize = 128 * 1024;

/// The same while more connections wait for a write than one turn makes: about 30 connects of one channel, which take as long
/// as the turn's writes. Otherwise a storm of reconnects would delay publications to others.
pub(super) const COST_BYTES_BESIDE_WRITES: usize = 16 * 1024;

/// Cost of a message beside its text, in bytes.
const MESSAGE_COST_BYTES: usize = 16;

/// Cost of a channel that is resumed, in bytes: its subscription, its replay and its part of the reply.
pub(super) const CHANNEL_COST_BYTES: usize = 256;

/// Maximum number of reads of a connection that was told to close: enough for a message of maximum size that the browser has
/// begun. If the browser's close comes later, it is not read, and the connection is closed at its deadline.
pub(super) const CLOSING_READS_MAX: u8 = 64;

/// Close code of a browser that leaves the page (RFC 6455 §7.4.1).
const GOING_AWAY: u16 = 1001;

/// Cost of the requests of one turn.
#[derive(Debug, Default)]
pub(super) struct Cost {
    message_bytes: usize,
    bytes_max: usize,
    /// Number of resumed channels before the turn.
    resumed_before: u64,
}

impl Cost {
    /// Starts a turn. `resumed_before` is the number of resumed channels so far. `writes_wait`: whether the last turn left
    /// writes other than replays.
    pub(super) fn begin(resumed_before: u64, writes_wait: bool) -> Self {
        Self {
            message_bytes: 0,
            bytes_max: if writes_wait {
                COST_BYTES_BESIDE_WRITES
            } else {
                COST_BYTES_MAX
            },
            resumed_before,
        }
    }
}

impl<S: Socket> Worker<S> {
    /// Marks a connection as readable, and queues it for a read.
    pub(super) fn note_readable(&mut self, id: ConnectionId) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_readable = true;
            self.queue_read(id);
        }
    }

    /// Queues a connection for a read, once. A connection that sends without a pause is read as often as any other.
    pub(super) fn queue_read(&mut self, id: ConnectionId) {
        if let Some(peer) = peer(&mut self.peers, id).filter(|peer| !peer.is_queued) {
            peer.is_queued = true;
            self.unread.push_back(id);
        }
    }

    /// Whether requests may cost more in this turn. Otherwise they wait, so that publications, writes and timers do not.
    pub(super) fn has_room_for_requests(&self) -> bool {
        let channels = self.fan_out.resumed_count() - self.cost.resumed_before;
        let channels = usize::try_from(channels).unwrap_or(usize::MAX);
        let bytes = channels.saturating_mul(CHANNEL_COST_BYTES);
        self.cost.message_bytes.saturating_add(bytes) < self.cost.bytes_max
    }

    /// Reads connections of the queue, each once and in its order, until the turn has no room for more.
    pub(super) fn read_queued(&mut self) {
        for _ in 0..self.unread.len().min(READS_MAX) {
            if !self.has_room_for_requests() {
                return;
            }
            let Some(id) = self.unread.pop_front() else {
                return;
            };
            if let Some(peer) = peer(&mut self.peers, id) {
                peer.is_queued = false;
                self.guarded(id, Self::read);
            }
        }
    }

    /// Handles requests that waited, and reads once, unless the connection must wait. Queues it again if the kernel may have
    /// more.
    fn read(&mut self, id: ConnectionId) {
        self.receive(id);
        if self.must_wait(id) {
            return;
        }
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.is_readable) else {
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
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                peer.is_readable = false;
                return;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return self.close(id),
        }
        self.queue_read(id);
    }

    /// Handles received messages while the connection may continue.
    pub(super) fn receive(&mut self, id: ConnectionId) {
        self.receive_messages(id);
        self.note_message(id);
    }

    fn receive_messages(&mut self, id: ConnectionId) {
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
            self.cost.message_bytes += MESSAGE_COST_BYTES;
            match inbound {
                Inbound::Empty => return,
                Inbound::Broken(code) => return self.reject(id, code),
                Inbound::Binary(_) => return self.reject(id, CLOSE_UNSUPPORTED_DATA),
                Inbound::Closed(_) if is_closing => {
                    // The browser answers the close after it has read everything before.
                    self.act_on(id, |connection, _| connection.confirm_close());
                    return self.close(id);
                }
                _ if is_closing => {}
                Inbound::Closed(code) => {
                    if code == Some(GOING_AWAY) {
                        self.act_on(id, |connection, turn| connection.leave_page(turn));
                    }
                    return self.finish(id);
                }
                Inbound::Ping => {
                    self.count_message(id);
                }
                Inbound::Pong(payload) => {
                    if self.settles_by_pong(id, &payload) || self.count_message(id) {
                        self.act_on(id, |connection, _| connection.pong(&payload));
                    }
                }
                Inbound::Text(text) => {
                    self.cost.message_bytes += text.len();
                    if self.settles_by_text(id, &text) || self.count_message(id) {
                        self.act(id, |connection, turn| connection.receive(&text, turn));
                    }
                }
            }
        }
    }

    /// Ends a connection whose bytes are not read any further: they violate the WebSocket protocol, or memory is short.
    pub(super) fn reject(&mut self, id: ConnectionId, code: CloseCode) {
        if let Some(peer) = peer(&mut self.peers, id) {
            peer.is_broken = true;
            peer.reader = Reader::default();
        }
        self.forget_message(id);
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
