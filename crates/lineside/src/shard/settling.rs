//! Wait until every connection has everything that was published before.
//!
//! Each connection is asked once everything is dispatched: its dialect sends a ping that the browser answers behind all that
//! was sent before. A request that arrives before the answer can be replied to behind the ping. Such a connection is asked
//! again.

use std::collections::HashMap;

use lineside_hub::ConnectionId;
use lineside_protocol::Position;
use lineside_protocol::frame::Laggard;

use super::peer::Peer;
use super::{Socket, Worker, peer};
use crate::broker::{Settle, Standing};
use crate::dialects::Connection;

/// Maximum number of connections of a shard that are named. The others are counted.
const LAGGARDS_MAX: usize = 64;

/// Maximum number of channels that are named for a connection.
const CHANNELS_MAX: usize = 8;

/// State of a connection that has not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// It must be asked, as soon as it is connected and no request of it is under way.
    Due,
    /// It was asked, and nothing else has arrived since.
    Sent,
    /// It was asked, and has sent a request since.
    Overtaken,
}

/// A wait under way.
#[derive(Debug)]
pub(super) struct Settling {
    settle: Settle,
    answered: usize,
    waiting: HashMap<ConnectionId, Ask>,
}

impl Settling {
    /// Notes a message of a browser. `applied` is the position up to which it confirms everything, or `None` if the message is
    /// a request. Returns whether it answers the ping.
    fn note(&mut self, id: ConnectionId, applied: Option<Position>) -> bool {
        let Some(ask) = self.waiting.get_mut(&id) else {
            return false;
        };
        let is_answer = applied.is_some_and(|it| it >= self.settle.position);
        match (*ask, applied) {
            (Ask::Sent, None) => *ask = Ask::Overtaken,
            (Ask::Sent, Some(_)) if is_answer => {
                self.waiting.remove(&id);
                self.answered += 1;
            }
            (Ask::Overtaken, Some(_)) if is_answer => *ask = Ask::Due,
            _ => return false,
        }
        is_answer
    }
}

impl<S: Socket> Worker<S> {
    /// Begins to wait for all present connections, and for those that open meanwhile. Everything up to the position must have been
    /// enqueued or be enqueued later.
    pub fn settle(&mut self, settles: impl IntoIterator<Item = Settle>) {
        for settle in settles {
            let open = self.peers.iter().flatten().map(|peer| peer.id);
            let waiting = open.map(|id| (id, Ask::Due)).collect();
            self.settling.push(Settling {
                settle,
                answered: 0,
                waiting,
            });
        }
    }

    /// Makes the waits under way include a new connection.
    pub(super) fn settle_too(&mut self, id: ConnectionId) {
        for settling in &mut self.settling {
            settling.waiting.insert(id, Ask::Due);
        }
    }

    /// Notes a text message. Returns whether it answers a ping of a wait.
    pub(super) fn settles_by_text(&mut self, id: ConnectionId, text: &str) -> bool {
        self.settles_by(id, |connection, turn| {
            connection.applied_by_text(text, turn)
        })
    }

    /// Notes the answer to a WebSocket ping. Returns whether the ping was of a wait.
    pub(super) fn settles_by_pong(&mut self, id: ConnectionId, payload: &[u8]) -> bool {
        // Of a ping without a position, nothing follows.
        self.settles_by(id, |connection, _| {
            Some(connection.applied_by_pong(payload).unwrap_or_default())
        })
    }

    fn settles_by(
        &mut self,
        id: ConnectionId,
        applied: impl FnOnce(&Connection, &crate::dialects::Turn<'_>) -> Option<Position>,
    ) -> bool {
        if self.settling.is_empty() {
            return false;
        }
        let applied = self.act_on(id, |connection, turn| applied(connection, turn));
        let applied = applied.flatten();
        let mut is_answer = false;
        for settling in &mut self.settling {
            is_answer |= settling.note(id, applied);
        }
        is_answer
    }

    /// Asks connections that can be asked, and ends the waits that are over. Drops waits whose process has ended.
    pub(super) fn keep_settling(&mut self) {
        for mut settling in std::mem::take(&mut self.settling) {
            if settling.settle.is_abandoned() {
                continue;
            }
            settling
                .waiting
                .retain(|id, ask| self.keep_asking(*id, ask, settling.settle.position));
            if settling.waiting.is_empty() || settling.settle.until_ms <= self.now.ms {
                let standing = self.standing(&settling);
                settling.settle.answer(standing);
            } else {
                self.settling.push(settling);
            }
        }
    }

    /// Deadline of the next wait, in milliseconds.
    pub(super) fn settling_due_ms(&self) -> Option<u64> {
        self.settling.iter().map(|it| it.settle.until_ms).min()
    }

    /// Asks a connection if that is due and possible. Returns false if it has closed or is about to.
    fn keep_asking(&mut self, id: ConnectionId, ask: &mut Ask, position: Position) -> bool {
        let is_dispatched = self.fan_out.dispatched() >= position;
        let Some(peer) = peer(&mut self.peers, id).filter(|peer| peer.closing_until_ms.is_none())
        else {
            return false;
        };
        let can_ask = peer.connection.is_connected() && !peer.connection.is_busy();
        if *ask == Ask::Due && is_dispatched && can_ask {
            *ask = Ask::Sent;
            self.act(id, |connection, turn| {
                connection.ask(turn);
                Ok(())
            });
        }
        true
    }

    fn standing(&self, settling: &Settling) -> Standing {
        let ids = settling.waiting.keys();
        let mut late: Vec<_> = ids
            .filter_map(|id| self.peers.get(id.slot())?.as_deref())
            .collect();
        // In the order of opening, as far as the clock tells.
        late.sort_unstable_by_key(|peer| (peer.opened_ms, peer.id));
        Standing {
            connections: settling.answered,
            more: late.len().saturating_sub(LAGGARDS_MAX),
            laggards: late
                .into_iter()
                .take(LAGGARDS_MAX)
                .map(|peer| self.laggard(peer))
                .collect(),
        }
    }

    fn laggard(&self, peer: &Peer<S>) -> Laggard {
        let connection = &peer.connection;
        let reason = if !connection.is_connected() {
            "has not sent its connect"
        } else if connection.is_busy() {
            "waits for the reply to a request, for example of a channel that runs in the app"
        } else if peer.blocked_since_ms.is_some() {
            "does not read what it is sent"
        } else {
            "has not answered: its page is busy, stopped or suspended"
        };
        let channels = self.fan_out.subscriptions(peer.id).take(CHANNELS_MAX);
        Laggard {
            connection: connection.name(),
            protocol: connection.protocol().to_owned(),
            user: connection.user().map(str::to_owned),
            address: peer.address.ip().to_string(),
            channels: channels.map(ToString::to_string).collect(),
            reason: reason.to_owned(),
        }
    }
}
