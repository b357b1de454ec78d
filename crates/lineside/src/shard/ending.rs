//! How a connection ends: told why, given up, or simply let go.

use lineside_hub::ConnectionId;
use lineside_protocol::codes::{self, CloseCode};
use lineside_protocol::envelope::{Envelope, websocket_close};

use super::peer::Peer;
use super::{Socket, Worker, peer, timing};
use crate::log::{Level, event};
use crate::shard::connection::Ending;

/// Most that a browser is told to wait before it comes again, in milliseconds. Each is told another time, so that they
/// do not all come back at once.
const AFTER_MS_MAX: u64 = 5000;

/// Least that one is told who was signed out. The browser's session holds until the answer to the sign-out has reached it,
/// and would get a fresh token for whoever has just left; few answers take as long as this.
const REVOKED_AFTER_MS_MIN: u64 = 2000;

/// Endings behind which nothing of the outbox is sent.
const ABANDONED: [CloseCode; 3] = [
    codes::CLOSE_TOKEN_EXPIRED,
    codes::CLOSE_TOKEN_REVOKED,
    codes::CLOSE_SLOW,
];

impl<S: Socket> Worker<S> {
    /// Tells a browser why it must go, behind all that it is yet to be sent, and waits a little for its answer. One that is
    /// slow, signed out or expired is sent nothing but that.
    pub(super) fn end(&mut self, id: ConnectionId, ending: &Ending) {
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        if peer.closing_until_ms.is_some() {
            return;
        }
        log(peer, ending);
        let until_ms = self.now.ms + timing::CLOSE_MS_MAX;
        peer.closing_until_ms = Some(until_ms);
        peer.close_code = Some(ending.code);
        // Who has not answered for so long answers no close either: its place is free once the kernel has the last frames.
        peer.has_left |= ending.code == codes::CLOSE_HEARTBEAT;
        // Nothing may follow the close frame.
        self.shard.leave(id);
        // Whole, with every cursor in it: a ping or a `caught_up` that outlived the messages before it would take the
        // page's cursor past them, and its resume would leave them out.
        if ABANDONED.contains(&ending.code) {
            self.shard.abandon(id);
        }
        self.push_goodbye(id, ending);
        self.look_again(id, until_ms);
    }

    /// Ends a connection whose time to close is over. What a slow one was sent and never read goes with it.
    pub(super) fn time_out(&mut self, id: ConnectionId) {
        let slow = Some(codes::CLOSE_SLOW);
        if let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.close_code == slow) {
            peer.socket.reset_on_close();
        }
        self.close(id);
    }

    fn push_goodbye(&mut self, id: ConnectionId, ending: &Ending) {
        let CloseCode { number, name, .. } = ending.code;
        let comes_again = (4000..4500).contains(&number);
        let least_ms = if ending.code == codes::CLOSE_TOKEN_REVOKED {
            REVOKED_AFTER_MS_MIN
        } else {
            0
        };
        let after_ms =
            least_ms + u64::from_ne_bytes(self.plan.random.bytes()) % (AFTER_MS_MAX - least_ms);
        let goodbye = Envelope::Disconnect {
            code: number,
            reason: name,
            message: ending.message.as_deref(),
            after_ms: comes_again.then_some(after_ms),
        };
        self.shard.push_frame(id, goodbye.frame());
        self.shard.push_frame(id, websocket_close(ending.code));
    }
}

/// One line for the operator: who went, and why.
fn log<S>(peer: &Peer<S>, ending: &Ending) {
    let is_fault_of_the_client = !(4000..4500).contains(&ending.code.number);
    let level = if is_fault_of_the_client {
        Level::Warn
    } else {
        Level::Info
    };
    let name = peer.connection.name();
    let user = peer.connection.user().unwrap_or_default();
    let message = ending.message.as_deref().unwrap_or_default();
    event(
        level,
        "connection_ended",
        &[
            ("reason", &ending.code.name),
            ("connection", &name),
            ("user", &user),
            ("peer", &peer.address),
            ("message", &message),
        ],
    );
}
