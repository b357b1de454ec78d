//! Envelopes of `lineside-v1` to browsers: JSON, encoded directly into WebSocket frames.
//!
//! Frames from a server are not masked (RFC 6455 §5.1), so each publication is encoded once and its bytes are shared by
//! all connections.

use bytes::{Buf, Bytes};
use serde::{Serialize, Serializer};

use crate::codes::{CloseCode, ErrorCode};
use crate::request::Ref;
use crate::{Cursor, Epoch, Position};

/// Maximum size of the head of an unmasked frame, in bytes: two, and a length of eight (RFC 6455 §5.2).
const FRAME_HEAD_BYTES_MAX: usize = 10;

/// First byte of a text frame: final fragment and opcode (RFC 6455 §5.2).
pub(crate) const FINAL_TEXT: u8 = 0x81;
/// First byte of a close frame.
pub(crate) const FINAL_CLOSE: u8 = 0x88;
/// First byte of a ping frame.
const FINAL_PING: u8 = 0x89;

/// Encodes the `message` envelope of one publication as a WebSocket text frame.
///
/// `payload` must be one valid JSON value. It is copied unchanged.
#[must_use]
pub fn message(
    channel: &str,
    epoch: &Epoch,
    position: Position,
    payload: &[u8],
    resent: bool,
) -> Bytes {
    // Size beside the payload: 46 bytes of keys, the cursor, and the channel with room for a few escapes.
    let around = 96 + epoch.as_str().len() + channel.len() * 2;
    frame(FINAL_TEXT, around + payload.len(), |out| {
        out.extend_from_slice(br#"{"type":"message","channel":"#);
        json(out, &channel);
        out.extend_from_slice(br#","cursor":""#);
        out.extend_from_slice(epoch.as_str().as_bytes());
        out.push(b'.');
        json(out, &position.0);
        out.extend_from_slice(if resent {
            br#"","resent":true,"data":"#
        } else {
            br#"","data":"#
        });
        out.extend_from_slice(payload);
        out.push(b'}');
    })
}

/// Returns the cursor in the frame of a [`message`]. Empty if the frame is no message.
pub(crate) fn cursor(frame: &[u8]) -> &[u8] {
    // As in `payload_start`, the first match is the envelope's own field.
    const KEY: &[u8] = br#","cursor":""#;
    let found = frame.windows(KEY.len()).position(|it| it == KEY);
    let rest = found.map_or(&[][..], |at| &frame[at + KEY.len()..]);
    rest.split(|byte| *byte == b'"').next().unwrap_or_default()
}

/// Returns the payload of an encoded [`message`], as a slice of it. Empty if the frame is no message.
#[must_use]
pub fn payload(frame: &Bytes) -> Bytes {
    // The last byte closes the envelope.
    let end = frame.len().saturating_sub(1);
    frame.slice(payload_start(frame).min(end)..end)
}

/// Returns a WebSocket ping frame without a payload.
#[must_use]
pub fn websocket_ping() -> Bytes {
    Bytes::from_static(&[FINAL_PING, 0])
}

/// Returns a WebSocket ping frame with a payload of at most 125 bytes, which the pong repeats (RFC 6455 §5.5.3).
#[must_use]
pub fn websocket_ping_with(payload: &[u8]) -> Bytes {
    frame(FINAL_PING, payload.len(), |out| {
        out.extend_from_slice(payload);
    })
}

/// Encodes a WebSocket close frame with the code's number and name.
#[must_use]
pub fn websocket_close(code: CloseCode) -> Bytes {
    frame(FINAL_CLOSE, 2 + code.name.len(), |out| {
        out.extend_from_slice(&code.number.to_be_bytes());
        out.extend_from_slice(code.name.as_bytes());
    })
}

/// Envelopes other than `message`. docs/protocol.md shows each.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Envelope<'a> {
    /// Reply to `connect`.
    Welcome(Welcome<'a>),
    /// End of a replay. Live messages follow.
    CaughtUp {
        /// Cursor of the seam between replay and live messages.
        cursor: Cursor,
        /// The replayed channel. Absent after the replay of a connect.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
    },
    /// Reply to `subscribe`.
    Subscribed {
        /// The channel.
        channel: &'a str,
        /// The request's `after` if a replay follows, otherwise the cursor of the subscription.
        cursor: Cursor,
        /// Whether the replay is complete. Absent without `after`.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Reply to `unsubscribe`, or notice of a subscription that the sidecar ended.
    Unsubscribed {
        /// The channel.
        channel: &'a str,
        /// Reason for which the sidecar ended the subscription. Absent in a reply.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "code_name")]
        code: Option<ErrorCode>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Reply to `refresh`.
    Refreshed {
        /// Expiry of the new token, in seconds since the Unix epoch.
        exp: u64,
        /// All subscribed channels.
        channels: Vec<&'a str>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Error reply to a request. The connection stays open.
    Error {
        /// Code of the error.
        #[serde(serialize_with = "error_name")]
        code: ErrorCode,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        /// The channel of the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        /// Explanation for people.
        message: &'a str,
    },
    /// Heartbeat. Updates the cursor of an idle connection.
    Ping {
        /// Every message up to this cursor was sent before the ping.
        cursor: Cursor,
    },
    /// Reason for the close frame that follows.
    Disconnect {
        /// Number of the close code.
        code: u16,
        /// Name of the close code.
        reason: &'a str,
        /// Explanation for people, if there is more to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        /// Delay before the reconnect, in milliseconds. Absent if the client must not reconnect.
        #[serde(skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
}

/// First envelope of every accepted connection.
#[derive(Debug, Serialize)]
pub struct Welcome<'a> {
    /// Random id of the connection, which the sidecar logs.
    pub connection: &'a str,
    /// The token's `sub`, or null for an anonymous connection.
    pub user: Option<&'a str>,
    /// All subscribed channels.
    pub channels: Vec<&'a str>,
    /// Refused entries of `subscribe`.
    pub refused: Vec<Refused<'a>>,
    /// Cursor of the connection: every message up to it was sent.
    pub cursor: Cursor,
    /// Whether `lost` is empty. Present if the client gave any cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Channels whose content the client must fetch again. Present if the client gave any cursor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Vec<&'a str>>,
    /// Seconds between pings.
    pub heartbeat: u64,
    /// Limits of the connection.
    pub limits: Limits,
    /// Names of extensions of `lineside-v1` that the server supports.
    pub features: &'static [&'static str],
}

/// Refused entry of a connect's `subscribe`.
#[derive(Debug, Serialize)]
pub struct Refused<'a> {
    /// The requested channel.
    pub channel: &'a str,
    /// Reason for the refusal.
    #[serde(serialize_with = "error_name")]
    pub code: ErrorCode,
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Maximum size of a message from the client, in bytes.
    pub message_bytes_max: usize,
    /// Maximum number of subscribed channels.
    pub subscriptions_max: usize,
    /// Maximum number of requests per second, averaged over ten seconds.
    pub requests_per_second_max: u32,
}

impl Envelope<'_> {
    /// Encodes the envelope as a WebSocket text frame.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        frame(FINAL_TEXT, 256, |out| json(out, self))
    }
}

/// Encodes a WebSocket frame. `first` is its first byte (RFC 6455 §5.2), `capacity` the expected size of the body, in
/// bytes.
pub fn frame(first: u8, capacity: usize, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    // The body is written after space for the longest head, then the head directly before the body.
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES_MAX + capacity);
    out.resize(FRAME_HEAD_BYTES_MAX, 0);
    body(&mut out);
    let (head, head_bytes) = head(first, out.len() - FRAME_HEAD_BYTES_MAX);
    let start = FRAME_HEAD_BYTES_MAX - head_bytes;
    out[start..FRAME_HEAD_BYTES_MAX].copy_from_slice(&head[..head_bytes]);
    let mut frame = Bytes::from(out);
    frame.advance(start);
    frame
}

