//! What travels: frames on the link between publishers and the sidecar, envelopes between the sidecar and browsers,
//! and the words both share (positions, cursors, channel names, codes).
//!
//! Pure functions over bytes: no IO, no async, no clock. `docs/protocol.md` draws the same bytes for readers.

#![forbid(unsafe_code)]

pub mod channel;
pub mod codes;
mod cursor;
pub mod envelope;
pub mod frame;
pub mod request;

pub use cursor::{After, Cursor, Epoch, EpochError, POSITION_MAX, Position};

/// Largest payload of one publication, in bytes.
///
/// 64 KiB bounds what one publication costs its readers: for 10,000 of them it is 640 MB through the kernel. Larger
/// content belongs in a request that the page makes itself.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Most arrays and objects in each other, in levels of one payload.
///
/// Readers of JSON stop somewhere, and one that stops loses the whole message: Ruby's at 100, which is the least we know
/// of, serde_json at 128, Python's near 1,000.
pub const NESTING_LEVELS_MAX: usize = 100;
