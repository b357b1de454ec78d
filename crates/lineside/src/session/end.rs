//! Reason for the end of a link.

use std::io;

use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::FrameError;

/// Reason for the end of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher closed it.
    Closed,
    /// The link failed, with this error.
    Broken(String),
    /// The sidecar closes the link. The publisher receives the code and the message.
    Fault(LinkCode, String),
}

impl End {
    /// End of a link that a newer link of the same publisher replaces.
    #[must_use]
    pub fn replaced() -> Self {
        Self::Fault(codes::LINK_REPLACED, codes::LINK_REPLACED.meaning.into())
    }

    /// End of a link because the sidecar drains.
    #[must_use]
    pub fn drain() -> Self {
        Self::Fault(codes::LINK_DRAIN, codes::LINK_DRAIN.meaning.into())
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Broken(error.to_string()),
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        let code = match error {
            FrameError::UnknownKind(_) => codes::LINK_UNKNOWN_KIND,
            _ => codes::LINK_BAD_FRAME,
        };
        Self::Fault(code, error.to_string())
    }
}
