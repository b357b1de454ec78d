//! WebSocket reader: from received bytes to messages, by tungstenite, without memory for an idle connection.
//!
//! A `WebSocketContext` exists only while a frame or a fragmented message is incomplete, or while messages wait. Most of the
//! time a connection has none (figures in docs/decisions/0003-shards-without-tasks.md).
//!
//! The Autobahn test suite checks its conformance to RFC 6455 (`bin/test conformance`).

use std::io::{self, Read, Write};

use bytes::Bytes;
use lineside_protocol::codes::{
    CLOSE_INVALID_TEXT, CLOSE_PROTOCOL_ERROR, CLOSE_TOO_LARGE, CloseCode,
};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use crate::dialects::MESSAGE_BYTES_MAX;

/// Size of tungstenite's read buffer, in bytes. Its default of 128 KiB is zeroed at every read.
const READ_BYTES: usize = 4 * 1024;

/// Memory of a context beside its message, in bytes.
const BUSY_BYTES: usize = size_of::<Busy>() + READ_BYTES;

/// Maximum size of a frame's head, in bytes (RFC 6455 §5.2): two bytes, a length of eight and a mask of four.
const FRAME_HEAD_BYTES_MAX: usize = 14;

/// Minimum mean size of the fragments of a message of maximum size, in bytes. Bounds the number of fragments, which may be
/// empty. Browsers send one fragment.
const FRAGMENT_BYTES_MIN: usize = 128;

/// Result of one read step.
#[derive(Debug)]
pub enum Inbound {
    /// A complete text message.
    Text(Utf8Bytes),
    /// A complete binary message.
    Binary(Bytes),
    /// A ping, which has been answered.
    Ping,
    /// A pong, with the payload of the ping that it answers.
    Pong(Bytes),
    /// The browser closed, with this code if it named one. The answer is among the replies.
    Closed(Option<u16>),
    /// No complete message.
    Empty,
    /// The browser violated the protocol.
    Broken(CloseCode),
}

/// Reader of one connection, for messages of at most `BYTES_MAX` bytes. A null pointer while it is idle.
pub struct Reader<const BYTES_MAX: usize = MESSAGE_BYTES_MAX>(Option<Box<Busy>>);

struct Busy {
    context: WebSocketContext,
    /// Received bytes that the context has not read.
    unread: Vec<u8>,
    boundary: Boundary,
}

impl<const BYTES_MAX: usize> Default for Reader<BYTES_MAX> {
    fn default() -> Self {
        Self(None)
    }
}

impl<const BYTES_MAX: usize> std::fmt::Debug for Reader<BYTES_MAX> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("idle", &self.0.is_none())
            .finish()
    }
}

impl<const BYTES_MAX: usize> Reader<BYTES_MAX> {
    /// Maximum number of fragments of one message.
    const FRAGMENTS_MAX: usize = BYTES_MAX / FRAGMENT_BYTES_MIN;

    /// Adds received bytes.
    pub fn receive(&mut self, bytes: &[u8]) {
        let busy = self.0.get_or_insert_with(|| {
            let context = WebSocketContext::new(Role::Server, Some(config(BYTES_MAX)));
            Box::new(Busy {
                context,
                unread: Vec::new(),
                boundary: Boundary::default(),
            })
        });
        busy.unread.extend_from_slice(bytes);
        busy.boundary.pass(bytes);
    }

    /// Whether there is neither a part of a frame nor a waiting message.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Memory of an incomplete message and of what waits, in bytes. Zero while idle.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let held = |busy: &Busy| BUSY_BYTES + busy.unread.capacity() + busy.boundary.bytes;
        self.0.as_deref().map_or(0, held)
    }

    /// Number of complete messages received since it was last idle. Wraps around.
    #[must_use]
    pub fn messages(&self) -> u32 {
        self.0.as_deref().map_or(0, |busy| busy.boundary.messages)
    }

    /// Returns the next message. `reply` receives tungstenite's own answers: pongs, and the answer to a close.
    pub fn next(&mut self, reply: impl FnMut(Bytes)) -> Inbound {
        let Some(busy) = &mut self.0 else {
            return Inbound::Empty;
        };
        let inbound = busy.next(reply);
        if busy.boundary.fragments > Self::FRAGMENTS_MAX && matches!(inbound, Inbound::Empty) {
            return Inbound::Broken(CLOSE_TOO_LARGE);
        }
        let finished = matches!(inbound, Inbound::Empty) && busy.boundary.is_whole();
        if finished {
            self.0 = None;
        }
        inbound
    }
}

