//! What a worker wants of a browser's socket.

use std::io::{Read, Write};

/// A browser's socket. It never waits: what would have to wait fails with [`WouldBlock`](std::io::ErrorKind::WouldBlock).
/// Dropped, it is closed, and what it took is still sent.
pub trait Socket: Read + Write {
    /// Has the close be a reset that throws away what the other end was not sent yet.
    fn reset_on_close(&mut self);
}
