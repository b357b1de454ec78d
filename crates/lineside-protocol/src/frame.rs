//! Frames of the link between a publisher and the sidecar.
//!
//! Every frame is a head of eight bytes, options and a body; numbers are big-endian.
//!
//! ```text
//!  0       4      5       6               8
//!  +-------+------+-------+---------------+-----------+--------+
//!  | bytes | kind | flags | options_bytes | options … | body … |
//!  +-------+------+-------+---------------+-----------+--------+
//!  bytes: all that follows this field, at most FRAME_BYTES_MAX
//!
//!  option:  +---------+-------------+---------+
//!           | tag u16 | bytes u16   | value … |      tags from 0x8000 are critical: who does not know one
//!           +---------+-------------+---------+      must refuse the frame; any other is skipped
//! ```
//!
//! A publisher speaks first: `Hello`, answered by `Welcome` or `Fault`. Then it sends `Publish`, `Disconnect` and `Skip`,
//! and the sidecar answers with cumulative `Ack`s, a `Receipt` where one was asked for, a `Refusal` for what it will never
//! take, and `Moved` when the journal grew on another publisher's account.

mod body;
mod hand_off;
mod watch;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use body::{
    Ack, Disconnect, Fault, Hello, Moved, PROTOCOL_VERSION, Publications, Publish, PublishHead,
    Receipt, Refusal, Skip, ToPublisher, ToSidecar, Welcome, encode_publish,
};
pub use hand_off::{HAND_OFF, HandOff, Taken};
pub use watch::{Seen, ToWatcher, WATCH, Watch};

/// Largest frame without its length field, in bytes: a `publish_all` of sixteen payloads of the largest size.
pub const FRAME_BYTES_MAX: usize = 16 * crate::PAYLOAD_BYTES_MAX + 64 * 1024;

/// The length field and the rest of the head.
pub const HEAD_BYTES: usize = 8;

/// Options from this tag on must be understood or the frame refused.
const CRITICAL: u16 = 0x8000;

/// One frame, split but not yet understood. Its parts share the buffer that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the body is.
    pub kind: u8,
    /// Bits whose meaning depends on the kind; unknown ones are ignored.
    pub flags: u8,
    options: Bytes,
    body: Bytes,
}

/// Why bytes are not a frame that can be acted on. All but `UnknownOption` end the link.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length field is below the rest of the head or above the limit.
    #[error("a frame of {0} bytes; between 4 and {FRAME_BYTES_MAX} are possible")]
    Length(usize),
    /// Options or body end in the middle of a field.
    #[error("a frame of kind {kind} ends in the middle of {field}")]
    Truncated {
        /// The kind of the frame.
        kind: u8,
        /// The field.
        field: &'static str,
    },
    /// Bytes that should be text are not UTF-8.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// A kind that this end does not know.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// A critical option that this end does not know.
    #[error("the critical option {tag:#06x} is unknown")]
    UnknownOption {
        /// The option's tag.
        tag: u16,
        /// The sequence of the frame that carried it, where it has one.
        sequence: Option<u64>,
    },
    /// The first bytes of a hello are those of something else.
    #[error("the peer does not speak the protocol of the link")]
    Magic,
    /// An epoch that is none.
    #[error("the epoch is malformed")]
    Epoch,
}

impl FrameError {
    /// The same, of a frame with this sequence.
    fn about(self, sequence: u64) -> Self {
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
    /// Takes the next whole frame from the front of `buffer`, or `None` when more bytes are needed. Copies nothing.
    ///
    /// # Errors
    /// [`FrameError::Length`] and [`FrameError::Truncated`]: the stream cannot be read any further.
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

    /// The value of the option `known`, after all options have been looked at.
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

/// Writes a frame: the head, at most one option, and what `body` writes.
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

/// A length that its caller has bounded already.
fn bounded(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
