//! The HTTP request that opens a WebSocket, written by hand so that a test can write it wrongly.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{Browser, PATIENCE, RawBrowser, Sidecar, token_for};

/// The nonce of RFC 6455 §1.3, and the answer that it gives to it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Dial {
    port: u16,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

/// What the server said to it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// All header lines, as they came.
    pub(crate) head: String,
    /// Whatever came behind them until the server closed; empty for an upgrade.
    pub(crate) body: String,
}

impl Sidecar {
    /// A good upgrade request for this sidecar, to be changed.
    pub(crate) fn dial(&self) -> Dial {
        let headers = [
            ("Host", format!("127.0.0.1:{}", self.port)),
            ("Upgrade", "websocket".into()),
            ("Connection", "Upgrade".into()),
            ("Sec-WebSocket-Version", "13".into()),
            ("Sec-WebSocket-Key", KEY.into()),
        ];
        Dial {
            port: self.port,
            method: "GET",
            path: "/lineside".into(),
            headers: headers.into(),
        }
    }

    /// A connected browser: its first frame was a `connect` with these fields, and it was welcomed.
    pub(crate) fn browser(&self, connect: Value) -> Browser {
        let mut browser = self.dial().open();
        browser.send(connect_of(connect));
        browser.take_welcome()
    }

    /// A connected browser of user 1 that receives the channel `a`.
    pub(crate) fn subscriber(&self) -> Browser {
        self.browser(json!({"token": token_for("1", &["a"], &[])}))
    }

    /// A browser of these bytes' making, upgraded and silent.
    pub(crate) fn raw_browser(&self) -> RawBrowser {
        let (stream, answer) = self.dial().request();
        assert_eq!(answer.status, 101, "{answer:?}");
        RawBrowser::new(stream)
    }

    /// A bare connection to the port for browsers.
    pub(crate) fn tcp(&self) -> TcpStream {
        connect(self.port)
    }
}

/// The `connect` frame with these fields.
pub(crate) fn connect_of(mut fields: Value) -> Value {
    fields["type"] = json!("connect");
    fields
}

impl Dial {
    /// A request for a page, at any port.
    pub(crate) fn plain(port: u16, path: &str) -> Self {
        Self {
            port,
            method: "GET",
            path: path.into(),
            headers: vec![("Host", format!("127.0.0.1:{port}"))],
        }
    }

    pub(crate) fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    pub(crate) fn path(self, path: impl Into<String>) -> Self {
        let path = path.into();
        Self { path, ..self }
    }

    /// Adds a header line, also a second one of that name.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Leaves a header line out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(it, _)| *it != name);
        self
    }

    /// Sends it, and reads the head of the answer; all of the answer when it is no upgrade.
    pub(crate) fn request(&self) -> (TcpStream, Answer) {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut stream = connect(self.port);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        let answer = read_answer(&mut stream);
        (stream, answer)
    }

    /// What is answered to a request that must not open a socket.
    pub(crate) fn refused(&self) -> Answer {
        let (_, answer) = self.request();
        assert_ne!(answer.status, 101, "{answer:?}");
        answer
    }

    /// The socket that it opens, before anybody has said anything.
    pub(crate) fn open(&self) -> Browser {
        let (stream, answer) = self.request();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(
            answer.field("sec-websocket-accept").as_deref(),
            Some(ACCEPT)
        );
        // Compression would cost a bounded frame an unbounded message: it is never agreed to.
        assert_eq!(answer.field("sec-websocket-extensions"), None);
        Browser::new(stream)
    }
}

impl Answer {
    /// The value of the header field.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads byte for byte, so that nothing behind the head of an upgrade is taken.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut byte).unwrap();
        assert_eq!(
            read,
            1,
            "the answer ends with {:?}",
            String::from_utf8_lossy(&bytes)
        );
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = String::new();
    if status != 101 {
        stream.read_to_string(&mut body).unwrap();
    }
    Answer { status, head, body }
}
