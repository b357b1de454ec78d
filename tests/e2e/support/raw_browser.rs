//! A browser that sends whatever bytes it likes.

use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::Value;

use super::PATIENCE;

/// Whatever the client sends is masked with this (RFC 6455 §5.3).
const MASK: [u8; 4] = [1, 2, 3, 4];

/// A frame with this first byte (FIN, RSV and opcode) and payload, masked.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ ..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        medium @ ..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A socket after its upgrade.
pub(crate) struct RawBrowser {
    pub(crate) stream: TcpStream,
    /// Read from it already, and not yet understood.
    taken: Cursor<Vec<u8>>,
}

impl RawBrowser {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            taken: Cursor::default(),
        }
    }

    /// The same, of which these bytes were read.
    pub(crate) fn begun_with(self, taken: Vec<u8>) -> Self {
        Self {
            taken: Cursor::new(taken),
            ..self
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(&frame(0x81, text.as_bytes()));
    }

    /// Connects anonymously.
    pub(crate) fn connected(mut self) -> Self {
        self.send_text(r#"{"type":"connect"}"#);
        let (opcode, welcome) = self.next().expect("a welcome");
        let welcome: Value = serde_json::from_slice(&welcome).unwrap();
        assert_eq!((opcode, &welcome["type"]), (1, &Value::from("welcome")));
        self
    }

    /// The next frame's opcode and payload; none when the connection ended.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.take(2)?;
        assert_eq!(head[0] & 0xf0, 0x80, "a server's frames are whole");
        assert_eq!(head[1] & 0x80, 0, "a server's frames are not masked");
        let length = match head[1] {
            126 => u16::from_be_bytes(self.take(2)?.try_into().unwrap()).into(),
            127 => usize::try_from(u64::from_be_bytes(self.take(8)?.try_into().unwrap())).unwrap(),
            short => short.into(),
        };
        Some((head[0] & 0x0f, self.take(length)?))
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match (&mut self.taken).chain(&self.stream).read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) =>
            {
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Hears it to its end without answering anything but a close, by the end of the socket; gives the close frame's code
    /// and the texts before it.
    pub(crate) fn ended(&mut self) -> (Option<u16>, Vec<Value>) {
        let end = Instant::now() + PATIENCE;
        let (mut is_closed, mut code) = (false, None);
        let mut texts = Vec::new();
        while let Some((opcode, payload)) = self.next() {
            assert!(Instant::now() < end, "it does not end");
            assert!(!is_closed, "behind the close frame: {opcode} {payload:?}");
            match opcode {
                1 => texts.push(serde_json::from_slice(&payload).unwrap()),
                8 => {
                    is_closed = true;
                    code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    // The server may have closed all of it already.
                    self.stream.shutdown(Shutdown::Write).unwrap_or_default();
                }
                9 | 10 => {}
                other => panic!("a frame of the opcode {other}"),
            }
        }
        (code, texts)
    }
}
