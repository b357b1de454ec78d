//! Frames of the link between a publisher and the sidecar.
//!
//! Every frame has a head of eight bytes, options and a body. Numbers are big-endian.
//!
//! ```text
//!  0       4      5       6               8
//!  +-------+------+-------+---------------+-----------+--------+
//!  | bytes | kind | flags | options_bytes | options … | body … |
//!  +-------+------+-------+---------------+-----------+--------+
//!  bytes: size of the rest of the frame, at most FRAME_BYTES_MAX
//!
//!  option:  +---------+-------------+---------+
//!           | tag u16 | bytes u16   | value … |      tags from 0x8000 are critical: a receiver that does not know
//!           +---------+-------------+---------+      one refuses the frame; other unknown options are skipped
//! ```
//!
//! The publisher sends `Hello`, and the sidecar replies with `Welcome` or `Fault`. Then the publisher sends `Publish`,
//! `Revoke` and `Skip`, and the sidecar sends cumulative `Ack`s, a `Receipt` for each frame that wants one, a `Refusal`
//! for each frame that it permanently rejects, and `Moved` when other publishers' entries have advanced the journal.

mod app;
mod body;
mod description;
mod hand_off;
pub mod runner;
mod settle;
mod tail;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use app::{
    APP_HELLO, APP_LINK_VERSION, AppHello, AppWelcome, ByRoute, FOLLOWED_STREAMS_MAX, Follow,
    Followed, FollowedAfter, FollowedFrom, FromApp, Published, Reached, ToApp, Unfollow,
    encode_published,
};
pub use body::{
    Ack, Fault, Hello, Moved, PROTOCOL_VERSION, Publications, Publish, PublishHead, Receipt,
    Refusal, Revoke, Skip, ToPublisher, ToSidecar, Welcome, encode_publish,
};
pub use description::{DESCRIPTION, Description, DescriptionReply, DescriptionRequest};
pub use hand_off::{HAND_OFF, HandOff, Taken};
pub use settle::{Laggard, SETTLE, SettleReply, SettleRequest, Settled};
pub use tail::{Seen, TAIL, TailReply, TailRequest};

/// Maximum size of a frame without its length field, in bytes: a `publish_all` of sixteen payloads of maximum size.
pub const FRAME_BYTES_MAX: usize = 16 * crate::PAYLOAD_BYTES_MAX + 64 * 1024;

/// Size of the head with its length field, in bytes.
pub const HEAD_BYTES: usize = 8;

/// First tag of critical options. A receiver that does not know one must refuse the frame.
const CRITICAL: u16 = 0x8000;

/// One frame, split from the stream but not decoded. Shares the read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Kind of the body.
    pub kind: u8,
    /// Flags of this kind. Unknown flags are ignored.
    pub flags: u8,
    options: Bytes,
    body: Bytes,
}

/// Error of an invalid frame. Every variant except `UnknownOption` ends the link.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length field is smaller than the rest of the head or above the limit.
    #[error("a frame of {0} bytes; 4 to {FRAME_BYTES_MAX} are allowed")]
    Length(usize),
    /// The options or the body end inside a field.
    #[error("a frame of kind {kind} ends in the middle of {field}")]
    Truncated {
        /// Kind of the frame.
        kind: u8,
        /// Name of the field.
        field: &'static str,
    },
    /// A text field is not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// The body is not the JSON object of its kind.
    #[error("the body of {0} is not the JSON object that the protocol describes")]
    NotJson(&'static str),
    /// The receiver does not know the kind.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// The receiver does not know a critical option.
    #[error("the critical option {tag:#06x} is unknown")]
    UnknownOption {
        /// Tag of the option.
        tag: u16,
        /// Sequence of the frame, if it has one.
        sequence: Option<u64>,
    },
    /// A hello or welcome does not begin with the magic bytes.
    #[error("the peer does not speak the protocol of the link")]
    Magic,
    /// The epoch or cursor is invalid.
    #[error("the epoch is malformed")]
    Epoch,
}

impl FrameError {
    /// Adds the sequence of the frame.
    fn with_sequence(self, sequence: u64) -> Self {
        match self {
            Self::UnknownOption { tag, .. } => Self::UnknownOption {
                tag,
                sequence: Some(sequence),
            },
            other => other,
        }
    }
}

impl Frame {
    /// Splits the next complete frame from the front of `buffer`, without copying. Returns `None` if more bytes are needed.
    ///
    /// # Errors
    /// Returns [`FrameError::Length`] or [`FrameError::Truncated`]. The rest of the stream cannot be read.
    pub fn split(buffer: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some(length) = buffer
            .first_chunk::<4>()
            .map(|b| u32::from_be_bytes(*b) as usize)
        else {
            return Ok(None);
        };
        if !(HEAD_BYTES - 4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(FrameError::Length(length));
        }
        if buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut rest = buffer.split_to(4 + length).freeze();
        rest.advance(4);
        let (kind, flags, options_bytes) =
            (rest.get_u8(), rest.get_u8(), usize::from(rest.get_u16()));
        if rest.len() < options_bytes {
            return Err(FrameError::Truncated {
                kind,
                field: "options",
            });
        }
        let options = rest.split_to(options_bytes);
        Ok(Some(Self {
            kind,
            flags,
            options,
            body: rest,
        }))
    }

    /// Checks all options, and returns the value of the option `known`.
    fn option(&self, known: Option<u16>) -> Result<Option<Bytes>, FrameError> {
        let mut rest = self.options.clone();
        let mut found = None;
        let truncated = FrameError::Truncated {
            kind: self.kind,
            field: "an option",
        };
        while !rest.is_empty() {
            let (Ok(tag), Ok(bytes)) = (rest.try_get_u16(), rest.try_get_u16()) else {
                return Err(truncated);
            };
            if rest.len() < usize::from(bytes) {
                return Err(truncated);
            }
            let value = rest.split_to(usize::from(bytes));
            if Some(tag) == known {
                found = Some(value);
            } else if tag >= CRITICAL {
                return Err(FrameError::UnknownOption {
                    tag,
                    sequence: None,
                });
            }
        }
        Ok(found)
    }
}

/// Appends a frame: the head, at most one option, and the output of `body`.
fn encode(
    out: &mut Vec<u8>,
    (kind, flags): (u8, u8),
    option: Option<(u16, &[u8])>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.put_u32(0);
    out.put_u8(kind);
    out.put_u8(flags);
    match option {
        None => out.put_u16(0),
        Some((tag, value)) => {
            let value = &value[..value.len().min(usize::from(u16::MAX) - 4)];
            out.put_u16(bounded(value.len() + 4));
            out.put_u16(tag);
            out.put_u16(bounded(value.len()));
            out.put_slice(value);
        }
    }
    body(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Converts a length that the caller has bounded already.
fn bounded(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
