//! Frames of an app link, on which a process of the app receives publications. It is a link of its own, without publishing.
//!
//! Both ends ignore unknown fields of the JSON bodies.

use std::fmt;

use bytes::{Buf, BufMut, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::runner::{
    COMMAND, Command, DONE, Done, LEFT, Left, STOP_STREAM, STREAM, StopStream, Stream, TRANSMIT,
    Transmit,
};
use super::{Fault, Frame, FrameError, ToPublisher, bounded, encode};

/// Kind of [`AppHello`], the first frame of the link.
pub const APP_HELLO: u8 = 48;

const FOLLOW: u8 = 49;
const UNFOLLOW: u8 = 50;
const APP_WELCOME: u8 = 176;
const FOLLOWED: u8 = 177;
const PUBLISHED: u8 = 178;
const REACHED: u8 = 179;

/// Version of the app link's protocol.
pub const APP_LINK_VERSION: u32 = 1;

/// Maximum number of streams that one app link follows. A process with 20,000 connections of three streams each needs fewer.
pub const FOLLOWED_STREAMS_MAX: usize = 65_536;

/// First frame of the link. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppHello {
    /// Highest version that the process supports, from 1.
    pub version: u32,
    /// Name of the process in logs, such as `puma[4711]`.
    pub process: String,
    /// Whether the process runs channel classes of the app.
    #[serde(default)]
    pub runner: bool,
    /// Decision about connections of Action Cable by route. `None` if the app has made none, or has an older gem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_route: Option<ByRoute>,
}

/// Decision of an app about connections of Action Cable by route. The newest decision is in effect.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByRoute {
    /// Keys of Turbo's signed stream names in base64, at most 16. Empty if only the app decides about Turbo's streams.
    pub turbo_keys: Vec<String>,
    /// Time at which the app booted, in milliseconds since the Unix epoch.
    pub decided_ms: u64,
}

/// Shows no key.
impl fmt::Debug for ByRoute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ByRoute")
            .field("turbo_keys", &self.turbo_keys.len())
            .field("decided_ms", &self.decided_ms)
            .finish()
    }
}

/// Request to receive streams. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// The streams.
    pub streams: Vec<FollowedAfter>,
}

/// One stream of a [`Follow`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedAfter {
    /// Full name of a channel.
    pub name: String,
    /// Cursor of the newest publication that the process has. Everything after it is replayed. Without it nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Request to receive streams no longer. It has no reply. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfollow {
    /// Full names of channels.
    pub streams: Vec<String>,
}

/// Frame from a process of the app to the sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromApp {
    /// First frame of the link.
    Hello(AppHello),
    /// Request to receive streams.
    Follow(Follow),
    /// Request to receive streams no longer.
    Unfollow(Unfollow),
    /// The runner has run a command.
    Done(Done),
    /// Text for a browser.
    Transmit(Transmit),
    /// A subscription receives a stream.
    Stream(Stream),
    /// A subscription no longer receives a stream.
    StopStream(StopStream),
    /// The runner has ended all channel objects of a connection.
    Left(Left),
}

/// Reply to [`AppHello`]. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppWelcome {
    /// Version in effect.
    pub version: u32,
    /// Newest cursor of the journal.
    pub cursor: String,
}

/// Reply to a [`Follow`], before its replay. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The streams in the order of the request.
    pub streams: Vec<FollowedFrom>,
}

/// One stream of a [`Followed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedFrom {
    /// Full name of the channel.
    pub name: String,
    /// Every later publication of the stream follows: the request's `after` if a replay follows, otherwise the newest cursor.
    pub cursor: String,
    /// Publications after the request's `after` are missing.
    pub lost: bool,
}

/// A publication of a followed stream.
///
/// ```text
/// stream_bytes u16 | cursor_bytes u8 | stream … | cursor … | payload …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Full name of the channel.
    pub stream: String,
    /// Cursor of the publication.
    pub cursor: String,
    /// One JSON value in UTF-8, as it was published.
    pub payload: Bytes,
}

/// All publications of the followed streams up to a cursor were sent. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The cursor.
    pub cursor: String,
}

/// Frame from the sidecar to a process of the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToApp {
    /// Reply to the hello.
    Welcome(AppWelcome),
    /// Reply to a follow.
    Followed(Followed),
    /// A publication of a followed stream.
    Published(Published),
    /// All publications up to a cursor were sent.
    Reached(Reached),
    /// Command for a connection that the process runs.
    Command(Command),
    /// Reason for the end of the link.
    Fault(Fault),
}

