//! Listening on TCP: for browsers, and for operators.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::log::{Level, event};

/// Connections that the kernel holds until they are accepted: after a restart all come back at once.
const BACKLOG: u32 = 4096;

/// How long is waited after a failed accept, in milliseconds: without descriptors it fails at once, again and again, and
/// some are freed meanwhile.
const ACCEPT_PAUSE_MS: u64 = 100;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `none`.
    Nowhere,
    /// An address, of which port 0 is any.
    At(SocketAddr),
}

impl FromStr for Place {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nowhere),
            address => address.parse().map(Self::At),
        }
    }
}

/// Where to listen, and who says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bind {
    /// The setting that decides it.
    pub(crate) setting: &'static str,
    /// What it is.
    pub(crate) place: Place,
    /// Somebody chose it, so nothing else will do.
    pub(crate) is_chosen: bool,
}

/// A listener, or none where there is to be none.
#[derive(Debug)]
pub(crate) struct Listener(Option<TcpListener>);

impl Bind {
    /// Listens. Where nobody chose the address and another process has it, it is done without, and said so: a second app
    /// on one machine runs all the same. Must be called inside the runtime.
    ///
    /// # Errors
    /// One line that names the setting.
    pub(crate) fn listen(self) -> Result<Listener, String> {
        let Place::At(address) = self.place else {
            return Ok(Listener(None));
        };
        let setting = self.setting;
        match listen(address) {
            Ok(listener) => Ok(Listener(Some(listener))),
            Err(error) if error.kind() == ErrorKind::AddrInUse && !self.is_chosen => {
                let remedy = format!(
                    "another process has it, so this one does without; set {setting} to another address, or to none"
                );
                event(
                    Level::Warn,
                    "address_taken",
                    &[("bind", &address), ("remedy", &remedy)],
                );
                Ok(Listener(None))
            }
            Err(error) => Err(format!(
                "cannot listen on {address}: {error}; set {setting} to another address, or to none"
            )),
        }
    }
}

impl Listener {
    /// Where it listens, in words.
    pub(crate) fn shown(&self) -> Result<String, String> {
        match &self.0 {
            None => Ok("none".to_owned()),
            Some(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .map_err(|error| error.to_string()),
        }
    }

    /// The next who connects.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr) {
        let Some(listener) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    event(Level::Error, "accept_failed", &[("error", &error)]);
                    tokio::time::sleep(std::time::Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A successor may listen while connections of its predecessor still linger in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
