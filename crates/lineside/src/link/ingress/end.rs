use std::io;

use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::FrameError;

/// Why a link ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The publisher closed it.
    Closed,
    /// It broke, and how.
    Broken(String),
    /// The publisher is told this code, and what is wrong with which value.
    Fault(LinkCode, String),
}

impl End {
    /// A newer link of the same publisher has taken its place.
    #[must_use]
    pub fn replaced() -> Self {
        Self::Fault(codes::LINK_REPLACED, codes::LINK_REPLACED.meaning.into())
    }

    /// The sidecar stops as planned.
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