impl FromApp {
    /// Decodes a frame from the app.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            APP_HELLO => body(frame, "AppHello").map(Self::Hello),
            FOLLOW => body(frame, "Follow").map(Self::Follow),
            UNFOLLOW => body(frame, "Unfollow").map(Self::Unfollow),
            DONE => body(frame, "Done").map(Self::Done),
            TRANSMIT => body(frame, "Transmit").map(Self::Transmit),
            STREAM => body(frame, "Stream").map(Self::Stream),
            STOP_STREAM => body(frame, "StopStream").map(Self::StopStream),
            LEFT => body(frame, "Left").map(Self::Left),
            kind => Err(FrameError::UnknownKind(kind)),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => json(out, APP_HELLO, hello),
            Self::Follow(follow) => json(out, FOLLOW, follow),
            Self::Unfollow(unfollow) => json(out, UNFOLLOW, unfollow),
            Self::Done(done) => json(out, DONE, done),
            Self::Transmit(transmit) => json(out, TRANSMIT, transmit),
            Self::Stream(stream) => json(out, STREAM, stream),
            Self::StopStream(stop) => json(out, STOP_STREAM, stop),
            Self::Left(left) => json(out, LEFT, left),
        }
    }
}

impl ToApp {
    /// Decodes a frame from the sidecar.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        match frame.kind {
            APP_WELCOME => body(frame, "AppWelcome").map(Self::Welcome),
            FOLLOWED => body(frame, "Followed").map(Self::Followed),
            PUBLISHED => Published::decode(frame).map(Self::Published),
            REACHED => body(frame, "Reached").map(Self::Reached),
            COMMAND => body(frame, "Command").map(Self::Command),
            kind => match ToPublisher::decode(frame)? {
                ToPublisher::Fault(fault) => Ok(Self::Fault(fault)),
                _ => Err(FrameError::UnknownKind(kind)),
            },
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Welcome(welcome) => json(out, APP_WELCOME, welcome),
            Self::Followed(followed) => json(out, FOLLOWED, followed),
            Self::Published(Published {
                stream,
                cursor,
                payload,
            }) => encode_published(out, stream, cursor, payload),
            Self::Reached(reached) => json(out, REACHED, reached),
            Self::Command(command) => json(out, COMMAND, command),
            Self::Fault(fault) => ToPublisher::Fault(fault.clone()).encode(out),
        }
    }
}

impl Published {
    fn decode(frame: &Frame) -> Result<Self, FrameError> {
        frame.option(None)?;
        let truncated = |field| FrameError::Truncated {
            kind: PUBLISHED,
            field,
        };
        let mut rest = frame.body.clone();
        let stream_bytes = rest
            .try_get_u16()
            .map_err(|_| truncated("stream_bytes"))?
            .into();
        let cursor_bytes = rest
            .try_get_u8()
            .map_err(|_| truncated("cursor_bytes"))?
            .into();
        let mut text = |bytes: usize, field| {
            if rest.len() < bytes {
                return Err(truncated(field));
            }
            String::from_utf8(rest.split_to(bytes).into()).map_err(|_| FrameError::NotText(field))
        };
        Ok(Self {
            stream: text(stream_bytes, "stream")?,
            cursor: text(cursor_bytes, "cursor")?,
            payload: rest,
        })
    }
}

/// Appends a [`Published`] to `out`. The caller must limit the stream's name to 65,535 bytes and the cursor to 255.
pub fn encode_published(out: &mut Vec<u8>, stream: &str, cursor: &str, payload: &[u8]) {
    encode(out, (PUBLISHED, 0), None, |out| {
        out.put_u16(bounded(stream.len()));
        out.put_u8(u8::try_from(cursor.len()).unwrap_or(u8::MAX));
        out.put_slice(stream.as_bytes());
        out.put_slice(cursor.as_bytes());
        out.put_slice(payload);
    });
}

/// Reads the body of a frame that is a JSON object.
pub(super) fn body<T: DeserializeOwned>(
    frame: &Frame,
    name: &'static str,
) -> Result<T, FrameError> {
    frame.option(None)?;
    serde_json::from_slice(&frame.body).map_err(|_| FrameError::NotJson(name))
}

/// Appends a frame whose body is a JSON object.
pub(super) fn json(out: &mut Vec<u8>, kind: u8, body: &impl Serialize) {
    encode(out, (kind, 0), None, |out| {
        let json = serde_json::to_vec(body);
        // Strings, numbers and lists with names of fields are always valid JSON.
        out.put_slice(&json.unwrap_or_default());
    });
}

#[cfg(test)]
mod tests;
