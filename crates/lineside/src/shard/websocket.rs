//! Bytes from a browser to messages, by tungstenite, with nothing kept for an idle connection.
//!
//! A `WebSocketContext` lives only while a frame or a fragmented message is incomplete, or messages wait to be handled;
//! most of the time a connection owns none (figures in docs/decisions/0003-shards-without-tasks.md).
//!
//! It is held to RFC 6455 by the Autobahn test suite (`bin/test conformance`), with a limit that the suite's messages fit.

use std::io::{self, Read, Write};

use bytes::Bytes;
use lineside_protocol::codes::{
    CLOSE_INVALID_TEXT, CLOSE_PROTOCOL_ERROR, CLOSE_TOO_LARGE, CloseCode,
};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

/// Largest message from a browser, in bytes: a connect that names 256 channels, each with its name, cursor and channel
/// token in some 400 bytes.
pub const MESSAGE_BYTES_MAX: usize = 128 * 1024;

/// What tungstenite reads at a time, in bytes. Its default of 128 KiB is zeroed at every read.
const READ_BYTES: usize = 4 * 1024;

/// Longest head of a frame (RFC 6455 §5.2): two bytes, a length of eight and a mask of four.
const FRAME_HEAD_BYTES_MAX: usize = 14;

/// Smallest mean size of a message's fragments, in bytes, for one of the largest size: browsers send one fragment, and
/// empty ones would go on for ever under the limit of bytes.
const FRAGMENT_BYTES_MIN: usize = 128;

/// What one step of reading gave.
#[derive(Debug)]
pub enum Inbound {
    /// A whole text message.
    Text(Utf8Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping or pong, already dealt with.
    Control,
    /// The browser closes; our half of the closing handshake is among the replies.
    Closed,
    /// Nothing more without more bytes.
    Empty,
    /// The browser broke the protocol and must be told so.
    Broken(CloseCode),
}

/// The reading half of one connection, for messages of at most `BYTES_MAX` bytes; a null pointer while nothing is under way.
pub struct Reader<const BYTES_MAX: usize = MESSAGE_BYTES_MAX>(Option<Box<Busy>>);

struct Busy {
    context: WebSocketContext,
    /// Received, and not yet taken by the context.
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
            .field("resting", &self.0.is_none())
            .finish()
    }
}

impl<const BYTES_MAX: usize> Reader<BYTES_MAX> {
    /// Most fragments of one message.
    const FRAGMENTS_MAX: usize = BYTES_MAX / FRAGMENT_BYTES_MIN;

    /// Takes what the socket gave.
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

    /// Whether nothing is under way: no part of a frame, and no message that waits to be taken.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.0.is_none()
    }

    /// The next message. `reply` takes what tungstenite answers by itself: pongs, and the answer to a close.
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
            // Writes the answer; that it ends the context is no news.
            let _ended = self.context.flush(&mut memory);
        }
        let Memory { input, output } = memory;
        let taken = self.unread.len() - input.len();
        self.unread.drain(..taken);
        if !output.is_empty() {
            reply(output.into());
        }
        match read {
            Ok(Message::Text(text)) => Inbound::Text(text),
            Ok(Message::Binary(bytes)) => Inbound::Binary(bytes),
            Ok(Message::Close(_)) => Inbound::Closed,
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Inbound::Control,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Inbound::Empty,
            Err(Error::Capacity(_)) => Inbound::Broken(CLOSE_TOO_LARGE),
            Err(Error::Utf8(_)) => Inbound::Broken(CLOSE_INVALID_TEXT),
            Err(_) => Inbound::Broken(CLOSE_PROTOCOL_ERROR),
        }
    }
}

/// Every limit that tungstenite has; its defaults bound neither a message nor the memory that waits to be written.
fn config(bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(bytes_max)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .accept_unmasked_frames(false)
}

/// The socket as tungstenite sees it: what was received, and what it would write.
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

/// Follows the bytes of frames, to know when none is cut and no fragmented message is open.
#[derive(Default)]
struct Boundary {
    head: Vec<u8>,
    payload_left: u64,
    /// Of the message that is open; none when no message is.
    fragments: usize,
    is_lost: bool,
}

impl Boundary {
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.is_lost {
            let skipped = usize::try_from(self.payload_left)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            self.payload_left -= skipped as u64;
            bytes = &bytes[skipped..];
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
                }
                Ok(None) if self.head.len() < FRAME_HEAD_BYTES_MAX => {}
                // The context will say what is wrong with it.
                Ok(None) | Err(_) => self.is_lost = true,
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0 && self.fragments == 0 && !self.is_lost
    }
}

#[cfg(test)]
mod tests;
