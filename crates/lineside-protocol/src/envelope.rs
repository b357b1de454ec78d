//! What a browser receives in `lineside-v1`: JSON envelopes, encoded straight into WebSocket frames.
//!
//! Frames of a server are not masked (RFC 6455 §5.1), so the bytes of a publication are the same for every connection:
//! they are encoded once and shared.

use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::codes::{CloseCode, ErrorCode};
use crate::request::Ref;
use crate::{Cursor, Epoch, Position};

/// Room for the longest head of an unmasked frame: two bytes and a length of eight (RFC 6455 §5.2).
const FRAME_HEAD_BYTES_MAX: usize = 10;

/// First byte of a frame: final fragment, and the opcode of a text, close or ping frame (RFC 6455 §5.2).
const FINAL_TEXT: u8 = 0x81;
const FINAL_CLOSE: u8 = 0x88;
const FINAL_PING: u8 = 0x89;

/// One publication as every subscriber of its channel receives it.
///
/// `payload` is one JSON value, tested by the caller; it is copied in as it is.
#[must_use]
pub fn message(
    channel: &str,
    epoch: &Epoch,
    position: Position,
    payload: &[u8],
    resent: bool,
) -> Bytes {
    // Everything around the payload: 46 bytes of keys, the cursor and the channel with room for a few escapes.
    let around = 96 + epoch.as_str().len() + channel.len() * 2;
    frame(FINAL_TEXT, around + payload.len(), |out| {
        out.extend_from_slice(br#"{"type":"message","channel":"#);
        json(out, &channel);
        out.extend_from_slice(br#","cursor":""#);
        out.extend_from_slice(epoch.as_str().as_bytes());
        out.push(b'.');
        out.extend_from_slice(position.to_string().as_bytes());
        out.extend_from_slice(if resent {
            br#"","resent":true,"data":"#
        } else {
            br#"","data":"#
        });
        out.extend_from_slice(payload);
        out.push(b'}');
    })
}

/// A WebSocket ping without a payload.
#[must_use]
pub fn websocket_ping() -> Bytes {
    Bytes::from_static(&[FINAL_PING, 0])
}

/// A WebSocket close frame with the code's number and name.
#[must_use]
pub fn websocket_close(code: CloseCode) -> Bytes {
    frame(FINAL_CLOSE, 2 + code.name.len(), |out| {
        out.extend_from_slice(&code.number.to_be_bytes());
        out.extend_from_slice(code.name.as_bytes());
    })
}

/// Every envelope but `message`; docs/protocol.md shows each.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Envelope<'a> {
    /// Answers `connect`.
    Welcome(Welcome<'a>),
    /// Ends a replay: what follows is live.
    CaughtUp {
        /// The seam.
        cursor: Cursor,
        /// The one channel that was replayed; absent after the replay of a connect.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
    },
    /// Answers `subscribe`.
    Subscribed {
        /// The channel.
        channel: &'a str,
        /// Never ahead of what was sent: the `after` that was given when a replay follows.
        cursor: Cursor,
        /// Whether everything after the given `after` follows; absent when none was given.
        #[serde(skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Answers `unsubscribe`, or says unasked that a right ended.
    Unsubscribed {
        /// The channel.
        channel: &'a str,
        /// Why, when unasked.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "code_name")]
        code: Option<ErrorCode>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Answers `refresh`.
    Refreshed {
        /// When the new token ends, in seconds since the Unix epoch.
        exp: u64,
        /// Every channel now subscribed.
        channels: Vec<&'a str>,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
    },
    /// Answers a request that cannot be met; the connection lives.
    Error {
        /// What went wrong.
        #[serde(serialize_with = "error_name")]
        code: ErrorCode,
        /// The request's `ref`.
        #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
        reference: Option<&'a Ref>,
        /// The channel it was about.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a str>,
        /// For people.
        message: &'a str,
    },
    /// Keeps an idle connection's cursor up to date.
    Ping {
        /// Everything up to here was sent before this.
        cursor: Cursor,
    },
    /// Announces the close frame that follows.
    Disconnect {
        /// The close code's number.
        code: u16,
        /// The close code's name.
        reason: &'a str,
        /// For people, where there is more to say.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'a str>,
        /// When to come again; absent when coming again is of no use.
        #[serde(skip_serializing_if = "Option::is_none")]
        after_ms: Option<u64>,
    },
}

/// The first envelope of every connection that was let in.
#[derive(Debug, Serialize)]
pub struct Welcome<'a> {
    /// Random; names the connection in the sidecar's logs.
    pub connection: &'a str,
    /// The token's `sub`; null when anonymous.
    pub user: Option<&'a str>,
    /// Every channel now subscribed.
    pub channels: Vec<&'a str>,
    /// What of `subscribe` was refused.
    pub refused: Vec<Refused<'a>>,
    /// Never ahead of what was sent.
    pub cursor: Cursor,
    /// Present when any cursor was given: whether `lost` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// Present when any cursor was given: channels to fetch again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<Vec<&'a str>>,
    /// Seconds between pings.
    pub heartbeat: u64,
    /// What this connection may do.
    pub limits: Limits,
    /// Names of what goes beyond the first `lineside-v1`.
    pub features: &'static [&'static str],
}

/// One refused entry of a connect's `subscribe`.
#[derive(Debug, Serialize)]
pub struct Refused<'a> {
    /// The channel as it was asked for.
    pub channel: &'a str,
    /// Why.
    #[serde(serialize_with = "error_name")]
    pub code: ErrorCode,
}

/// The limits of one connection.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    /// Largest message that the server takes, in bytes.
    pub message_bytes_max: usize,
    /// Channels at one time.
    pub subscriptions_max: usize,
    /// Requests a second, on average over ten seconds.
    pub requests_per_second_max: u32,
}

impl Envelope<'_> {
    /// The envelope as one whole WebSocket text frame.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        frame(FINAL_TEXT, 256, |out| json(out, self))
    }
}

/// One whole WebSocket frame: `first` is its first byte (RFC 6455 §5.2), `capacity` what `body` will write, in bytes, as
/// far as is known.
pub fn frame(first: u8, capacity: usize, body: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    // The body goes behind room for the longest head, then the head right before it.
    let mut out = Vec::with_capacity(FRAME_HEAD_BYTES_MAX + capacity);
    out.resize(FRAME_HEAD_BYTES_MAX, 0);
    body(&mut out);
    let length = out.len() - FRAME_HEAD_BYTES_MAX;
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => head.push(short),
        (_, Ok(medium)) => {
            head.push(126);
            head.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            head.push(127);
            head.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let start = FRAME_HEAD_BYTES_MAX - head.len();
    out[start..FRAME_HEAD_BYTES_MAX].copy_from_slice(&head);
    Bytes::from(out).slice(start..)
}

/// The body of a frame of ours, without its head.
///
/// # Panics
/// When the bytes are no frame.
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

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
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
