//! Interface of a connection's socket.

use std::io::{Read, Write};

/// Non-blocking socket of a connection: calls that would block fail with [`WouldBlock`](std::io::ErrorKind::WouldBlock).
/// Dropping it closes the connection after all written bytes are sent.
pub trait Socket: Read + Write {
    /// Makes the close a reset that drops written bytes which are not sent yet.
    fn reset_on_close(&mut self);
}
