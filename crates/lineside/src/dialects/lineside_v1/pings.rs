//! Pings: heartbeats, and those that ask whether a page has applied everything.

use lineside_protocol::Position;
use lineside_protocol::envelope::{Envelope, websocket_ping, websocket_ping_with};
use lineside_protocol::request::Request;

use super::{Connection, send};
use crate::dialects::Turn;

impl Connection {
    pub(in crate::dialects) fn ping(&self, turn: &mut Turn<'_>) {
        turn.push(websocket_ping());
        // While a resume is under way, the cursor would be ahead of what was sent.
        if self.is_connected() && !self.is_busy() {
            let cursor = turn.fan_out.cursor_at(turn.fan_out.dispatched());
            send(turn, &Envelope::Ping { cursor });
        }
    }

    /// Sends a ping alone, whose answer the page sends. A plain client need not know pings, so its browser is asked.
    pub(in crate::dialects) fn ask(&self, turn: &mut Turn<'_>) {
        let position = turn.fan_out.dispatched();
        if self.is_plain {
            turn.push(websocket_ping_with(&position.0.to_be_bytes()));
        } else {
            let cursor = turn.fan_out.cursor_at(position);
            send(turn, &Envelope::Ping { cursor });
        }
    }
}

/// Position that a pong confirms. A pong without a cursor of this epoch confirms nothing. `None` for any other message.
pub(in crate::dialects) fn applied_by_text(text: &str, turn: &Turn<'_>) -> Option<Position> {
    let Ok(Request::Pong { cursor }) = Request::parse(text) else {
        return None;
    };
    let cursor = cursor.filter(|it| turn.fan_out.cursor_at(it.position) == *it);
    Some(cursor.map_or(Position::default(), |it| it.position))
}
