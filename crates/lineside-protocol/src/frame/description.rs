//! Frames with which `lineside check` asks the sidecar for its settings. They use their own link, without publishing.

use bytes::BufMut;
use serde::{Deserialize, Serialize};

use super::{Fault, Frame, FrameError, ToPublisher, encode};

/// Kind of [`DescriptionRequest`], the first frame of the link.
pub const DESCRIPTION: u8 = 18;

const DESCRIBED: u8 = 148;

/// Request for a [`Description`]. It has no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptionRequest;

/// Settings of a running sidecar, as they are in effect. The body is a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of the sidecar.
    pub version: String,
    /// Address of the listener for browsers, or `none`.
    pub bind: String,
    /// Address of the admin listener, or `none`.
    pub admin: String,
    /// Path of the WebSocket endpoint.
    pub path: String,
    /// Path at which a proxy can send Action Cable. Older sidecars have none.
    #[serde(default)]
    pub cable_path: String,
    /// `required` or `optional`: whether these connections need an identity cookie.
    #[serde(default)]
    pub cable_identity: String,
    /// Number of keys of signed stream names for these connections.
    #[serde(default)]
    pub turbo_keys: usize,
    /// Fingerprints of the keys that verify tokens, as in [`Hello`](super::Hello).
    pub fingerprints: Vec<[u8; 8]>,
}

/// Frame that answers a [`DescriptionRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DescriptionReply {
    /// The settings.
    Described(Description),
    /// Reason for which there is no answer, such as an older sidecar.
    Fault(Fault),
}

impl DescriptionRequest {
    /// Appends the frame to `out`.
    pub fn encode(self, out: &mut Vec<u8>) {
        encode(out, (DESCRIPTION, 0), None, |_| {});
    }
}

impl DescriptionReply {
    /// Decodes a frame from the sidecar.
    ///
    /// # Errors
    /// Returns an error if the frame is invalid.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        if frame.kind == DESCRIBED {
            frame.option(None)?;
            let described = serde_json::from_slice(&frame.body);
            return described
                .map(Self::Described)
                .map_err(|_| FrameError::NotText("the description"));
        }
        match ToPublisher::decode(frame)? {
            ToPublisher::Fault(fault) => Ok(Self::Fault(fault)),
            _ => Err(FrameError::UnknownKind(frame.kind)),
        }
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Described(description) => encode(out, (DESCRIBED, 0), None, |out| {
                let json = serde_json::to_vec(description);
                // Strings and numbers with names of fields are always valid JSON.
                out.put_slice(&json.unwrap_or_default());
            }),
            Self::Fault(fault) => ToPublisher::Fault(fault.clone()).encode(out),
        }
    }
}

#[cfg(test)]
mod tests;
