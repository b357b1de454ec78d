//! Wire formats: frames of the link between publishers and the sidecar, envelopes between the sidecar and browsers, and
//! the values both share (positions, cursors, channel names, codes, origins).
//!
//! Pure functions over bytes: no IO, no async, no clock. `docs/protocol.md` documents the same bytes.

#![forbid(unsafe_code)]

pub mod cable;
pub mod channel;
pub mod codes;
mod cursor;
pub mod envelope;
pub mod forwarded;
pub mod frame;
mod json;
pub mod origin;
pub mod request;

pub use cursor::{After, Cursor, Epoch, EpochError, POSITION_MAX, Position};
pub use json::{NESTING_LEVELS_MAX, check_json, nesting_levels};

/// Maximum payload of one publication, in bytes.
///
/// 64 KiB bounds the cost of one publication: sent to 10,000 subscribers it is 640 MB through the kernel. A page should
/// fetch larger content by a request of its own.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
