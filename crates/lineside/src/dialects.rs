//! Dialects: the protocols that connections speak. A dialect owns its upgrade and origin rules, its requests and replies, its
//! envelopes, its pings, its time-outs and the way it says why a connection ends.
//!
//! A shard drives a [`Connection`] without knowing its dialect. A new dialect is a module beside [`lineside_v1`], and a
//! variant of [`Opening`] and [`Connection`].

pub mod action_cable;
mod allowance;
pub mod lineside_v1;
mod page;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::{
    ConnectionId, FanOut, Publication, Resume, Resumed, Revocation, Unencoded, Want,
};
use lineside_protocol::Position;
use lineside_protocol::codes::CloseCode;
use lineside_token::{Grant, LEEWAY_MS};

use crate::broker::Broker;
use crate::broker::runners::RunnerEvent;
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
    /// Number of the connection's shard.
    pub(crate) shard: usize,
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
    /// `actioncable-v1-json`.
    ActionCable(Box<action_cable::Opening>),
}

impl Opening {
    /// Checks a WebSocket request, and reads what it asks for in the dialect of its path.
    ///
    /// # Errors
    /// The HTTP status and reason if the dialect's rules refuse the request.
    pub fn of_request(
        head: &Head,
        server: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Self, HeadError> {
        if settings.is_cable(head.request.uri().path()) {
            let opening = action_cable::Opening::of_request(head, server, settings)?;
            return Ok(Self::ActionCable(Box::new(opening)));
        }
        lineside_v1::Opening::of_request(head, server, settings).map(Self::LinesideV1)
    }

    /// Reads what the app decided about a connection of Action Cable.
    ///
    /// # Errors
    /// The reason if it cannot be read.
    pub fn of_app(json: &[u8]) -> Result<Self, String> {
        action_cable::Opening::parse(json).map(|it| Self::ActionCable(Box::new(it)))
    }

    /// Adds the identities from cookies to what the app decided about a connection of Action Cable.
    pub(crate) fn add_identities(&mut self, head: &Head) {
        if let Self::ActionCable(opening) = self {
            opening.identities = page::identities(head);
        }
    }

    /// Name of the WebSocket subprotocol.
    pub(crate) fn subprotocol(&self) -> &'static str {
        match self {
            Self::LinesideV1(_) => lineside_v1::SUBPROTOCOL,
            Self::ActionCable(_) => action_cable::SUBPROTOCOL,
        }
    }

    /// Whether each publication has a head for each of the connection's subscriptions.
    pub(crate) fn is_framed(&self) -> bool {
        match self {
            Self::LinesideV1(_) => false,
            Self::ActionCable(_) => true,
        }
    }
}

/// Protocol state of one connection.
#[derive(Debug)]
pub(crate) enum Connection {
    LinesideV1(lineside_v1::Connection),
    ActionCable(Box<action_cable::Connection>),
}

impl Connection {
    /// Creates a connection. `name` is random, and names it in logs and replies.
    pub(crate) fn new(opening: Opening, name: [u8; 8]) -> Self {
        match opening {
            Opening::LinesideV1(opening) => {
                Self::LinesideV1(lineside_v1::Connection::new(opening, name))
            }
            Opening::ActionCable(opening) => {
                Self::ActionCable(Box::new(action_cable::Connection::new(*opening, name)))
            }
        }
    }

