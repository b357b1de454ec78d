//! Browsers: from a socket, accepted here or handed over by the app, to a shard, or to an HTTP answer that says why not.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::http::exchange::{ANSWER_MS_MAX, Answer, CUT_OFF, read_head};
use crate::http::head::{Head, HeadError, Own};
use crate::listener::Listener;
use crate::log::{Level, event};
use crate::metrics::RequestCounts;
use crate::settings::{HEALTH_PATH, Settings};
use crate::shard::inbox::{Arrival, Inbox, Place};

/// Upgrades under way at one time; each holds a head's buffer at most.
const HANDSHAKES_MAX: usize = 4096;

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
    counts: Arc<RequestCounts>,
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
    identity: Option<Box<str>>,
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
            counts: Arc::default(),
        }
    }

    /// Accepts browsers for ever.
    pub(crate) async fn accept(self: &Arc<Self>, listener: &Listener) -> Infallible {
        loop {
            let handshakes = Arc::clone(&self.handshakes);
            let permit = handshakes.acquire_owned().await.expect("nobody closes it");
            let (stream, peer) = listener.accept().await;
            let browsers = Arc::clone(self);
            tokio::spawn(async move {
                browsers.greet(stream, peer).await;
                drop(permit);
            });
        }
    }

    /// From now on nobody comes in, and `/up` says so, that a balancer looks elsewhere.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The answer to a health check.
    pub(crate) fn health(&self) -> Answer {
        if self.draining.load(Ordering::Relaxed) {
            Answer::line(503, "draining")
        } else {
            Answer::line(200, "up")
        }
    }

    /// What is counted of requests.
    pub(crate) fn counts(&self) -> Arc<RequestCounts> {
        Arc::clone(&self.counts)
    }

    async fn greet(&self, mut stream: TcpStream, peer: SocketAddr) {
        let Some(read) = read_head(&mut stream).await.transpose() else {
            return;
        };
        let own = Own::Asked(peer.ip());
        let peer = read
            .as_ref()
            .map_or(peer, |(head, _)| head.client(peer, &self.settings));
        self.receive(stream, (peer, own), read).await;
    }

    /// Serves a browser whose request the app has read, with what came behind the head.
    pub(crate) async fn adopt(&self, stream: TcpStream, from: (SocketAddr, Own), request: Vec<u8>) {
        self.counts.hand_offs.add(1);
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
                self.health().send(stream, &method).await;
            }
            Err(error) => {
                let HeadError { status, message } = &error;
                event(
                    Level::Warn,
                    "request_refused",
                    &[("peer", &peer), ("status", status), ("message", message)],
                );
                self.counts.refuse(*status);
                Answer::from(&error).send(stream, &Method::GET).await;
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
        let identity = head.identity().map(Box::from);
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
            identity,
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
            identity,
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
            identity,
            place,
        });
    }
}
