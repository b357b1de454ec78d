use lineside_protocol::codes::{LINK_CODES, LINK_REPLACED};
use lineside_protocol::frame::{FrameError, PROTOCOL_VERSION};

use crate::settings::{HANDSHAKE_MS_MAX, REASON_BYTES_MAX};

/// Why there is no link (any more): what happened, and what to do.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Ended {
    /// No connection came to be, or it broke: in the words of whoever drives the link.
    #[error("{0}")]
    Transport(String),
    /// The sidecar accepted the connection, and no welcome came.
    #[error(
        "the sidecar did not answer within {HANDSHAKE_MS_MAX} ms: is it stopped or overloaded?"
    )]
    Silent,
    /// The sidecar's welcome names another version.
    #[error(
        "the sidecar speaks version {0} of the link, and this gem {PROTOCOL_VERSION}: bring both to one version"
    )]
    Version(u8),
    /// What came is not a frame.
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Frame(#[from] FrameError),
    /// What came is a frame that cannot be true, or not now.
    #[error("the sidecar broke the link's protocol ({0}): bring gem and sidecar to one version")]
    Protocol(String),
    /// The sidecar said why it ends the link.
    #[error("the sidecar ended the link: {name} ({code}), {message}. {meaning}")]
    Fault {
        /// Its number, one of [`LINK_CODES`] unless the sidecar is newer.
        code: u16,
        /// Its name.
        name: &'static str,
        /// What it means, and what to do.
        meaning: &'static str,
        /// What the sidecar added, fit for one log line.
        message: String,
    },
    /// This end stopped.
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

    /// Another process uses this publisher's identity: coming back at once would only cut its link in turn.
    pub(super) fn is_replaced(&self) -> bool {
        matches!(self, Self::Fault { code, .. } if *code == LINK_REPLACED.number)
    }
}

/// Text of the other end, fit for one log line.
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
            // They are part of its own wording, which quotes and escapes what it repeats.
            '"' | '\'' | '\\' => quoted.push(char),
            _ => quoted.extend(char.escape_debug()),
        }
    }
    quoted
}
