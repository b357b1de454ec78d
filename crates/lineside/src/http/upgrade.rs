//! Upgrade of browsers to WebSocket: from a socket, accepted or handed off, to a shard, or to an HTTP response with the
//! reason.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::Method;
use lineside_hub::{Memory, Stage};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::response::{RESPONSE_MS_MAX, Response, TRUNCATED, read_head};
use super::slots::Slots;
use super::waiting::{WAITING_MAX, Waiting};
use crate::descriptors::Budget;
use crate::dialects::Opening;
use crate::head::{Head, HeadError, ServerOrigin};
use crate::listener::Listener;
use crate::log::{Level, event};
use crate::metrics::RequestCounts;
use crate::settings::{HEALTH_PATH, Settings};
use crate::shard::{Arrival, Arrivals, Place};

/// Maximum number of requests under way. Each holds at most one head. A further one ends the oldest.
const HANDSHAKES_MAX: usize = 4096;

/// Maximum number of connections that are accepted before the next one is read. Accepting takes less time than reading, so a
/// flood waits where each address has its turn.
const ACCEPTS_MAX: usize = 8;

/// Upgrades of browsers, and the health check.
#[derive(Debug)]
pub(crate) struct Upgrades {
    settings: Arc<Settings>,
    shards: Vec<Arc<Arrivals>>,
    budget: Budget,
    memory: Arc<Memory>,
    connections: Arc<AtomicUsize>,
    next_shard: AtomicUsize,
    handshakes: Arc<Slots>,
    draining: AtomicBool,
    counts: Arc<RequestCounts>,
}

/// Decision on a request.
enum Decision {
    Upgrade(Upgrade),
    /// A health check with this method.
    Health(Method),
}

/// A request that becomes a connection.
struct Upgrade {
    answer: Vec<u8>,
    opening: Opening,
    place: Place,
}

/// Next connection to read. Takes everything that waits in the kernel first, up to [`ACCEPTS_MAX`], so that each address has its
/// turn.
async fn next(
    listener: &Listener,
    waiting: &mut Waiting<TcpStream>,
    waiting_max: usize,
) -> (TcpStream, SocketAddr) {
    for _ in 0..ACCEPTS_MAX {
        let Some((stream, peer)) = listener.accept_now().await else {
            break;
        };
        drop(waiting.push(stream, peer, waiting_max));
    }
    match waiting.pop() {
        Some(next) => next,
        None => listener.accept().await,
    }
}

impl Upgrades {
    pub(crate) fn new(
        settings: Arc<Settings>,
        shards: Vec<Arc<Arrivals>>,
        budget: Budget,
        memory: Arc<Memory>,
    ) -> Self {
        Self {
            settings,
            shards,
            budget,
            memory,
            connections: Arc::default(),
            next_shard: AtomicUsize::new(0),
            handshakes: Arc::default(),
            draining: AtomicBool::new(false),
            counts: Arc::default(),
        }
    }

    /// Accepts browsers until the sidecar stops.
    pub(crate) async fn accept(self: &Arc<Self>, listener: &Listener) -> Infallible {
        let mut waiting = Waiting::default();
        loop {
            // Waiting connections and requests under way share the file descriptors.
            let descriptors = self.requests_max();
            let waiting_max = (descriptors / 4).clamp(1, WAITING_MAX);
            let (stream, peer) = next(listener, &mut waiting, waiting_max).await;
            let requests_max = (descriptors - waiting_max).max(1);
            let (slot, ended) = self.handshakes.take(requests_max).await;
            if ended > 0 {
                let message = "too many requests are under way: the oldest, which are not complete, were closed";
                event!(Level::Warn, "request_ended", message, ended);
                (0..ended).for_each(|_| self.counts.refuse(408));
            }
            let upgrades = Arc::clone(self);
            tokio::spawn(slot.run(async move { upgrades.read_request(stream, peer).await }));
        }
    }

    /// Maximum number of requests under way, beside the connections that are open.
    pub(crate) fn requests_max(&self) -> usize {
        let connections = self.connections.load(Ordering::Relaxed);
        self.budget.requests_max(connections, HANDSHAKES_MAX)
    }

    /// Refuses further browsers, and reports it at `/up`, so that load balancers choose another server.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Response to a health check.
    pub(crate) fn health(&self) -> Response {
        if self.draining.load(Ordering::Relaxed) {
            Response::line(503, "draining")
        } else {
            Response::line(200, "up")
        }
    }

    /// Counters of requests.
    pub(crate) fn counts(&self) -> Arc<RequestCounts> {
        Arc::clone(&self.counts)
    }

