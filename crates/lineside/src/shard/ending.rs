//! End of a connection: the closing frames, the wait for the browser's close, and the reset of slow connections.

use lineside_hub::{ConnectionId, Outbox};
use lineside_protocol::codes::{self, CloseCode};

use super::peer::Peer;
use super::{Socket, Worker, peer, timing};
use crate::dialects::Ending;
use crate::log::{Level, event};

/// Maximum reconnect delay that a browser is told, in milliseconds. The delays are random, to spread reconnects.
const AFTER_MS_MAX: u64 = 5000;

/// Minimum reconnect delay after a revocation, in milliseconds. Until the browser has the answer to its sign-out, its session
/// cookie would still get a fresh token. Few answers take this long.
const REVOKED_AFTER_MS_MIN: u64 = 2000;

/// Codes whose connections are sent nothing more from their outbox.
const ABANDONED: [CloseCode; 3] = [
    codes::CLOSE_TOKEN_EXPIRED,
    codes::CLOSE_TOKEN_REVOKED,
    codes::CLOSE_SLOW,
];

impl<S: Socket> Worker<S> {
    /// Ends a connection: appends the reason to its outbox, and waits a little for the browser's close. A slow, revoked or
    /// expired connection is sent nothing but the reason, and so is one with a replay, which may take longer than the wait.
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
        // A silent browser will not answer the close. Its slot is released once the kernel has the last frames.
        peer.has_left |= ending.code == codes::CLOSE_HEARTBEAT;
        // Nothing may follow the close frame.
        self.fan_out.leave(id);
        // The whole outbox: a ping or `caught_up` without the messages before it would move the page's cursor past them, and
        // the next resume would skip them.
        let has_replay = self.fan_out.outbox(id).is_some_and(Outbox::has_replay);
        if has_replay || ABANDONED.contains(&ending.code) {
            self.fan_out.abandon(id);
        } else {
            self.act_on(id, |connection, turn| connection.note_end(turn));
        }
        self.push_closing_frames(id, ending);
        self.set_timer(id, until_ms);
    }

    /// Closes a connection whose browser did not close in time. A slow one is reset, which drops its kernel buffer.
    pub(super) fn time_out(&mut self, id: ConnectionId) {
        let slow = Some(codes::CLOSE_SLOW);
        if let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.close_code == slow) {
            peer.socket.reset_on_close();
        }
        self.close(id);
    }

    fn push_closing_frames(&mut self, id: ConnectionId, ending: &Ending) {
        let may_reconnect = (4000..4500).contains(&ending.code.number);
        let least_ms = if ending.code == codes::CLOSE_TOKEN_REVOKED {
            REVOKED_AFTER_MS_MIN
        } else {
            0
        };
        let after_ms =
            least_ms + u64::from_ne_bytes(self.plan.random.bytes()) % (AFTER_MS_MAX - least_ms);
        let Some(peer) = peer(&mut self.peers, id) else {
            return;
        };
        let after_ms = may_reconnect.then_some(after_ms);
        for frame in peer.connection.closing_frames(ending, after_ms) {
            self.fan_out.push_frame(id, frame);
        }
    }
}

/// Logs the end of a connection.
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
    event!(
        level,
        "connection_ended",
        reason = ending.code.name,
        connection = name,
        user,
        peer = peer.address,
        message
    );
}
