//! The servers that are measured: the limits, the sidecar, and the peers that are installed.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lineside_publisher::{Publisher, Settings};
use lineside_token::{ConnectionDraft, Keys, sign_connection};
use tempfile::TempDir;

use super::cores;
use super::dialect::{Dialect, Page};
use super::peers;
use super::publishing::{Form, Publishing};
use crate::Outcome;
use crate::process;
use crate::sidecar::{SECRET, Sidecar};

/// Time-out of a start.
const READY_MAX: Duration = Duration::from_secs(30);
/// Time between two looks at a server that starts.
const POLL: Duration = Duration::from_millis(10);
/// Lifetime of tokens, in seconds.
const TOKEN_SECONDS: u64 = 3600;
/// The shared channel.
const SHARED: &str = "bench";

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Program {
    Limit,
    LimitCoalescing,
    Lineside,
    Nchan,
    Centrifugo,
    SocketIo,
    SocketIoRedis,
    ActionCable,
}

/// Every program, in the order of the tables.
pub(crate) const PROGRAMS: [Program; 8] = [
    Program::Limit,
    Program::LimitCoalescing,
    Program::Lineside,
    Program::Nchan,
    Program::Centrifugo,
    Program::SocketIo,
    Program::SocketIoRedis,
    Program::ActionCable,
];

impl Program {
    /// Name in arguments and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::LimitCoalescing => "limit-coalescing",
            Self::Lineside => "lineside",
            Self::Nchan => "nchan",
            Self::Centrifugo => "centrifugo",
            Self::SocketIo => "socketio",
            Self::SocketIoRedis => "socketio-redis",
            Self::ActionCable => "actioncable-redis",
        }
    }

    /// Whether it is another project's.
    pub(super) fn is_peer(self) -> bool {
        !matches!(self, Self::Limit | Self::LimitCoalescing | Self::Lineside)
    }

    /// Maximum number of pages. A server that needs minutes for more is measured with fewer, and left out of larger scenarios.
    pub(super) fn pages_max(self) -> usize {
        match self {
            Self::ActionCable => 1_000,
            _ => 18_000,
        }
    }

    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Limit | Self::LimitCoalescing => Dialect::Limit,
            Self::Lineside => Dialect::Lineside,
            Self::Nchan => Dialect::Nchan,
            Self::Centrifugo => Dialect::Centrifugo,
            Self::SocketIo | Self::SocketIoRedis => Dialect::SocketIo,
            Self::ActionCable => Dialect::ActionCable,
        }
    }

    /// Whether pages that reconnect with a cursor get what they missed.
    pub(super) fn resumes(self) -> bool {
        self == Self::Lineside
    }

    /// Publications in flight of a saturated shared channel: enough that the server never waits for one. Action Cable needs
    /// seconds for more.
    pub(super) fn window(self, subscribers: usize) -> u64 {
        match (self, subscribers) {
            (Self::ActionCable, _) => 2,
            (_, ..=2_000) => 32,
            _ => 8,
        }
    }

    /// Shared deliveries per second of the paced scenarios.
    pub(super) fn deliveries_per_second(self) -> u32 {
        match self {
            Self::ActionCable => 5_000,
            _ => 100_000,
        }
    }

    /// Channel that all pages share.
    pub(super) fn shared_channel(self) -> String {
        SHARED.into()
    }

    /// Channel of one page.
    pub(super) fn own_channel(self, number: usize) -> String {
        match self {
            Self::Lineside => format!("user:{number}"),
            _ => format!("u{number}"),
        }
    }

    /// A page of this channel, with a token of its user.
    pub(super) fn page(self, number: usize, channel: &str) -> Outcome<Page> {
        // The user's own channel is opened by `sub`. Readers of the shared channel are other users.
        let (sub, channels) = match channel.strip_prefix("user:") {
            Some(user) => (user.into(), Vec::new()),
            None => (format!("reader-{number}"), vec![channel.into()]),
        };
        let draft = ConnectionDraft {
            sub: Some(sub),
            channels,
            ttl_s: TOKEN_SECONDS,
            ..ConnectionDraft::default()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let token = sign_connection(
            draft,
            &Keys::parse(SECRET)?,
            u64::try_from(now.as_millis())?,
        )?;
        Ok(Page {
            channel: channel.into(),
            token,
            after: None,
        })
    }

    /// Reason for which the program cannot run here.
    pub(crate) fn missing(self) -> Option<String> {
        let wanted = peers::files(self);
        let missing = wanted.iter().find(|path| !path.exists())?;
        Some(format!(
            "{} is missing; run bin/bench peers",
            missing.display()
        ))
    }

    /// Starts the program on the server's core, and waits until it takes connections.
    pub(super) fn start(self) -> Outcome<Server> {
        let mut server = cores::on_server_core(|| self.spawn())?;
        server.start_emitter()?;
        if let Err(error) = server.wait_ready() {
            let log = fs::read_to_string(server.folder().join("log")).unwrap_or_default();
            return Err(format!("{}: {error}\n{log}", self.name()).into());
        }
        Ok(server)
    }

    fn spawn(self) -> Outcome<Server> {
        if self == Self::Lineside {
            let sidecar = Sidecar::start()?;
            return Ok(Server {
                program: self,
                port: sidecar.port,
                redis_port: None,
                sidecar: Some(sidecar),
                folder: None,
                children: Vec::new(),
            });
        }
        let folder = tempfile::Builder::new()
            .prefix("lineside-bench-")
            .tempdir()?;
        let mut server = Server {
            program: self,
            port: free_port()?,
            redis_port: None,
            sidecar: None,
            folder: Some(folder),
            children: Vec::new(),
        };
        if matches!(self, Self::SocketIoRedis | Self::ActionCable) {
            let port = free_port()?;
            server.redis_port = Some(port);
            let command = peers::redis(port);
            server.spawn(command)?;
            wait_port(port)?;
        }
        let command = if matches!(self, Self::Limit | Self::LimitCoalescing) {
            let mut command = Command::new(std::env::current_exe()?);
            let form = if self == Self::Limit {
                "write"
            } else {
                "coalesce"
            };
            command.args(["limit", &server.port.to_string(), "publications.sock", form]);
            command
        } else {
            peers::command(self, server.port, server.redis_port, server.folder())?
        };
        server.spawn(command)?;
        Ok(server)
    }
}