    async fn read_request(&self, mut stream: TcpStream, peer: SocketAddr) {
        let Some(read) = read_head(&mut stream).await.transpose() else {
            return;
        };
        let server = ServerOrigin::OfRequest(peer.ip());
        let peer = read
            .as_ref()
            .map_or(peer, |(head, _)| head.client(peer, &self.settings));
        let read = read.and_then(|(head, rest)| Ok((self.decide(&head, &server)?, rest)));
        self.respond(stream, peer, read).await;
    }

    /// Serves a socket that the app handed over. `request` holds the head, and bytes behind it. `decided` is what the app has
    /// decided about a connection of Action Cable, whatever its path and origin.
    pub(crate) async fn adopt(
        &self,
        stream: TcpStream,
        (peer, server): (SocketAddr, ServerOrigin),
        request: Vec<u8>,
        decided: Option<Opening>,
    ) {
        self.counts.hand_offs.add(1);
        let read = Head::parse(&request).and_then(|head| {
            let head = head.ok_or_else(|| HeadError::new(400, TRUNCATED))?;
            let behind = request[head.bytes..].to_vec();
            let decision = match decided {
                Some(mut opening) => self.upgrade(&head, |head| {
                    opening.add_identities(head);
                    Ok(opening)
                }),
                None => self.decide(&head, &server),
            };
            Ok((decision?, behind))
        });
        self.respond(stream, peer, read).await;
    }

    /// Hands a browser to a shard, or sends a response.
    async fn respond(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        read: Result<(Decision, Vec<u8>), HeadError>,
    ) {
        match read {
            Ok((Decision::Upgrade(upgrade), rest)) => {
                self.hand_over(stream, (peer, rest), upgrade).await;
            }
            Ok((Decision::Health(method), _)) => {
                self.health().send(stream, &method).await;
            }
            Err(error) => {
                let HeadError { status, message } = &error;
                event!(Level::Warn, "request_refused", peer, status, message);
                self.counts.refuse(*status);
                Response::from(&error).send(stream, &Method::GET).await;
            }
        }
    }

    fn decide(&self, head: &Head, server: &ServerOrigin) -> Result<Decision, HeadError> {
        let path = head.request.uri().path();
        if path == HEALTH_PATH && matches!(*head.request.method(), Method::GET | Method::HEAD) {
            return Ok(Decision::Health(head.request.method().clone()));
        }
        // The app hands connections of Action Cable over with its decision about them.
        let is_cable = self.settings.is_cable(path) && matches!(server, ServerOrigin::OfRequest(_));
        if is_cable && !(head.is_upgrade() && head.request.method() == Method::GET) {
            return Err(HeadError::new(404, "this is the WebSocket of Action Cable"));
        }
        if !is_cable && !self.settings.is_websocket(path) {
            let Settings {
                path: own,
                cable_path,
                ..
            } = &*self.settings;
            let message = format!(
                "nothing is at {path:?}; browsers connect to {own}, and clients of Action Cable to {cable_path}"
            );
            return Err(HeadError::new(404, message));
        }
        self.upgrade(head, |head| {
            Opening::of_request(head, server, &self.settings)
        })
    }

    /// Upgrades a request to WebSocket, if the sidecar takes a further connection.
    fn upgrade(
        &self,
        head: &Head,
        open: impl FnOnce(&Head) -> Result<Opening, HeadError>,
    ) -> Result<Decision, HeadError> {
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
        if self.memory.is_short(Stage::Connections) {
            self.memory.note(Stage::Connections, 1);
            return Err(HeadError::new(
                503,
                "this server has too little memory for more connections (LINESIDE_MEMORY_MAX)",
            ));
        }
        let opening = open(head)?;
        let answer = head.upgrade(opening.subprotocol())?;
        let place = Place::take(&self.connections, self.budget.connections_max).ok_or_else(|| {
            let most = self.budget.connections_max;
            HeadError::new(
                503,
                format!(
                    "{most} connections are open, which is the maximum (LINESIDE_CONNECTIONS_MAX)"
                ),
            )
        })?;
        Ok(Decision::Upgrade(Upgrade {
            answer,
            opening,
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
            opening,
            place,
        } = upgrade;
        let deadline = Duration::from_millis(RESPONSE_MS_MAX);
        let Ok(Ok(())) = tokio::time::timeout(deadline, stream.write_all(&answer)).await else {
            return;
        };
        // Frames are written whole, so Nagle's algorithm would only delay them. A Unix socket has none, and returns an error.
        let _undelayed = stream.set_nodelay(true);
        let Ok(socket) = stream.into_std() else {
            return;
        };
        let turn = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[turn].push(Arrival {
            socket,
            peer,
            received,
            opening,
            place,
        });
    }
}
