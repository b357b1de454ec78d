//! A page that stays: it comes back whenever its connection ends, and resumes after its cursor, as docs/protocol.md has it under
//! "Cursor and resume". All it does and hears goes into the [`Record`].
//!
//! It differs from a well-behaved one in one thing: it comes back at once, whatever `after_ms` says, which is harder on the
//! sidecar.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

use crate::record::{Event, Record};
use crate::support::{PATIENCE, now_ms, sign};

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);
/// Beyond its heartbeat, a line on which nothing comes for so long is dead: docs/protocol.md, "Heartbeat".
const SILENCE: Duration = Duration::from_secs(10);

/// Whose page it is and what it asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) user: String,
    /// The token's `channels`.
    pub(crate) channels: Vec<String>,
    /// The token's `allow`.
    pub(crate) allow: Vec<String>,
    /// Asked for by name on each connect; `allow` has to cover them.
    pub(crate) subscribe: Vec<String>,
}

/// One page; it ends when it is dropped.
pub(crate) struct Browser {
    page: Arc<Page>,
    thread: Option<JoinHandle<()>>,
}

/// What the page's thread and the test share.
struct Page {
    name: String,
    port: u16,
    record: Record,
    /// With the cursor that the page was rendered with, when it was loaded anew for them.
    visitor: Mutex<(Visitor, Option<String>)>,
    stream: Mutex<Option<TcpStream>>,
    leaving: AtomicBool,
    heard: Heard,
}

/// What can be waited for.
#[derive(Default)]
struct Heard {
    messages: AtomicU64,
    /// Of publications that the test waits for, the ids.
    marks: Mutex<HashSet<String>>,
    /// Whether it is connected, and in which epoch.
    epoch: Mutex<Option<String>>,
    welcomes: AtomicU64,
    recovered: AtomicU64,
    lost: AtomicU64,
}

impl Browser {
    /// Opens a page that connects to that port.
    pub(crate) fn open(name: &str, port: u16, visitor: Visitor, record: &Record) -> Self {
        let page = Arc::new(Page {
            name: name.into(),
            port,
            record: record.clone(),
            visitor: Mutex::new((visitor, None)),
            stream: Mutex::new(None),
            leaving: AtomicBool::new(false),
            heard: Heard::default(),
        });
        let thread = std::thread::spawn({
            let page = Arc::clone(&page);
            move || page.stay()
        });
        Self {
            page,
            thread: Some(thread),
        }
    }

    /// Publications so far.
    pub(crate) fn messages(&self) -> u64 {
        self.page.heard.messages.load(Ordering::Relaxed)
    }

    /// Connections so far that were welcomed.
    pub(crate) fn welcomes(&self) -> u64 {
        self.page.heard.welcomes.load(Ordering::Relaxed)
    }

    /// Connects so far that were told `recovered`, and those that were told otherwise.
    pub(crate) fn resumes(&self) -> (u64, u64) {
        let heard = &self.page.heard;
        (
            heard.recovered.load(Ordering::Relaxed),
            heard.lost.load(Ordering::Relaxed),
        )
    }