/// A running server; killed when dropped.
pub(super) struct Server {
    program: Program,
    pub(super) port: u16,
    redis_port: Option<u16>,
    sidecar: Option<Sidecar>,
    folder: Option<TempDir>,
    children: Vec<Child>,
}

impl Server {
    fn spawn(&mut self, mut command: Command) -> Outcome<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder().join("log"))?;
        let child = command
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        self.children.push(child);
        Ok(())
    }

    fn folder(&self) -> &Path {
        match (&self.folder, &self.sidecar) {
            (Some(folder), _) => folder.path(),
            (None, Some(sidecar)) => sidecar.folder(),
            (None, None) => Path::new("."),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder().join("publications.sock")
    }

    fn wait_ready(&mut self) -> Outcome<()> {
        wait_port(self.port)?;
        if self.publishes_by_socket() {
            let end = Instant::now() + READY_MAX;
            while !self.socket().exists() {
                if Instant::now() > end {
                    return Err(format!("no socket at {}", self.socket().display()).into());
                }
                std::thread::park_timeout(POLL);
            }
        }
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                return Err(format!("the server ended while it started: {status}").into());
            }
        }
        Ok(())
    }

    fn publishes_by_socket(&self) -> bool {
        matches!(
            self.program,
            Program::Limit | Program::LimitCoalescing | Program::SocketIo | Program::SocketIoRedis
        )
    }

    /// Opens the publishing end.
    pub(super) fn publishing(&mut self) -> Outcome<Publishing> {
        match self.program {
            Program::Lineside => {
                let link = self.sidecar.as_ref().map(Sidecar::link).unwrap_or_default();
                let publisher = Publisher::new(Settings::new(link, "bench"));
                publisher.connect()?;
                let end = Instant::now() + READY_MAX;
                while publisher.cursor().is_none() {
                    if Instant::now() > end {
                        return Err("the sidecar sent no welcome over the link".into());
                    }
                    std::thread::park_timeout(POLL);
                }
                Ok(Publishing::Link(Box::new(publisher)))
            }
            Program::Nchan => Publishing::tcp(self.port, Form::Nchan),
            Program::Centrifugo => Publishing::tcp(self.port, Form::Centrifugo),
            Program::ActionCable => {
                Publishing::tcp(self.redis_port.unwrap_or_default(), Form::Redis)
            }
            Program::Limit
            | Program::LimitCoalescing
            | Program::SocketIo
            | Program::SocketIoRedis => Publishing::unix(UnixStream::connect(self.socket())?),
        }
    }

    /// Starts the emitter of Socket.IO with Redis on the generator's core: its CPU time is not the server's.
    fn start_emitter(&mut self) -> Outcome<()> {
        if self.program == Program::SocketIoRedis {
            self.spawn(peers::emitter(self.redis_port.unwrap_or_default()))?;
        }
        Ok(())
    }

    /// Processes whose CPU time and memory count: the server's and its broker's.
    fn pids(&self) -> Vec<u32> {
        let roots = self
            .children
            .iter()
            .map(Child::id)
            .chain(self.sidecar.iter().map(Sidecar::pid));
        let count = if self.program == Program::SocketIoRedis {
            2
        } else {
            usize::MAX
        };
        roots.take(count).flat_map(process::tree).collect()
    }

    /// CPU time so far, in nanoseconds.
    pub(super) fn cpu_nanos(&self) -> u64 {
        self.pids().into_iter().map(process::cpu_nanos).sum()
    }

    /// Memory of its own, in bytes.
    pub(super) fn private_bytes(&self) -> u64 {
        self.pids().into_iter().map(process::private_bytes).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in &mut self.children {
            for pid in process::tree(child.id()).into_iter().skip(1) {
                process::kill(pid);
            }
            // It may have ended already.
            child.kill().unwrap_or_default();
            drop(child.wait());
        }
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

fn wait_port(port: u16) -> Outcome<()> {
    let end = Instant::now() + READY_MAX;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > end {
            return Err(format!("nothing listens at port {port}").into());
        }
        std::thread::park_timeout(POLL);
    }
    Ok(())
}
