//! A browser that sends arbitrary bytes.

use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use serde_json::{Value, json};

use super::TIMEOUT;

/// Masking key of all frames (RFC 6455 §5.3).
const MASK: [u8; 4] = [1, 2, 3, 4];

/// A masked frame with this first byte (FIN, RSV and opcode) and payload.
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

/// One connection, after its upgrade.
pub(crate) struct RawBrowser {
    pub(crate) stream: TcpStream,
    /// Bytes read from the stream and not parsed yet.
    unparsed: Cursor<Vec<u8>>,
}

impl RawBrowser {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unparsed: Cursor::default(),
        }
    }

    /// Puts back bytes that the test read from the stream itself.
    pub(crate) fn with_unparsed(self, bytes: Vec<u8>) -> Self {
        Self {
            unparsed: Cursor::new(bytes),
            ..self
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(&frame(0x81, text.as_bytes()));
    }

    /// Sends a `connect` with these fields and receives the `welcome`.
    pub(crate) fn connect(mut self, mut fields: Value) -> Self {
        fields["type"] = json!("connect");
        self.send_text(&fields.to_string());
        let (opcode, welcome) = self.next().expect("a welcome");
        let welcome: Value = serde_json::from_slice(&welcome).unwrap();
        assert_eq!((opcode, &welcome["type"]), (1, &Value::from("welcome")));
        self
    }

    /// Receives a frame; returns its opcode and payload, or `None` at the end of the connection.
    pub(crate) fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.read(2)?;
        assert_eq!(head[0] & 0xf0, 0x80, "the frame is not a whole message");
        assert_eq!(head[1] & 0x80, 0, "the frame is masked");
        let length = match head[1] {
            126 => u16::from_be_bytes(self.read(2)?.try_into().unwrap()).into(),
            127 => usize::try_from(u64::from_be_bytes(self.read(8)?.try_into().unwrap())).unwrap(),
            short => short.into(),
        };
        Some((head[0] & 0x0f, self.read(length)?))
    }

    fn read(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match (&mut self.unparsed)
            .chain(&self.stream)
            .read_exact(&mut bytes)
        {
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

    /// Receives everything up to the end of the connection, without answering pings. Returns the code of the close frame
    /// and the envelopes before it.
    pub(crate) fn read_to_end(&mut self) -> (Option<u16>, Vec<Value>) {
        let end = Instant::now() + TIMEOUT;
        let (mut is_closed, mut code) = (false, None);
        let mut texts = Vec::new();
        while let Some((opcode, payload)) = self.next() {
            assert!(Instant::now() < end, "the connection does not end");
            assert!(!is_closed, "after the close frame: {opcode} {payload:?}");
            match opcode {
                1 => texts.push(serde_json::from_slice(&payload).unwrap()),
                8 => {
                    is_closed = true;
                    code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    // The sidecar may have closed the connection already.
                    self.stream.shutdown(Shutdown::Write).unwrap_or_default();
                }
                9 | 10 => {}
                other => panic!("unexpected opcode {other}"),
            }
        }
        (code, texts)
    }
}
