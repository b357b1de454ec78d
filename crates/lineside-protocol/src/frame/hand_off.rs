//! The frames by which an app gives a browser's socket to the sidecar. They have a link of their own, which ends with
//! the answer: [`Taken`], or a [`Fault`](super::Fault) that says why not.

use bytes::{Buf, BufMut, Bytes};

use super::{Frame, FrameError, bounded, encode};

/// Its kind is looked at before anything is read, since the descriptor comes with the first read.
pub const HAND_OFF: u8 = 16;

const TAKEN: u8 = 144;

/// A browser's request, with its socket's descriptor as ancillary data (`SCM_RIGHTS`) of the bytes that begin the frame.
///
/// ```text
/// peer_bytes u16 | origin_bytes u16 | peer … | origin … | request …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// The browser's address, as the app knows it through its proxies: an IP address.
    pub peer: String,
    /// The app's own origin, as the browser wrote it: `https://shop.example.org`.
    pub origin: String,
    /// The head of the request, and whatever was read behind it.
    pub request: Bytes,
}

impl HandOff {
    /// Understands the first frame of such a link.
    ///
    /// # Errors
    /// Says what is wrong with it; the link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind != HAND_OFF {
            return Err(FrameError::UnknownKind(frame.kind));
        }
        frame.option(None)?;
        let truncated = |field| FrameError::Truncated {
            kind: HAND_OFF,
            field,
        };
        let mut rest = frame.body.clone();
        let peer_bytes = rest.try_get_u16().map_err(|_| truncated("peer_bytes"))?;
        let origin_bytes = rest.try_get_u16().map_err(|_| truncated("origin_bytes"))?;
        let mut text = |bytes: u16, field| {
            if rest.len() < usize::from(bytes) {
                return Err(truncated(field));
            }
            let text = rest.split_to(usize::from(bytes));
            String::from_utf8(text.into()).map_err(|_| FrameError::NotText(field))
        };
        Ok(Self {
            peer: text(peer_bytes, "peer")?,
            origin: text(origin_bytes, "origin")?,
            request: rest,
        })
    }

    /// Appends the frame to `out`. `peer` and `origin` are at most 65,535 bytes, which the caller has seen to.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(out, (HAND_OFF, 0), None, |out| {
            out.put_u16(bounded(self.peer.len()));
            out.put_u16(bounded(self.origin.len()));
            out.put_slice(self.peer.as_bytes());
            out.put_slice(self.origin.as_bytes());
            out.put_slice(&self.request);
        });
    }
}

/// Answers [`HandOff`]: from here on the socket is the sidecar's, which answers the browser itself. It has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl Taken {
    /// Appends the frame to `out`.
    pub fn encode(self, out: &mut Vec<u8>) {
        encode(out, (TAKEN, 0), None, |_| {});
    }

    /// Whether the frame says so.
    #[must_use]
    pub fn is(frame: &Frame) -> bool {
        frame.kind == TAKEN
    }
}

#[cfg(test)]
mod tests;
