//! Socket of the link. Only this module and `wake_fd` contain code for particular systems.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use crate::link::Ended;
use crate::remedy;

/// Flags of every send. A write to a closed peer returns an error instead of raising SIGPIPE in the Ruby process.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);
/// Flags of every send. On Apple systems the standard library sets `SO_NOSIGPIPE` on every socket.
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// Stands for "no descriptor".
pub(crate) const NO_DESCRIPTOR: RawFd = -1;

/// Reason for which the socket failed or could not be opened. The message includes the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Unopened(String),
    #[error("the sidecar closed the link: it has stopped, or its log says why")]
    Closed,
    #[error("the link failed ({}): is the sidecar still running?", .0.desc())]
    Failed(Errno),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Transport(broken.to_string())
    }
}

/// A connected, non-blocking Unix socket. `number` contains its descriptor while it is open, so that a forked child can
/// close its copy without a lock. `number` is cleared before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Socket<'a> {
    stream: UnixStream,
    number: &'a AtomicI32,
}

impl<'a> Socket<'a> {
    /// Connects without waiting, and checks that the listener was opened by the same user, before anything is sent.
    pub(crate) fn open(path: &Path, number: &'a AtomicI32) -> Result<Self, Broken> {
        let socket = connect(path, number)
            .map_err(|errno| Broken::Unopened(remedy::unopened(path, errno)))?;
        let theirs = peer_uid(&socket.stream).map_err(Broken::Failed)?;
        if theirs != nix::unistd::geteuid().as_raw() {
            return Err(Broken::Unopened(remedy::foreign(path, theirs)));
        }
        Ok(socket)
    }

    /// Sends bytes without waiting. Returns how many the kernel accepted; 0 if its buffer is full.
    pub(crate) fn send(&self, bytes: &[u8]) -> nix::Result<usize> {
        match send(self.stream.as_raw_fd(), bytes, NO_SIGNAL) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            other => other,
        }
    }

    /// Reads without waiting. Returns `None` if there is nothing to read, and `Some(0)` at the end of the stream.
    pub(crate) fn receive(&self, into: &mut [u8]) -> nix::Result<Option<usize>> {
        match recv(self.stream.as_raw_fd(), into, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        self.number.store(NO_DESCRIPTOR, Ordering::Release);
        // A forked child may hold a copy of the descriptor. A shutdown ends the link for the sidecar nevertheless.
        if let Err(errno) = shutdown(self.stream.as_raw_fd(), Shutdown::Both) {
            debug_assert_eq!(errno, Errno::ENOTCONN);
        }
    }
}

/// Waits until a descriptor is ready or the time has passed. A signal ends the wait with [`Errno::EINTR`].
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], time: Option<Duration>) -> nix::Result<()> {
    // Rounded up: a wait that ends early would spin.
    let timeout = time.map(|time| {
        PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    poll(descriptors, timeout.unwrap_or(PollTimeout::NONE)).map(drop)
}

/// Returns the time until `deadline`, or `None` if it has passed.
pub(crate) fn until(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}

/// Connects without waiting: a full queue of the listener is an error. Stores the descriptor before it connects.
#[cfg(target_os = "linux")]
fn connect<'a>(path: &Path, number: &'a AtomicI32) -> nix::Result<Socket<'a>> {
    use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let unconnected = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let socket = Socket {
        stream: unconnected.into(),
        number,
    };
    number.store(socket.stream.as_raw_fd(), Ordering::Release);
    socket::connect(socket.stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// Connects with the standard library, which waits if the listener's queue is full.
#[cfg(not(target_os = "linux"))]
fn connect<'a>(path: &Path, number: &'a AtomicI32) -> nix::Result<Socket<'a>> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    let stream = UnixStream::connect(path).map_err(errno)?;
    let socket = Socket { stream, number };
    number.store(socket.stream.as_raw_fd(), Ordering::Release);
    socket.stream.set_nonblocking(true).map_err(errno)?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
fn peer_uid(stream: &UnixStream) -> nix::Result<u32> {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    Ok(getsockopt(stream, PeerCredentials)?.uid())
}

#[cfg(not(target_os = "linux"))]
fn peer_uid(stream: &UnixStream) -> nix::Result<u32> {
    Ok(nix::unistd::getpeereid(stream)?.0.as_raw())
}
