//! Frames of a hand-off: an app passes a browser's socket to the sidecar. Each hand-off uses its own link, which ends with
//! the reply: [`Taken`], or a [`Fault`](super::Fault) with the reason.

use bytes::{Buf, BufMut, Bytes};

use super::{Frame, FrameError, bounded, encode};

/// Kind of [`HandOff`]. The sidecar peeks at it before it reads, since the descriptor arrives with the first read.
pub const HAND_OFF: u8 = 16;

/// Critical option of [`HandOff`]: the connection speaks Action Cable, and the app has decided about it.
const CABLE: u16 = 0x8002;

/// Kind of [`Taken`].
const TAKEN: u8 = 144;

/// Request of a browser. The descriptor of its socket is ancillary data (`SCM_RIGHTS`) of the frame's first bytes.
///
/// ```text
/// peer_bytes u16 | origin_bytes u16 | peer … | origin … | request …
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// IP address of the browser, as the app sees it behind its proxies.
    pub peer: String,
    /// The app's own origin as the browser writes it, such as `https://shop.example.org`.
    pub origin: String,
    /// Head of the request, and any bytes that were read after it.
    pub request: Bytes,
    /// JSON of a [`CableConnect`](crate::cable::CableConnect) if the connection speaks Action Cable. Option 0x8002.
    pub cable: Option<Bytes>,
}

impl HandOff {
    /// Decodes the first frame of a hand-off.
    ///
    /// # Errors
    /// Returns the problem of an invalid frame. The link must then be closed.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind != HAND_OFF {
            return Err(FrameError::UnknownKind(frame.kind));
        }
        let cable = frame.option(Some(CABLE))?;
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
            cable,
        })
    }

    /// Appends the frame to `out`. The caller must limit `peer` and `origin` to 65,535 bytes each, and `cable` to 65,531.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let cable = self.cable.as_deref().map(|value| (CABLE, value));
        encode(out, (HAND_OFF, 0), cable, |out| {
            out.put_u16(bounded(self.peer.len()));
            out.put_u16(bounded(self.origin.len()));
            out.put_slice(self.peer.as_bytes());
            out.put_slice(self.origin.as_bytes());
            out.put_slice(&self.request);
        });
    }
}

/// Reply to [`HandOff`]: the sidecar owns the socket now, and answers the browser. Has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

impl Taken {
    /// Appends the frame to `out`.
    pub fn encode(self, out: &mut Vec<u8>) {
        encode(out, (TAKEN, 0), None, |_| {});
    }

    /// Returns whether the frame is a `Taken`.
    #[must_use]
    pub fn is(frame: &Frame) -> bool {
        frame.kind == TAKEN
    }
}

#[cfg(test)]
mod tests;