    /// Handles what the upgrade request asked for.
    pub(crate) fn begin(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.begin(turn),
            Self::ActionCable(connection) => connection.begin(turn),
        }
    }

    /// Handles a text message.
    pub(crate) fn receive(&mut self, text: &str, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.receive(text, turn),
            Self::ActionCable(connection) => connection.receive(text, turn),
        }
    }

    /// Counts a message against the rate limit. `now_s` is monotonic, in seconds.
    pub(crate) fn count_message(&mut self, now_s: u64) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.count_message(now_s),
            Self::ActionCable(connection) => connection.count_message(now_s),
        }
    }

    /// Completes a resume that had to wait.
    pub(crate) fn resumed(&mut self, resumed: Resumed, turn: &mut Turn<'_>) {
        match self {
            Self::LinesideV1(connection) => connection.resumed(resumed, turn),
            Self::ActionCable(connection) => connection.resumed(resumed, turn),
        }
    }

    /// Ends rights that have expired. An error ends the connection.
    pub(crate) fn expire(&mut self, turn: &mut Turn<'_>) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(connection) => connection.expire(turn),
            Self::ActionCable(connection) => connection.expire(turn),
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
            Self::ActionCable(connection) => connection.revoke(revocation, turn),
        }
    }

    /// Appends the latest dispatched publication to the outbox of a framed connection, with the head of each subscription. An
    /// error ends the connection.
    pub(crate) fn publish(
        &mut self,
        publication: &Arc<Publication>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        match self {
            Self::LinesideV1(_) => Ok(()),
            Self::ActionCable(connection) => connection.publish(publication, turn),
        }
    }

    /// Handles an event of a process that runs channel classes. An error ends the connection.
    pub(crate) fn runner_event(
        &mut self,
        event: RunnerEvent,
        turn: &mut Turn<'_>,
    ) -> Result<(), Ending> {
        let Self::ActionCable(connection) = self else {
            return Ok(());
        };
        match event {
            RunnerEvent::Opened => connection.runner_opened(turn),
            RunnerEvent::Closed { runner, is_clean } => {
                connection.runner_closed(runner, is_clean, turn);
            }
            RunnerEvent::Sent { runner, report, .. } => {
                return connection.report(runner, report, turn);
            }
        }
        Ok(())
    }

    /// Handles the answer to a ping.
    pub(crate) fn pong(&mut self, payload: &[u8]) {
        if let Self::ActionCable(connection) = self {
            connection.pong(payload);
        }
    }

    /// Notes that everything up to now is sent before the connection ends.
    pub(crate) fn note_end(&mut self, turn: &Turn<'_>) {
        if let Self::ActionCable(connection) = self {
            connection.note_end(turn);
        }
    }

    /// Notes that the browser has received everything before the end.
    pub(crate) fn confirm_close(&mut self) {
        if let Self::ActionCable(connection) = self {
            connection.confirm_close();
        }
    }

    /// Handles the browser's close for a page that it leaves.
    pub(crate) fn leave_page(&mut self, turn: &Turn<'_>) {
        if let Self::ActionCable(connection) = self {
            connection.leave_page(turn);
        }
    }

    /// Handles the end of the connection.
    pub(crate) fn closed(&mut self, turn: &Turn<'_>) {
        if let Self::ActionCable(connection) = self {
            connection.closed(turn);
        }
    }

    /// Sends a ping. `can_answer` says whether the browser's answer would be read. Returns whether an answer must follow.
    pub(crate) fn ping(&mut self, can_answer: bool, turn: &mut Turn<'_>) -> bool {
        match self {
            Self::LinesideV1(connection) => {
                if can_answer {
                    connection.ping(turn);
                }
                can_answer
            }
            Self::ActionCable(connection) => connection.ping(can_answer, turn),
        }
    }

    /// Asks the browser to confirm that it has everything that was sent before: by an answer in the dialect if it has one, or by
    /// the answer to a WebSocket ping.
    pub(crate) fn ask(&mut self, turn: &mut Turn<'_>) {
        match self {
            Self::LinesideV1(connection) => connection.ask(turn),
            Self::ActionCable(connection) => connection.ask(turn),
        }
    }

    /// Position up to which a text message confirms everything. `None` if it is a request.
    pub(crate) fn applied_by_text(&self, text: &str, turn: &Turn<'_>) -> Option<Position> {
        match self {
            Self::LinesideV1(_) => lineside_v1::applied_by_text(text, turn),
            Self::ActionCable(_) => None,
        }
    }

    /// Position up to which the answer to a WebSocket ping confirms everything. `None` if the ping had no position.
    pub(crate) fn applied_by_pong(&self, payload: &[u8]) -> Option<Position> {
        let position = payload.first_chunk()?;
        Some(Position(u64::from_be_bytes(*position)))
    }

    /// Frames that tell the browser why the connection ends; the last one is a close frame. `after_ms` is the delay before
    /// the browser may reconnect, if it may.
    pub(crate) fn closing_frames(&self, ending: &Ending, after_ms: Option<u64>) -> [Bytes; 2] {
        match self {
            Self::LinesideV1(_) => lineside_v1::closing_frames(ending, after_ms),
            Self::ActionCable(connection) => connection.closing_frames(ending),
        }
    }

    /// Deadline for the connect, in milliseconds.
    pub(crate) fn connect_ms_max(&self) -> u64 {
        match self {
            Self::LinesideV1(_) => lineside_v1::CONNECT_MS_MAX,
            // The request itself is the connect.
            Self::ActionCable(_) => 0,
        }
    }

    /// Time between two pings, in milliseconds.
    pub(crate) fn ping_interval_ms(&self, rules: &Rules) -> u64 {
        match self {
            Self::LinesideV1(_) => rules.heartbeat_seconds * 1000,
            Self::ActionCable(_) => action_cable::PING_MS,
        }
    }

    /// Maximum silence after a ping, in milliseconds.
    pub(crate) fn silence_ms_max(&self) -> u64 {
        match self {
            Self::LinesideV1(_) => lineside_v1::SILENCE_MS_MAX,
            Self::ActionCable(_) => action_cable::SILENCE_MS_MAX,
        }
    }

    /// Whether the connect has succeeded.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::LinesideV1(connection) => connection.is_connected(),
            Self::ActionCable(connection) => connection.is_connected(),
        }
    }

    /// Whether requests must wait for the reply that is under way.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            Self::LinesideV1(connection) => connection.is_busy(),
            Self::ActionCable(connection) => connection.is_busy(),
        }
    }

    /// Name of the WebSocket subprotocol.
    pub(crate) fn protocol(&self) -> &'static str {
        match self {
            Self::LinesideV1(_) => lineside_v1::SUBPROTOCOL,
            Self::ActionCable(_) => action_cable::SUBPROTOCOL,
        }
    }

    /// Name in logs and replies.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::LinesideV1(connection) => connection.name(),
            Self::ActionCable(connection) => connection.name(),
        }
    }

    /// The connected user. `None` before the connect, and for an anonymous connection.
    pub(crate) fn user(&self) -> Option<&str> {
        match self {
            Self::LinesideV1(connection) => connection.user(),
            Self::ActionCable(connection) => connection.user(),
        }
    }

    /// Time until the next [`expire`](Self::expire), in milliseconds.
    pub(crate) fn expires_in_ms(&self, now: Now) -> Option<u64> {
        match self {
            Self::LinesideV1(connection) => connection.expires_in_ms(now),
            Self::ActionCable(connection) => connection.expires_in_ms(now),
        }
    }
}

/// Issue time of an accepted token. A token from the future was issued before the wall clock was set back, and so is older
/// than any revocation that arrives now.
pub(crate) fn issue_time_ms(iat_ms: u64, wall_ms: u64) -> u64 {
    if iat_ms > wall_ms.saturating_add(LEEWAY_MS) {
        0
    } else {
        iat_ms
    }
}

/// Encodes the body of a publication, which every dialect in use shares.
#[must_use]
pub fn encode(publication: &Unencoded<'_>) -> Bytes {
    lineside_v1::encode(publication)
}

#[cfg(test)]
mod tests;
