//! Dialects: the protocols that connections speak. A dialect owns its upgrade and origin rules, its requests and replies, its
//! envelopes, its pings, its time-outs and the way it says why a connection ends.
//!
//! A shard drives a [`Connection`] without knowing its dialect. A new dialect is a module beside [`lineside_v1`], and a
//! variant of [`Opening`] and [`Connection`].

pub mod lineside_v1;

use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::{ConnectionId, FanOut, Resume, Resumed, Revocation, Unencoded, Want};
use lineside_protocol::codes::CloseCode;
use lineside_token::Grant;

use crate::broker::Broker;
use crate::clock::Now;
use crate::head::{Head, HeadError, ServerOrigin};
use crate::keyring::Keyring;
use crate::metrics::ShardCounts;
use crate::settings::Settings;

pub use lineside_v1::MESSAGE_BYTES_MAX;

/// Rules for all connections of a shard.
#[derive(Debug)]
pub struct Rules {
    /// Keys that verify tokens.
    pub keys: Arc<Keyring>,
    /// Channels that need no token.
    pub public_channels: Vec<Grant>,
    /// Time between two pings, in seconds.
    pub heartbeat_seconds: u64,
}

/// Reason for ending a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Code that the browser acts on.
    pub(crate) code: CloseCode,
    /// Details for people.
    pub(crate) message: Option<String>,
}

impl From<CloseCode> for Ending {
    fn from(code: CloseCode) -> Self {
        Self {
            code,
            message: None,
        }
    }
}

/// Resources of a connection while it handles one event.
pub(crate) struct Turn<'a> {
    /// Id of the connection.
    pub(crate) id: ConnectionId,
    /// Fan-out of the connection's shard.
    pub(crate) fan_out: &'a mut FanOut,
    /// Access to the hub.
    pub(crate) broker: &'a Broker,
    /// Rules for all connections.
    pub(crate) rules: &'a Rules,
    /// Time of this turn.
    pub(crate) now: Now,
    /// Counters of the shard.
    pub(crate) counts: &'a ShardCounts,
}

impl Turn<'_> {
    /// Appends a frame to the connection's outbox.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.fan_out.push_frame(self.id, frame);
    }

    /// Subscribes the connection to channels. `None` if the shard must dispatch more first: the shard then completes the
    /// resume later, and calls [`Connection::resumed`].
    pub(crate) fn resume(&mut self, wants: Vec<Want>) -> Option<Resumed> {
        let newest = || self.broker.cursor().position;
        match self.fan_out.resume(self.id, wants, newest) {
            Resume::Waiting => None,
            Resume::Ready(request) => {
                let answer = self.broker.replay(&request);
                Some(self.fan_out.complete(self.id, request, answer))
            }
        }
    }
}

/// Contents of an upgrade request, in the dialect of its path.
#[derive(Debug)]
pub enum Opening {
    /// `lineside-v1`.
    LinesideV1(lineside_v1::Opening),
}

impl Opening {
    /// Checks a WebSocket request on the dialect's path, and reads what it asks for.
    ///
    /// # Errors
    /// The HTTP status and reason if the dialect's rules refuse the request.
    pub fn of_request(
        head: &Head,
        server: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Self, HeadError> {
        lineside_v1::Opening::of_request(head, server, settings).map(Self::LinesideV1)
    }

    /// Name of the WebSocket subprotocol.
    pub(crate) fn subprotocol(&self) -> &'static str {
        match self {
            Self::LinesideV1(_) => lineside_v1::SUBPROTOCOL,
        }
    }
}

/// Protocol state of one connection.
#[derive(Debug)]
pub(crate) enum Connection {
    LinesideV1(lineside_v1::Connection),
}

impl Connection {
    /// Creates a connection. `name` is random, and names it in logs and replies.
    pub(crate) fn new(opening: Opening, name: [u8; 8]) -> Self {
        match opening {
            Opening::LinesideV1(opening) => {
                Self::LinesideV1(lineside_v1::Connection::new(opening, name))
            }
        }
    }

    /// Handles what the upgrade request asked for.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.begin(turn),
        }
    }

    /// Handles a text message.
    pub(crate) fn receive(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.receive(text, turn),
        }
    }

    /// Counts a message against the rate limit. `now_s` is monotonic, in seconds.
    pub(crate) fn count_message(&mut self, now_s: u64) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.count_message(now_s),
        }
    }

    /// Completes a resume that had to wait.
    pub(crate) fn resumed(&mut self, resumed: Resumed, turn: &mut Turn<'_>) {
        match self {
            Self::LinesideV1(connection) => connection.resumed(resumed, turn),
        }
    }

    /// Ends rights that have expired. An error ends the connection.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.expire(turn),
        }
    }

    /// Ends rights that a revocation covers. An error ends the connection.
    pub(crate) fn revoke(
        &mut self,
        revocation: &Revocation,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.revoke(revocation, turn),
        }
    }

    /// Sends a ping.
    pub(crate) fn ping(&self, turn: &mut Turn<'_>) {
        match self {
            Self::LinesideV1(connection) => connection.ping(turn),
        }
    }

    /// Frames that tell the browser why the connection ends; the last one is a close frame. `after_ms` is the delay before
    /// the browser may reconnect, if it may.
    pub(crate) fn closing_frames(&self, ending: &Ending, after_ms: Option<u64>) -> [Bytes; 2] {
        match self {
            Self::LinesideV1(_) => lineside_v1::closing_frames(ending, after_ms),
        }
    }

    /// Deadline for the connect, in milliseconds.
    pub(crate) fn connect_ms_max(&self) -> u64 {
        match self {
            Self::LinesideV1(_) => lineside_v1::CONNECT_MS_MAX,
        }
    }

    /// Time between two pings, in milliseconds.
    pub(crate) fn ping_interval_ms(&self, rules: &Rules) -> u64 {
        match self {
            Self::LinesideV1(_) => rules.heartbeat_seconds * 1000,
        }
    }

    /// Maximum silence after a ping, in milliseconds.
    pub(crate) fn silence_ms_max(&self) -> u64 {
        match self {
            Self::LinesideV1(_) => lineside_v1::SILENCE_MS_MAX,
        }
    }

    /// Whether the connect has succeeded.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::LinesideV1(connection) => connection.is_connected(),
        }
    }

    /// Whether requests must wait for the reply that is under way.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::LinesideV1(connection) => connection.is_busy(),
        }
    }

    /// Name in logs and replies.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::LinesideV1(connection) => connection.name(),
        }
    }

    /// The connected user. `None` before the connect, and for an anonymous connection.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::LinesideV1(connection) => connection.user(),
        }
    }

    /// Time until the next [`expire`](Self::expire), in milliseconds.
    pub(crate) fn expires_in_ms(&self, now: Now) -> Option<u64> {
        match self {
            Self::LinesideV1(connection) => connection.expires_in_ms(now),
        }
    }
}

/// Encodes the body of a publication, which every dialect in use shares.
#[must_use]
pub fn encode(publication: &Unencoded<'_>) -> Bytes {
    lineside_v1::encode(publication)
}

#[cfg(test)]
mod tests;