impl Busy {
    fn next(&mut self, mut reply: impl FnMut(Bytes)) -> Inbound {
        let mut memory = Memory {
            input: &self.unread,
            output: Vec::new(),
        };
        let read = self.context.read(&mut memory);
        if matches!(read, Ok(Message::Close(_))) {
            // Writes the answer. The error says that the context has ended, which is expected.
            let _ended = self.context.flush(&mut memory);
        }
        let Memory { input, output } = memory;
        let taken = self.unread.len() - input.len();
        self.unread.drain(..taken);
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
        if !output.is_empty() {
            reply(output.into());
        }
        match read {
            Ok(Message::Text(text)) => Inbound::Text(text),
            Ok(Message::Binary(bytes)) => Inbound::Binary(bytes),
            Ok(Message::Close(frame)) => Inbound::Closed(frame.map(|it| it.code.into())),
            Ok(Message::Pong(payload)) => Inbound::Pong(payload),
            Ok(Message::Ping(_) | Message::Frame(_)) => Inbound::Ping,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Inbound::Empty,
            Err(Error::Capacity(_)) => Inbound::Broken(CLOSE_TOO_LARGE),
            Err(Error::Utf8(_)) => Inbound::Broken(CLOSE_INVALID_TEXT),
            Err(_) => Inbound::Broken(CLOSE_PROTOCOL_ERROR),
        }
    }
}

/// Sets every limit of tungstenite. Its defaults bound neither messages nor buffered writes.
fn config(bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(bytes_max)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .accept_unmasked_frames(false)
}

/// In-memory stream for tungstenite: received bytes, and the bytes that it writes.
struct Memory<'a> {
    input: &'a [u8],
    output: Vec<u8>,
}

impl Read for Memory<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.input.read(into)
        }
    }
}

impl Write for Memory<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Detects whether received bytes end at a frame boundary outside a fragmented message.
#[derive(Default)]
struct Boundary {
    head: Vec<u8>,
    payload_left: u64,
    /// Number of fragments of the unfinished message. Zero without one.
    fragments: usize,
    /// Size of the received part of the unfinished message, in bytes.
    bytes: usize,
    /// Number of complete messages. Wraps around.
    messages: u32,
    is_lost: bool,
}

impl Boundary {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_lost {
            let skipped = usize::try_from(self.payload_left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.payload_left -= skipped as u64;
            self.bytes += skipped;
            bytes = &bytes[skipped..];
            if skipped > 0 {
                self.note_end();
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return;
            };
            self.head.push(byte);
            bytes = rest;
            match FrameHeader::parse(&mut io::Cursor::new(&self.head)) {
                Ok(Some((header, length))) => {
                    // Control frames (opcodes from 8 on, RFC 6455 §5.5) may stand between fragments.
                    if u8::from(header.opcode) < 8 {
                        self.fragments = if header.is_final {
                            0
                        } else {
                            self.fragments + 1
                        };
                    }
                    self.payload_left = length;
                    self.head = Vec::new();
                    self.note_end();
                }
                Ok(None) if self.head.len() < FRAME_HEAD_BYTES_MAX => {}
                // The context reports the error.
                Ok(None) | Err(_) => self.is_lost = true,
            }
        }
    }

    /// Begins the next message if this one is complete.
    fn note_end(&mut self) {
        if self.is_whole() {
            self.bytes = 0;
            self.messages = self.messages.wrapping_add(1);
        }
    }

    fn is_whole(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0 && self.fragments == 0 && !self.is_lost
    }
}

#[cfg(test)]
mod tests;
