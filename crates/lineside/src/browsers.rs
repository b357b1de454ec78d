//! Browsers: from a socket, accepted here or handed over by the app, to a shard, or to an HTTP answer that says why not.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::head::{HEAD_BYTES_MAX, Head, HeadError, Own};
use crate::inbox::{Arrival, Inbox, Place};
use crate::log::{Level, event};
use crate::settings::{HEALTH_PATH, Settings};

/// Upgrades under way at one time; each holds a head's buffer at most.
const HANDSHAKES_MAX: usize = 4096;

/// Time from the accept to a whole head, in milliseconds.
const HEAD_MS_MAX: u64 = 5000;

/// Time for an answer that is no upgrade, in milliseconds.
const ANSWER_MS_MAX: u64 = 1000;

/// Connections that the kernel holds until they are accepted: after a restart all come back at once.
const BACKLOG: u32 = 4096;

/// Seconds after which one that finds no place may try again.
const RETRY_AFTER_SECONDS: u32 = 5;

/// What is wrong with a request without an empty line.
const CUT_OFF: &str = "the request ends before its head does";

/// What every upgrade needs.
#[derive(Debug)]
pub(crate) struct Browsers {
    settings: Arc<Settings>,
    shards: Vec<Arc<Inbox>>,
    connections_max: usize,
    connections: Arc<AtomicUsize>,
    next_shard: AtomicUsize,
    handshakes: Arc<Semaphore>,
    draining: AtomicBool,
}

/// What a request becomes.
enum Judged {
    Upgrade(Upgrade),
    /// A look at `/up`.
    Look(Method),
}

/// A request that may become a connection.
struct Upgrade {
    answer: Vec<u8>,
    connect: Option<lineside_protocol::request::Connect>,
    place: Place,
}

impl Browsers {
    pub(crate) fn new(
        settings: Arc<Settings>,
        shards: Vec<Arc<Inbox>>,
        connections_max: usize,
    ) -> Self {
        Self {
            settings,
            shards,
            connections_max,
            connections: Arc::default(),
            next_shard: AtomicUsize::new(0),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            draining: AtomicBool::new(false),
        }
    }

    /// Listens on the address of the settings. Must be called inside the runtime.
    pub(crate) fn listen(settings: &Settings) -> io::Result<TcpListener> {
        let bind = settings.bind;
        let socket = if bind.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A successor may listen while connections of its predecessor still linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(bind)?;
        socket.listen(BACKLOG)
    }

