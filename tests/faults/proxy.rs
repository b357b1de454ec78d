//! A network that fails when a test says so: it stands between the ends of TCP or Unix sockets, and passes bytes on.
//!
//! What goes wrong is set for each direction ([`Way`]), of one [`Connection`] or of all, those to come included; and a
//! connection can be [ended](End) as networks end them. Nothing happens by chance: whoever wants chance draws it and says so.

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

/// Where a socket is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A port of 127.0.0.1.
    Tcp(u16),
    Unix(PathBuf),
}

/// What happens to the bytes of one direction. The default passes them on as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// How long each piece is held before it goes on. At most 16 KiB are under way at one time.
    pub(crate) delay: Duration,
    /// Trickle: no more than this many go on each second. Zero is no bound.
    pub(crate) bytes_per_second: u32,
    /// Slice: no write is longer than this. Zero is no bound.
    pub(crate) slice_bytes: usize,
    /// Nothing goes on, the end of the stream included, and nothing is lost: when it is lifted, what was held follows, as TCP
    /// sends again what was not acknowledged.
    pub(crate) blackhole: bool,
    /// The connection is cut behind this many bytes of it, wherever in a frame that is. Zero is no bound.
    pub(crate) cut_after_bytes: u64,
    /// Half-close: the receiver is told that nothing more comes, and nothing does.
    pub(crate) closed: bool,
}

/// Both directions, as seen from whoever connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// From who connected.
    pub(crate) up: Way,
    /// To who connected.
    pub(crate) down: Way,
}

impl Ways {
    /// The same both ways.
    pub(crate) fn both(way: Way) -> Self {
        Self { up: way, down: way }
    }

    /// The cable is pulled: nothing passes, and nobody is told.
    pub(crate) fn pulled() -> Self {
        Self::both(Way {
            blackhole: true,
            ..Way::default()
        })
    }
}

/// How a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both ends read the end of the stream.
    Cut,
    /// Both ends get a RST. Unix sockets know none: there it is a cut.
    Reset,
}

/// One connection that passes through.
pub(crate) struct Connection {
    ways: watch::Sender<Ways>,
    end: watch::Sender<Option<End>>,
}

impl Connection {
    pub(crate) fn set(&self, ways: Ways) {
        self.ways.send_replace(ways);
    }

    pub(crate) fn end(&self, end: End) {
        self.end.send_replace(Some(end));
    }

    /// Neither end has it any more.
    fn is_over(&self) -> bool {
        self.end.is_closed()
    }
}

/// The proxy; everything that passes through it ends when it is dropped.
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
    /// Of connections to come.
    ways: Ways,
    /// Connections to come are closed as soon as they are there.
    refusing: bool,
    connections: Vec<Arc<Connection>>,
    /// Connections so far, those that were refused not included.
    accepted: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Proxy {
    /// Listens on a port of the system's choice, for a server on that port of 127.0.0.1.
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
                // As servers and browsers do: what is sliced stays sliced.
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
            ways: Ways::default(),
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

    /// Where to connect.
    pub(crate) fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(port) => *port,
            Address::Unix(path) => panic!("{} has no port", path.display()),
        }
    }

    /// The server has moved: for connections to come.
    pub(crate) fn retarget(&self, port: u16) {
        self.shared.state().target = Address::Tcp(port);
    }

    /// For all connections, those to come included.
    pub(crate) fn set(&self, ways: Ways) {
        let mut state = self.shared.state();
        state.ways = ways;
        state.connections.iter().for_each(|it| it.set(ways));
    }

    /// Cuts connections to come behind so many bytes of what they send up or get down, zero being never.
    pub(crate) fn cut_next_after(&self, up_bytes: u64, down_bytes: u64) {
        let after = |cut_after_bytes| Way {
            cut_after_bytes,
            ..Way::default()
        };
        self.shared.state().ways = Ways {
            up: after(up_bytes),
            down: after(down_bytes),
        };
    }

    /// Closes connections to come as soon as they are there, or stops doing that.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.shared.state().refusing = refusing;
    }

    /// Ends all that there are.
    pub(crate) fn end(&self, end: End) {
        self.live().iter().for_each(|it| it.end(end));
    }

    /// Those that are open, the oldest first.
    pub(crate) fn live(&self) -> Vec<Arc<Connection>> {
        let mut state = self.shared.state();
        state.connections.retain(|it| !it.is_over());
        state.connections.clone()
    }

    /// How many have passed through so far.
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

/// Either kind, so that one function passes both on.
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Brings one client to the target. A target that is not there closes the connection, as a proxy does.
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
            if let Some((client, server)) = follow(client, server, &shared).await {
                // A socket that is closed without lingering sends RST instead of FIN.
                for socket in [client, server] {
                    socket.set_zero_linger().unwrap_or_default();
                }
            }
        }
        (Socket::Unix(client), Address::Unix(path)) => {
            if let Ok(server) = UnixStream::connect(path).await {
                drop(follow(client, server, &shared).await);
            }
        }
        (Socket::Tcp(_) | Socket::Unix(_), target) => panic!("{target:?} is of another kind"),
    }
}

/// Lists the connection, and passes its bytes on until it is over. Gives both sockets back when they are to be reset.
async fn follow<S>(client: S, server: S, shared: &Shared) -> Option<(S, S)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (ended, ending) = {
        let mut state = shared.state();
        let (ways, ways_seen) = watch::channel(state.ways);
        let (end, end_seen) = watch::channel(None);
        state.connections.push(Arc::new(Connection { ways, end }));
        state.accepted += 1;
        (ways_seen, end_seen)
    };
    pass(client, server, ended, ending).await
}
