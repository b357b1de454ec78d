//! Page that reconnects whenever its connection ends and resumes after its cursor, as docs/protocol.md describes under "Cursor
//! and resume". All that it sends and receives goes into the [`Record`].
//!
//! The page ignores `after_ms` and reconnects at once, which is harder on the sidecar than a correct client.

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

/// Delay between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);
/// Time after the heartbeat at which a silent connection is dead: docs/protocol.md, "Heartbeat".
const SILENCE: Duration = Duration::from_secs(10);

/// User of a page, and its channels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) user: String,
    /// `channels` of the token.
    pub(crate) channels: Vec<String>,
    /// `allow` of the token.
    pub(crate) allow: Vec<String>,
    /// Channels requested by name on each connect; `allow` has to cover them.
    pub(crate) subscribe: Vec<String>,
}

/// Open page; closed on drop.
pub(crate) struct Browser {
    page: Arc<Page>,
    thread: Option<JoinHandle<()>>,
}

/// State shared by the page's thread and the test.
struct Page {
    name: String,
    port: u16,
    record: Record,
    /// Next visitor, with the rendered cursor if the page is loaded for another user.
    visitor: Mutex<(Visitor, Option<String>)>,
    stream: Mutex<Option<TcpStream>>,
    is_closing: AtomicBool,
    progress: Progress,
}

/// Counts for which a test can wait.
#[derive(Default)]
struct Progress {
    messages: AtomicU64,
    /// Ids of the received markers.
    markers: Mutex<HashSet<String>>,
    /// Epoch of the connection, while there is one.
    epoch: Mutex<Option<String>>,
    welcomes: AtomicU64,
    recovered: AtomicU64,
    lost: AtomicU64,
}

impl Browser {
    /// Opens a page that connects to a port.
    pub(crate) fn open(name: &str, port: u16, visitor: Visitor, record: &Record) -> Self {
        let page = Arc::new(Page {
            name: name.into(),
            port,
            record: record.clone(),
            visitor: Mutex::new((visitor, None)),
            stream: Mutex::new(None),
            is_closing: AtomicBool::new(false),
            progress: Progress::default(),
        });
        let thread = std::thread::spawn({
            let page = Arc::clone(&page);
            move || page.run()
        });
        Self {
            page,
            thread: Some(thread),
        }
    }

    /// Number of messages received.
    pub(crate) fn messages(&self) -> u64 {
        self.page.progress.messages.load(Ordering::Relaxed)
    }

    /// Number of welcomes received.
    pub(crate) fn welcomes(&self) -> u64 {
        self.page.progress.welcomes.load(Ordering::Relaxed)
    }

    /// Number of connects answered with `recovered` true and false.
    pub(crate) fn resumes(&self) -> (u64, u64) {
        let progress = &self.page.progress;
        (
            progress.recovered.load(Ordering::Relaxed),
            progress.lost.load(Ordering::Relaxed),
        )
    }

    /// Epoch of the connection, while there is one.
    pub(crate) fn epoch(&self) -> Option<String> {
        self.page.progress.epoch.lock().unwrap().clone()
    }

    /// Returns true if the page has received the marker with that id.
    pub(crate) fn has_received(&self, id: &str) -> bool {
        self.page.progress.markers.lock().unwrap().contains(id)
    }

    /// Loads the page for another user, with a rendered cursor: closes the socket and reconnects.
    pub(crate) fn switch(&self, visitor: Visitor, cursor: String) {
        *self.page.visitor.lock().unwrap() = (visitor, Some(cursor));
        self.page.shut_down();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.page.is_closing.store(true, Ordering::Relaxed);
        self.page.shut_down();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

impl Page {
    fn shut_down(&self) {
        if let Some(stream) = &*self.stream.lock().unwrap() {
            // The connection may have ended already.
            stream.shutdown(Shutdown::Both).unwrap_or_default();
        }
    }

    fn run(&self) {
        let mut cursor = None;
        while !self.is_closing.load(Ordering::Relaxed) {
            match upgrade(self.port) {
                Ok(stream) => self.run_connection(stream, &mut cursor),
                // No listener, or the sidecar is draining.
                Err(_) => std::thread::park_timeout(PAUSE),
            }
        }
    }

    /// Runs one connection, from `connect` to its end.
    fn run_connection(&self, stream: TcpStream, cursor: &mut Option<String>) {
        // Stored first, so that `switch` and `drop` find a stream to shut down.
        *self.stream.lock().unwrap() = stream.try_clone().ok();
        let (visitor, rendered) = {
            let mut next = self.visitor.lock().unwrap();
            (next.0.clone(), next.1.take())
        };
        if self.is_closing.load(Ordering::Relaxed) {
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
                        self.receive(&envelope, cursor, &mut socket);
                    }
                    // Sends the pong. If that fails, the next read fails too.
                    Message::Ping(_) => socket.flush().unwrap_or_default(),
                    Message::Close(_) => {}
                    other => panic!("unexpected message {other:?}"),
                }
            }
        }
        *self.progress.epoch.lock().unwrap() = None;
        self.record.push(Event::Closed {
            browser: self.name.clone(),
        });
    }

    /// Returns the `connect` frame and records it.
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

    fn receive(
        &self,
        envelope: &Value,
        cursor: &mut Option<String>,
        socket: &mut WebSocket<TcpStream>,
    ) {
        self.record.received(&self.name, envelope);
        if let Some(given) = envelope["cursor"].as_str() {
            *cursor = Some(given.to_owned());
        }
        match envelope["type"].as_str().unwrap_or_default() {
            "welcome" => self.welcomed(envelope, socket),
            "message" => {
                self.progress.messages.fetch_add(1, Ordering::Relaxed);
                let id = envelope["data"]["id"].as_str().expect("an id");
                if id.starts_with(Record::MARKER) {
                    self.progress.markers.lock().unwrap().insert(id.to_owned());
                }
            }
            "ping" => {
                let pong = json!({"type": "pong", "cursor": cursor});
                // If that fails, the next read fails too.
                socket
                    .send(Message::text(pong.to_string()))
                    .unwrap_or_default();
            }
            "disconnect" | "caught_up" => {}
            other => panic!("unexpected envelope {other}: {envelope}"),
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
            Some(true) => self.progress.recovered.fetch_add(1, Ordering::Relaxed),
            Some(false) => self.progress.lost.fetch_add(1, Ordering::Relaxed),
            None => 0,
        };
        let (epoch, _) = welcome["cursor"]
            .as_str()
            .and_then(|it| it.split_once('.'))
            .expect("a cursor");
        *self.progress.epoch.lock().unwrap() = Some(epoch.to_owned());
        self.progress.welcomes.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens a socket and upgrades it to WebSocket.
fn upgrade(port: u16) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The nonce of RFC 6455 §1.3.
    write!(
        stream,
        "GET /lineside HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )?;
    // Byte by byte, so that frames after the head stay in the socket.
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