    /// The epoch of its connection, while it has one.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.page.heard.epoch.lock().unwrap().clone()
    }

    /// Whether it has heard the publication with that id.
    pub(crate) fn has_heard(&self, id: &str) -> bool {
        self.page.heard.marks.lock().unwrap().contains(id)
    }

    /// Somebody else signs in: the socket is closed, and the page is loaded anew for them, with a cursor that is sampled by now.
    pub(crate) fn switch(&self, visitor: Visitor, cursor: String) {
        *self.page.visitor.lock().unwrap() = (visitor, Some(cursor));
        self.page.hang_up();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.page.leaving.store(true, Ordering::Relaxed);
        self.page.hang_up();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

impl Page {
    fn hang_up(&self) {
        if let Some(stream) = &*self.stream.lock().unwrap() {
            // It may have ended by itself.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    fn stay(&self) {
        let mut cursor = None;
        while !self.leaving.load(Ordering::Relaxed) {
            match upgrade(self.port) {
                Ok(stream) => self.converse(stream, &mut cursor),
                // Nobody listens, or it is draining.
                Err(_) => std::thread::park_timeout(PAUSE),
            }
        }
    }

    /// One connection, from its connect to its end.
    fn converse(&self, stream: TcpStream, cursor: &mut Option<String>) {
        // Before anything else: whoever switches or leaves from here on finds a stream to shut down.
        *self.stream.lock().unwrap() = stream.try_clone().ok();
        let (visitor, rendered) = {
            let mut next = self.visitor.lock().unwrap();
            (next.0.clone(), next.1.take())
        };
        if self.leaving.load(Ordering::Relaxed) {
            return;
        }
        if let Some(rendered) = rendered {
            self.record.push(Event::Fetched {
                browser: self.name.clone(),
                channels: Vec::new(),
                cursor: Some(rendered.clone()),
            });
            *cursor = Some(rendered);
        }
        let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
        let connect = self.connect(visitor, cursor.as_deref());
        if socket.send(Message::text(connect.to_string())).is_ok() {
            while let Ok(message) = socket.read() {
                match message {
                    Message::Text(text) => {
                        let envelope = serde_json::from_str(&text).expect(&text);
                        self.hear(&envelope, cursor, &mut socket);
                    }
                    // Sends the pong. Where that fails, so does the next read.
                    Message::Ping(_) => socket.flush().unwrap_or_default(),
                    Message::Close(_) => {}
                    other => panic!("a server of text sends {other:?}"),
                }
            }
        }
        *self.heard.epoch.lock().unwrap() = None;
        self.record.push(Event::Closed {
            browser: self.name.clone(),
        });
    }

    /// The `connect` frame, noted.
    fn connect(&self, visitor: Visitor, after: Option<&str>) -> Value {
        let issued_ms = now_ms();
        let token = sign(lineside_token::ConnectionDraft {
            sub: Some(visitor.user.clone()),
            channels: visitor.channels.clone(),
            allow: visitor.allow.clone(),
            ..lineside_token::ConnectionDraft::default()
        });
        let entries: Vec<_> = visitor
            .subscribe
            .iter()
            .map(|channel| json!({"channel": channel}))
            .collect();
        let mut connect = json!({"type": "connect", "token": token, "subscribe": entries});
        if let Some(after) = after {
            connect["after"] = json!(after);
        }
        self.record.push(Event::Connect {
            browser: self.name.clone(),
            user: Some(visitor.user),
            session: None,
            issued_ms,
            grants: [visitor.channels, visitor.allow].concat(),
            after: after.map(ToOwned::to_owned),
            subscribe: visitor
                .subscribe
                .into_iter()
                .map(|channel| lineside_tests::history::Channel {
                    channel,
                    after: None,
                })
                .collect(),
        });
        connect
    }

    fn hear(
        &self,
        envelope: &Value,
        cursor: &mut Option<String>,
        socket: &mut WebSocket<TcpStream>,
    ) {
        self.record.heard(&self.name, envelope);
        if let Some(given) = envelope["cursor"].as_str() {
            *cursor = Some(given.to_owned());
        }
        match envelope["type"].as_str().unwrap_or_default() {
            "welcome" => self.welcomed(envelope, socket),
            "message" => {
                self.heard.messages.fetch_add(1, Ordering::Relaxed);
                let id = envelope["data"]["id"].as_str().expect("an id");
                if id.starts_with(Record::MARK) {
                    self.heard.marks.lock().unwrap().insert(id.to_owned());
                }
            }
            "ping" => {
                let pong = json!({"type": "pong", "cursor": cursor});
                // Where that fails, so does the next read.
                socket
                    .send(Message::text(pong.to_string()))
                    .unwrap_or_default();
            }
            "disconnect" | "caught_up" => {}
            other => panic!("nobody asked for {other}: {envelope}"),
        }
    }

    fn welcomed(&self, welcome: &Value, socket: &mut WebSocket<TcpStream>) {
        assert_eq!(welcome["refused"], json!([]), "{welcome}");
        let heartbeat = Duration::from_secs(welcome["heartbeat"].as_u64().expect("a heartbeat"));
        socket
            .get_mut()
            .set_read_timeout(Some(heartbeat + SILENCE))
            .unwrap();
        match welcome["recovered"].as_bool() {
            Some(true) => self.heard.recovered.fetch_add(1, Ordering::Relaxed),
            Some(false) => self.heard.lost.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        let (epoch, _) = welcome["cursor"]
            .as_str()
            .and_then(|it| it.split_once('.'))
            .expect("a cursor");
        *self.heard.epoch.lock().unwrap() = Some(epoch.to_owned());
        self.heard.welcomes.fetch_add(1, Ordering::Relaxed);
    }
}

/// An upgraded socket.
fn upgrade(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The nonce is that of RFC 6455 §1.3; who else answers it is tested elsewhere.
    write!(
        stream,
        "GET /lineside HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    // Byte for byte, so that nothing behind the head is taken.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if head.starts_with(b"HTTP/1.1 101 ") {
        Ok(stream)
    } else {
        Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        ))
    }
}
