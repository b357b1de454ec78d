//! HTTP requests, written by hand so that tests can also send invalid ones.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::browser::Ending;
use super::{Browser, RawBrowser, Sidecar, TIMEOUT, token_for};

/// The example key of RFC 6455 §1.3, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// An HTTP request that has not been sent yet.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    port: u16,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
}

/// The response to a [`Request`].
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and header lines, as received.
    pub(crate) head: String,
    /// Everything up to the end of the connection; empty for an upgrade.
    pub(crate) body: String,
}

impl Sidecar {
    /// A valid upgrade request to this sidecar.
    pub(crate) fn request(&self) -> Request {
        let headers = [
            ("Host", format!("127.0.0.1:{}", self.port)),
            ("Upgrade", "websocket".into()),
            ("Connection", "Upgrade".into()),
            ("Sec-WebSocket-Version", "13".into()),
            ("Sec-WebSocket-Key", KEY.into()),
        ];
        Request {
            port: self.port,
            method: "GET",
            path: "/lineside".into(),
            headers: headers.into(),
        }
    }

    /// A browser that sent a `connect` with these fields and received its `welcome`.
    pub(crate) fn browser(&self, connect: Value) -> Browser {
        self.request().connect(connect).expect_welcome()
    }

    /// A connected browser of user 1, subscribed to the channel `a`.
    pub(crate) fn subscriber(&self) -> Browser {
        self.browser(json!({"token": token_for("1", &["a"], &[])}))
    }

    /// A raw browser after its upgrade, which has sent nothing yet.
    pub(crate) fn raw_browser(&self) -> RawBrowser {
        let (stream, response) = self.request().send();
        assert_eq!(response.status, 101, "{response:?}");
        RawBrowser::new(stream)
    }

    /// A TCP connection to the port for browsers.
    pub(crate) fn tcp(&self) -> TcpStream {
        tcp(self.port)
    }
}

impl Request {
    /// A request for a page, without an upgrade.
    pub(crate) fn get(port: u16, path: &str) -> Self {
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

    /// Adds a header line, even when one of that name exists.
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Removes all header lines of that name.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(it, _)| *it != name);
        self
    }

    /// Sends the request and reads the response: the head alone if the connection is upgraded, otherwise all of it.
    pub(crate) fn send(&self) -> (TcpStream, Response) {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut stream = tcp(self.port);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        let response = read_response(&mut stream);
        (stream, response)
    }

    /// Sends the request; the response must not be an upgrade.
    pub(crate) fn response(&self) -> Response {
        let (_, response) = self.send();
        assert_ne!(response.status, 101, "{response:?}");
        response
    }

    /// Opens a WebSocket and sends nothing on it.
    pub(crate) fn open(&self) -> Browser {
        let (stream, response) = self.send();
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(
            response.header("sec-websocket-accept").as_deref(),
            Some(ACCEPT)
        );
        // A small compressed frame can hold a huge message, so the sidecar never negotiates compression.
        assert_eq!(response.header("sec-websocket-extensions"), None);
        Browser::new(stream)
    }

    /// Opens a WebSocket and sends a `connect` with these fields.
    pub(crate) fn connect(&self, mut fields: Value) -> Browser {
        let mut browser = self.open();
        fields["type"] = json!("connect");
        browser.send(fields);
        browser
    }

    /// Connects with these fields; the sidecar must close with this code and send nothing before.
    #[track_caller]
    pub(crate) fn expect_refused(&self, connect: Value, code: u16) -> Ending {
        let ending = self.connect(connect).expect_close();
        assert_eq!((ending.code, &ending.before[..]), (code, &[][..]));
        ending
    }
}

impl Response {
    /// Value of a header line.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        Some(value.trim().to_owned())
    }
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Reads a response byte by byte, so that nothing after the head of an upgrade is consumed.
pub(crate) fn read_response(stream: &mut TcpStream) -> Response {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut byte).unwrap();
        assert_eq!(
            read,
            1,
            "the connection ended within the head of the response: {:?}",
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
    Response { status, head, body }
}
