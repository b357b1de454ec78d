//! Rejection of a frame.

use lineside_protocol::codes::LinkCode;

/// Reason for rejecting a frame permanently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Error code for programs.
    pub code: LinkCode,
    /// One line for people: the problem and the rejected value. Non-printable characters are escaped.
    pub message: String,
}