/// Head of an unmasked frame whose body has `length` bytes, and its size.
fn head(first: u8, length: usize) -> ([u8; FRAME_HEAD_BYTES_MAX], usize) {
    let mut head = [0; FRAME_HEAD_BYTES_MAX];
    head[0] = first;
    let bytes = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => {
            head[1] = short;
            2
        }
        (_, Ok(medium)) => {
            head[1] = 126;
            head[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            FRAME_HEAD_BYTES_MAX
        }
    };
    (head, bytes)
}

/// Head of a frame whose body has `length` bytes, and the beginning of that body.
pub(crate) fn frame_head(first: u8, length: usize, beginning: &[u8]) -> Bytes {
    let (head, bytes) = head(first, length);
    [&head[..bytes], beginning].concat().into()
}

/// Index of the payload in the frame of a [`message`]. The payload and one brace are the end of the frame.
pub(crate) fn payload_start(frame: &[u8]) -> usize {
    // Quotes in the channel's name are escaped, so the first match is the envelope's own field.
    const KEY: &[u8] = br#","data":"#;
    let found = frame.windows(KEY.len()).position(|it| it == KEY);
    found.map_or(frame.len(), |at| at + KEY.len())
}

/// Returns the body of an encoded frame.
///
/// # Panics
/// Panics if the bytes are not a frame.
#[must_use]
pub fn text(frame: &Bytes) -> Bytes {
    // The second byte is the length, or says how many bytes hold it (RFC 6455 §5.2).
    let head = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    frame.slice(head..)
}

pub(crate) fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(out, value)
        .expect("envelopes have string keys only, and a Vec takes every byte");
}

fn error_name<S: Serializer>(code: &ErrorCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(code.name)
}

fn code_name<S: Serializer>(code: &Option<ErrorCode>, serializer: S) -> Result<S::Ok, S::Error> {
    code.map(|code| code.name).serialize(serializer)
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
