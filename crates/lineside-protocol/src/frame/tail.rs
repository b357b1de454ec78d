//! Frames of `lineside tail`, which shows publications to an operator. They use their own link, without publishing.

use bytes::{Buf, BufMut, Bytes};

use super::{Fault, Frame, FrameError, ToPublisher, encode};
use crate::Cursor;

/// Kind of [`TailRequest`], the first frame of the link.
pub const TAIL: u8 = 17;

const WATCHING: u8 = 145;
const SEEN: u8 = 146;
const MISSED: u8 = 147;

/// Request for all publications from now on.
///
/// ```text
/// wanted …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailRequest {
    /// Full name of a channel, a prefix of names followed by `*`, or `*` for all channels.
    pub wanted: String,
}

/// Frame from the sidecar to `lineside tail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TailReply {
    /// Reply to [`TailRequest`]: every publication after this cursor is sent or counted as missed.
    Opened(Cursor),
    /// One publication, in the order of the journal.
    Seen(Seen),
    /// Number of publications that were dropped here because the tail reads too slowly.
    Missed(u64),
    /// Reason for the end of the link.
    Fault(Fault),
}

/// A publication.
///
/// ```text
/// at_ms u64 | message …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Time at which it landed, in milliseconds since the Unix epoch, by the sidecar's clock.
    pub at_ms: u64,
    /// The `message` envelope, as sent to browsers.
    pub message: Bytes,
}

impl TailRequest {
    /// Decodes the first frame of the link.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind != TAIL {
            return Err(FrameError::UnknownKind(frame.kind));
        }
        frame.option(None)?;
        let wanted = String::from_utf8(frame.body.clone().into());
        Ok(Self {
            wanted: wanted.map_err(|_| FrameError::NotText("wanted"))?,
        })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(out, (TAIL, 0), None, |out| {
            out.put_slice(self.wanted.as_bytes());
        });
    }
}

impl TailReply {
    /// Decodes a frame from the sidecar.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        let mut rest = frame.body.clone();
        let mut number = |field| {
            rest.try_get_u64().map_err(|_| FrameError::Truncated {
                kind: frame.kind,
                field,
            })
        };
        match frame.kind {
            WATCHING => {
                frame.option(None)?;
                let cursor = std::str::from_utf8(&rest).ok().and_then(Cursor::parse);
                cursor.map(Self::Opened).ok_or(FrameError::Epoch)
            }
            SEEN => {
                frame.option(None)?;
                let at_ms = number("at_ms")?;
                Ok(Self::Seen(Seen {
                    at_ms,
                    message: rest,
                }))
            }
            MISSED => {
                frame.option(None)?;
                Ok(Self::Missed(number("count")?))
            }
            kind => match ToPublisher::decode(frame)? {
                ToPublisher::Fault(fault) => Ok(Self::Fault(fault)),
                _ => Err(FrameError::UnknownKind(kind)),
            },
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Opened(cursor) => encode(out, (WATCHING, 0), None, |out| {
                out.put_slice(cursor.to_string().as_bytes());
            }),
            Self::Seen(seen) => encode(out, (SEEN, 0), None, |out| {
                out.put_u64(seen.at_ms);
                out.put_slice(&seen.message);
            }),
            Self::Missed(count) => encode(out, (MISSED, 0), None, |out| out.put_u64(*count)),
            Self::Fault(fault) => ToPublisher::Fault(fault.clone()).encode(out),
        }
    }
}

#[cfg(test)]
mod tests;
