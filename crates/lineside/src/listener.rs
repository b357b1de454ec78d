//! TCP listeners for browsers and operators.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::str::FromStr;
use std::task::Poll;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::log::{Level, event};

/// Length of the kernel's accept queue. After a restart all browsers reconnect at once.
const BACKLOG: u32 = 4096;

/// Delay after a failed accept, in milliseconds. Usually the process is out of file descriptors.
pub(crate) const ACCEPT_PAUSE_MS: u64 = 100;

/// Value of a bind setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindAddress {
    /// `none`: no listener.
    None,
    /// An address. Port 0 is any free port.
    At(SocketAddr),
}

impl FromStr for BindAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            address => address.parse().map(Self::At),
        }
    }
}

/// Bind setting of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bind {
    /// Name of the setting.
    pub(crate) setting: &'static str,
    /// Value of the setting.
    pub(crate) address: BindAddress,
    /// The value is not the default.
    pub(crate) is_chosen: bool,
}

/// A listener, or none.
#[derive(Debug)]
pub(crate) struct Listener(Option<TcpListener>);

impl Bind {
    /// Listens. If the default address is in use, logs a warning and runs without this listener, so that a second app on
    /// one machine can start. Must be called inside the runtime.
    ///
    /// # Errors
    /// One line that names the setting.
    pub(crate) fn listen(self) -> Result<Listener, String> {
        let BindAddress::At(address) = self.address else {
            return Ok(Listener(None));
        };
        let setting = self.setting;
        match listen(address) {
            Ok(listener) => Ok(Listener(Some(listener))),
            Err(error) if error.kind() == ErrorKind::AddrInUse && !self.is_chosen => {
                let remedy = format!(
                    "the address is in use, so this listener does not run; set {setting} to another address, or to none"
                );
                event!(Level::Warn, "address_taken", bind = address, remedy);
                Ok(Listener(None))
            }
            Err(error) => Err(format!(
                "cannot listen on {address}: {error}; set {setting} to another address, or to none"
            )),
        }
    }
}

impl Listener {
    /// Address, for the log.
    pub(crate) fn shown(&self) -> Result<String, String> {
        match &self.0 {
            None => Ok("none".to_owned()),
            Some(listener) => listener
                .local_addr()
                .map(|address| address.to_string())
                .map_err(|error| error.to_string()),
        }
    }

    /// The next connection, if one waits in the kernel.
    pub(crate) async fn accept_now(&self) -> Option<(TcpStream, SocketAddr)> {
        let listener = self.0.as_ref()?;
        let accepted = poll_fn(|context| Poll::Ready(listener.poll_accept(context))).await;
        match accepted {
            Poll::Ready(Ok(accepted)) => Some(accepted),
            // The next `accept` reports the error.
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    /// Next accepted connection.
    pub(crate) async fn accept(&self) -> (TcpStream, SocketAddr) {
        let Some(listener) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    event!(Level::Error, "accept_failed", error);
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
    // Allows to listen while connections of the previous sidecar are in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
