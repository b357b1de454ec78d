//! The frames by which an operator watches what is published. They have a link of their own, on which nobody publishes.

use bytes::{Buf, BufMut, Bytes};

use super::{Fault, Frame, FrameError, ToPublisher, encode};
use crate::Cursor;

/// The kind of the first frame of such a link.
pub const WATCH: u8 = 17;

const WATCHING: u8 = 145;
const SEEN: u8 = 146;
const MISSED: u8 = 147;

/// Asks to be sent what is published from now on.
///
/// ```text
/// wanted …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// A channel's full name, or the beginning of names and a `*`; `*` alone for all.
    pub wanted: String,
}

/// What the sidecar sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToWatcher {
    /// Answers [`Watch`]: everything behind this cursor will come, or be counted as missed.
    Watching(Cursor),
    /// One publication, in the journal's order.
    Seen(Seen),
    /// So many that were wanted, at this place, were dropped: the watcher did not read them in time.
    Missed(u64),
    /// Ends the link.
    Fault(Fault),
}

/// ```text
/// at_ms u64 | message …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// When it landed, in milliseconds since the Unix epoch, by the sidecar's clock.
    pub at_ms: u64,
    /// The `message` envelope, as browsers receive it.
    pub message: Bytes,
}

impl Watch {
    /// Understands the first frame of such a link.
    ///
    /// # Errors
    /// Says what is wrong with it; the link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind != WATCH {
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
        encode(out, (WATCH, 0), None, |out| {
            out.put_slice(self.wanted.as_bytes());
        });
    }
}

impl ToWatcher {
    /// Understands a frame from the sidecar.
    ///
    /// # Errors
    /// Says what is wrong with it; the link must then be closed.
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
                cursor.map(Self::Watching).ok_or(FrameError::Epoch)
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
            Self::Watching(cursor) => encode(out, (WATCHING, 0), None, |out| {
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