    /// Accepts browsers for ever.
    pub(crate) async fn accept(self: &Arc<Self>, listener: &TcpListener) -> Infallible {
        loop {
            let handshakes = Arc::clone(&self.handshakes);
            let permit = handshakes.acquire_owned().await.expect("nobody closes it");
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let browsers = Arc::clone(self);
                    tokio::spawn(async move {
                        browsers.greet(stream, peer).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    event(Level::Error, "accept_failed", &[("error", &error)]);
                    // Without descriptors an accept fails at once, again and again; some are freed meanwhile.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// From now on nobody comes in, and `/up` says so, that a balancer looks elsewhere.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    async fn greet(&self, mut stream: TcpStream, peer: SocketAddr) {
        let deadline = Duration::from_millis(HEAD_MS_MAX);
        let read = match tokio::time::timeout(deadline, read_head(&mut stream)).await {
            // It went before it said anything: a balancer that looks whether somebody listens.
            Ok(Ok(None)) => return,
            Ok(Ok(Some(read))) => Ok(read),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(HeadError::new(
                408,
                format!("no whole request came within {HEAD_MS_MAX} ms"),
            )),
        };
        self.receive(stream, (peer, Own::Asked(peer.ip())), read)
            .await;
    }

    /// Serves a browser whose request the app has read, with what came behind the head.
    pub(crate) async fn adopt(&self, stream: TcpStream, from: (SocketAddr, Own), request: Vec<u8>) {
        let read = Head::parse(&request).and_then(|head| {
            let head = head.ok_or_else(|| HeadError::new(400, CUT_OFF))?;
            let behind = request[head.bytes..].to_vec();
            Ok((head, behind))
        });
        self.receive(stream, from, read).await;
    }

    /// Gives a browser to a shard, or its answer.
    async fn receive(
        &self,
        stream: TcpStream,
        (peer, own): (SocketAddr, Own),
        read: Result<(Head, Vec<u8>), HeadError>,
    ) {
        let outcome = read.and_then(|(head, rest)| Ok((self.judge(&head, &own)?, rest)));
        match outcome {
            Ok((Judged::Upgrade(upgrade), rest)) => {
                self.hand_over(stream, (peer, rest), upgrade).await;
            }
            Ok((Judged::Look(method), _)) => {
                let (status, text) = if self.draining.load(Ordering::Relaxed) {
                    (503, "draining")
                } else {
                    (200, "up")
                };
                answer(stream, &method, (status, text)).await;
            }
            Err(HeadError { status, message }) => {
                event(
                    Level::Warn,
                    "request_refused",
                    &[("peer", &peer), ("status", &status), ("message", &message)],
                );
                answer(stream, &Method::GET, (status, &message)).await;
            }
        }
    }

    /// Decides what a request becomes.
    fn judge(&self, head: &Head, own: &Own) -> Result<Judged, HeadError> {
        let path = head.request.uri().path();
        if path == HEALTH_PATH && matches!(*head.request.method(), Method::GET | Method::HEAD) {
            return Ok(Judged::Look(head.request.method().clone()));
        }
        if path != self.settings.path {
            return Err(HeadError::new(
                404,
                format!(
                    "nothing is at {path:?}; browsers connect to {}",
                    self.settings.path
                ),
            ));
        }
        if !head.is_upgrade() {
            return Err(HeadError::new(
                426,
                "this is a WebSocket; a proxy in between must pass Upgrade and Connection",
            ));
        }
        if self.draining.load(Ordering::Relaxed) {
            return Err(HeadError::new(
                503,
                "this server is stopping as planned; connect again",
            ));
        }
        head.check_origin(own, &self.settings)?;
        let answer = head.upgrade()?;
        let connect = head.connect()?;
        let place = Place::take(&self.connections, self.connections_max).ok_or_else(|| {
            let most = self.connections_max;
            HeadError::new(
                503,
                format!(
                    "{most} connections are open, and no more may be (LINESIDE_CONNECTIONS_MAX)"
                ),
            )
        })?;
        Ok(Judged::Upgrade(Upgrade {
            answer,
            connect,
            place,
        }))
    }

    /// Answers the upgrade and gives the socket to a shard.
    async fn hand_over(
        &self,
        mut stream: TcpStream,
        (peer, received): (SocketAddr, Vec<u8>),
        upgrade: Upgrade,
    ) {
        let Upgrade {
            answer,
            connect,
            place,
        } = upgrade;
        let deadline = Duration::from_millis(ANSWER_MS_MAX);
        let Ok(Ok(())) = tokio::time::timeout(deadline, stream.write_all(&answer)).await else {
            return;
        };
        // Frames are written whole; waiting for more would only delay them. A Unix socket never waits, and refuses.
        let _undelayed = stream.set_nodelay(true);
        let Ok(socket) = stream.into_std() else {
            return;
        };
        let turn = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[turn].arrive(Arrival {
            socket,
            peer,
            received,
            connect,
            place,
        });
    }
}

/// Reads a head and what came behind it; `None` when the other end said nothing.
async fn read_head(stream: &mut TcpStream) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(head) = Head::parse(&bytes)? {
            bytes.drain(..head.bytes);
            return Ok(Some((head, bytes)));
        }
        let room = HEAD_BYTES_MAX - bytes.len();
        match (&mut *stream).take(room as u64).read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(None),
            Ok(0) | Err(_) => {
                return Err(HeadError::new(400, CUT_OFF));
            }
        }
    }
}

/// Answers with a line of text, which a HEAD does without, and closes.
async fn answer(mut stream: TcpStream, method: &Method, (status, text): (u16, &str)) {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let retry = if status == 503 {
        format!("Retry-After: {RETRY_AFTER_SECONDS}\r\n")
    } else {
        String::new()
    };
    let upgrade = if status == 426 {
        "Upgrade: websocket\r\n"
    } else {
        ""
    };
    let bytes = text.len() + 1;
    let response = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {bytes}\r\n\
         Connection: close\r\n{retry}{upgrade}\r\n"
    );
    let body = if method == Method::HEAD {
        String::new()
    } else {
        format!("{text}\n")
    };
    let finish = async {
        stream.write_all((response + &body).as_bytes()).await?;
        stream.shutdown().await?;
        // Unread bytes would turn the close into a reset that takes the answer with it.
        tokio::io::copy(
            &mut stream.take(HEAD_BYTES_MAX as u64),
            &mut tokio::io::sink(),
        )
        .await
    };
    // Who does not wait for the answer gets none.
    let _told = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), finish).await;
}
