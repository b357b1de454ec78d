use lineside_protocol::codes::{LINK_CODES, LINK_KEY_MISMATCH, LINK_REPLACED};
use lineside_protocol::frame::{FrameError, PROTOCOL_VERSION};

use crate::settings::{HANDSHAKE_MS_MAX, REASON_BYTES_MAX};

/// Reason for which the connection ended or could not be made. The message includes the remedy.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Ended {
    /// The socket failed. The caller of [`LinkClient`](crate::LinkClient) supplies the text.
    #[error("{0}")]
    Transport(String),
    /// The sidecar accepted the connection and sent no welcome in time.
    #[error(
        "the sidecar did not answer within {HANDSHAKE_MS_MAX} ms: is it stopped or overloaded?"
    )]
    Silent,
    /// The sidecar speaks another version of the link.
    #[error(
        "the sidecar speaks version {0} of the link, and this gem {PROTOCOL_VERSION}: bring both to one version"
    )]
    Version(u8),
    /// The sidecar sent bytes that are not a frame.
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Frame(#[from] FrameError),
    /// The sidecar sent a frame that is wrong at this point.
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Protocol(String),
    /// The sidecar ended the link with a fault.
    #[error("the sidecar ended the link: {name} ({code}), {message}. {meaning}")]
    Fault {
        /// Number of the fault, one of [`LINK_CODES`] unless the sidecar is newer.
        code: u16,
        /// Name of the fault.
        name: &'static str,
        /// Meaning of the fault, and the remedy.
        meaning: &'static str,
        /// Message of the sidecar, escaped for one log line.
        message: String,
    },
    /// The publisher was stopped.
    #[error("this publisher was stopped")]
    Stopped,
}

impl Ended {
    pub(super) fn fault(code: u16, message: &str) -> Self {
        let known = LINK_CODES.iter().find(|known| known.number == code);
        let (name, meaning) = known.map_or(("unknown", ""), |known| (known.name, known.meaning));
        Self::Fault {
            code,
            name,
            meaning,
            message: quoted(message),
        }
    }

    /// Returns whether another process uses this publisher's identity. An immediate reconnect would end that process's
    /// link.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Fault { code, .. } if *code == LINK_REPLACED.number)
    }

    /// Returns whether the sidecar has another secret. Only a restart or a rotation of the secret ends that.
    pub(super) fn is_key_mismatch(&self) -> bool {
        matches!(self, Self::Fault { code, .. } if *code == LINK_KEY_MISMATCH.number)
    }
}

/// Returns a text from the sidecar, truncated and escaped for one log line.
pub(super) fn quoted(text: &str) -> String {
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .take_while(|at| *at <= REASON_BYTES_MAX)
        .last()
        .unwrap_or(0);
    let short = if text.len() <= REASON_BYTES_MAX {
        text
    } else {
        &text[..end]
    };
    let mut quoted = String::with_capacity(short.len());
    for char in short.chars() {
        match char {
            // The sidecar has quoted and escaped the values in its message already.
            '"' | '\'' | '\\' => quoted.push(char),
            _ => quoted.extend(char.escape_debug()),
        }
    }
    quoted
}
