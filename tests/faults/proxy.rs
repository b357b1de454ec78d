//! Proxy for TCP and Unix sockets with faults that a test sets.
//!
//! Faults are set for each direction ([`Direction`]), for one [`Connection`] or for all present and future ones. A test can also
//! [end](End) a connection. The proxy makes no random choices.

mod pump;
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use pump::pass;

/// Address of a socket.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A port of 127.0.0.1.
    Tcp(u16),
    Unix(PathBuf),
}

/// Faults of one direction. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Direction {
    /// Delay of each piece. At most 16 KiB are held at a time.
    pub(crate) delay: Duration,
    /// Maximum rate. Zero is unlimited.
    pub(crate) bytes_per_second: u32,
    /// Maximum size of a write. Zero is unlimited.
    pub(crate) slice_bytes: usize,
    /// Holds all bytes and the end of the stream. They pass once this is unset, as TCP retransmits unacknowledged bytes.
    pub(crate) blackhole: bool,
    /// Number of bytes after which the connection is cut. Zero is never.
    pub(crate) cut_after_bytes: u64,
    /// Half-close: the receiver reads the end of the stream.
    pub(crate) closed: bool,
}

/// Faults of both directions of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directions {
    /// From client to server.
    pub(crate) up: Direction,
    /// From server to client.
    pub(crate) down: Direction,
}

impl Directions {
    /// The same faults in both directions.
    pub(crate) fn both(direction: Direction) -> Self {
        Self {
            up: direction,
            down: direction,
        }
    }

    /// Black hole in both directions, as when a cable is pulled.
    pub(crate) fn black_hole() -> Self {
        Self::both(Direction {
            blackhole: true,
            ..Direction::default()
        })
    }
}

/// End of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both ends read the end of the stream.
    Cut,
    /// Both ends receive a RST. A cut for Unix sockets, which have none.
    Reset,
}

/// Proxied connection.
pub(crate) struct Connection {
    directions: watch::Sender<Directions>,
    end: watch::Sender<Option<End>>,
}

impl Connection {
    pub(crate) fn set(&self, directions: Directions) {
        self.directions.send_replace(directions);
    }

    pub(crate) fn end(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    /// Returns true if the connection has ended.
    fn is_over(&self) -> bool {
        self.end.is_closed()
    }
}

/// Proxy. Ends all connections on drop.
pub(crate) struct Proxy {
    address: Address,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    state: Mutex<State>,
}

struct State {
    target: Address,
    /// Faults of new connections.
    directions: Directions,
    /// True if new connections are closed at once.
    refusing: bool,
    connections: Vec<Arc<Connection>>,
    /// Number of connections so far, without refused ones.
    accepted: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Proxy {
    /// Listens on a free port, for a server on port `target` of 127.0.0.1.
    pub(crate) fn tcp(target: u16) -> Self {
        let runtime = runtime();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", 0)))
            .unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap().port());
        let proxy = Self::new(address, Address::Tcp(target), runtime);
        let shared = Arc::clone(&proxy.shared);
        proxy.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Keeps slices separate, as servers and browsers do.
                client.set_nodelay(true).unwrap_or_default();
                tokio::spawn(serve(Socket::Tcp(client), Arc::clone(&shared)));
            }
        });
        proxy
    }

    /// Listens at `path`, for a server at `target`.
    pub(crate) fn unix(path: PathBuf, target: PathBuf) -> Self {
        let runtime = runtime();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&path).unwrap()
        };
        let proxy = Self::new(Address::Unix(path), Address::Unix(target), runtime);
        let shared = Arc::clone(&proxy.shared);
        proxy.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(Socket::Unix(client), Arc::clone(&shared)));
            }
        });
        proxy
    }

    fn new(address: Address, target: Address, runtime: Runtime) -> Self {
        let state = State {
            target,
            directions: Directions::default(),
            refusing: false,
            connections: Vec::new(),
            accepted: 0,
        };
        Self {
            address,
            shared: Arc::new(Shared {
                state: Mutex::new(state),
            }),
            runtime: Some(runtime),
        }
    }

    fn spawn(&self, accepting: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.as_ref().map(|it| it.spawn(accepting)));
    }

    /// Port of the proxy.
    pub(crate) fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(port) => *port,
            Address::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// Changes the port of the server for new connections.
    pub(crate) fn retarget(&self, port: u16) {
        self.shared.state().target = Address::Tcp(port);
    }

    /// Sets the faults of all present and future connections.
    pub(crate) fn set(&self, directions: Directions) {
        let mut state = self.shared.state();
        state.directions = directions;
        state.connections.iter().for_each(|it| it.set(directions));
    }

    /// Cuts new connections after a number of bytes up or down. Zero is never.
    pub(crate) fn cut_next_after(&self, up_bytes: u64, down_bytes: u64) {
        let after = |cut_after_bytes| Direction {
            cut_after_bytes,
            ..Direction::default()
        };
        self.shared.state().directions = Directions {
            up: after(up_bytes),
            down: after(down_bytes),
        };
    }

    /// Sets whether new connections are closed at once.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.state().refusing = refusing;
    }

    /// Ends all open connections.
    pub(crate) fn end(&self, end: End) {
        self.live().iter().for_each(|it| it.end(end));
    }

    /// Returns the open connections, the oldest first.
    pub(crate) fn live(&self) -> Vec<Arc<Connection>> {
        let mut state = self.shared.state();
        state.connections.retain(|it| !it.is_over());
        state.connections.clone()
    }

    /// Number of connections so far, without refused ones.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.state().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("proxy")
        .enable_all()
        .build()
        .unwrap()
}

/// Socket of either kind.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects a client to the target. Closes the client if the target cannot be reached.
async fn serve(client: Socket, shared: Arc<Shared>) {
    let target = {
        let state = shared.state();
        if state.refusing {
            return;
        }
        state.target.clone()
    };
    match (client, target) {
        (Socket::Tcp(client), Address::Tcp(port)) => {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            server.set_nodelay(true).unwrap_or_default();
            if let Some((client, server)) = forward(client, server, &shared).await {
                // Closing without lingering sends RST instead of FIN.
                for socket in [client, server] {
                    socket.set_zero_linger().unwrap_or_default();
                }
            }
        }
        (Socket::Unix(client), Address::Unix(path)) => {
            if let Ok(server) = UnixStream::connect(path).await {
                drop(forward(client, server, &shared).await);
            }
        }
        (Socket::Tcp(_) | Socket::Unix(_), target) => {
            panic!("{target:?} is no address of this kind of socket")
        }
    }
}

/// Registers a connection and forwards its bytes until it ends. Returns both sockets if they must be reset.
async fn forward<S>(client: S, server: S, shared: &Shared) -> Option<(S, S)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (directions_seen, end_seen) = {
        let mut state = shared.state();
        let (directions, directions_seen) = watch::channel(state.directions);
        let (end, end_seen) = watch::channel(None);
        state
            .connections
            .push(Arc::new(Connection { directions, end }));
        state.accepted += 1;
        (directions_seen, end_seen)
    };
    pass(client, server, directions_seen, end_seen).await
}
