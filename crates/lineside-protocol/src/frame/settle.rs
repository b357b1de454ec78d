//! Frames with which a test waits until every connected page has received everything. They use their own link, without
//! publishing.

use serde::{Deserialize, Serialize};

use super::app::{body, json};
use super::{Fault, Frame, FrameError, ToPublisher};

/// Kind of [`SettleRequest`], the first frame of the link.
pub const SETTLE: u8 = 19;

const SETTLED: u8 = 149;

/// Request to wait until every connection has everything that was published before. The body is a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleRequest {
    /// Maximum wait, in milliseconds.
    pub timeout_ms: u64,
}

/// Answer to a [`SettleRequest`]. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Cursor of the newest entry at the request.
    pub cursor: String,
    /// Number of connections that have everything up to the cursor.
    pub connections: usize,
    /// Connections that had not answered at the end of the wait. Empty if all have.
    pub laggards: Vec<Laggard>,
    /// Number of further laggards.
    pub more: usize,
}

/// A connection that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Laggard {
    /// Name of the connection, as in the log.
    pub connection: String,
    /// Its WebSocket subprotocol.
    pub protocol: String,
    /// Its user. `None` if it is anonymous or not connected yet.
    pub user: Option<String>,
    /// IP address of the browser.
    pub address: String,
    /// Some of its channels, in the order of subscribing.
    pub channels: Vec<String>,
    /// Reason, for people.
    pub reason: String,
}

/// Frame that answers a [`SettleRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettleReply {
    /// The answer.
    Settled(Settled),
    /// Reason for which there is no answer.
    Fault(Fault),
}

impl SettleRequest {
    /// Decodes the first frame of the link.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind != SETTLE {
            return Err(FrameError::UnknownKind(frame.kind));
        }
        body(frame, "SettleRequest")
    }

    /// Appends the frame to `out`.
    pub fn encode(self, out: &mut Vec<u8>) {
        json(out, SETTLE, &self);
    }
}

impl SettleReply {
    /// Decodes a frame from the sidecar.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind == SETTLED {
            return body(frame, "Settled").map(Self::Settled);
        }
        match ToPublisher::decode(frame)? {
            ToPublisher::Fault(fault) => Ok(Self::Fault(fault)),
            _ => Err(FrameError::UnknownKind(frame.kind)),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Settled(settled) => json(out, SETTLED, settled),
            Self::Fault(fault) => ToPublisher::Fault(fault.clone()).encode(out),
        }
    }
}

#[cfg(test)]
mod tests;
