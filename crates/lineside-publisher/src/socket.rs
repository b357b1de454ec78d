//! The socket of the link: what differs from system to system stands here, and nowhere else.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, recv, send, shutdown};

use crate::link::Ended;

/// A write to a peer that is gone is an error, not a signal: SIGPIPE is Ruby's.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: MsgFlags = MsgFlags::MSG_DONTWAIT.union(MsgFlags::MSG_NOSIGNAL);
/// The standard library sets `SO_NOSIGPIPE` on every socket there.
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: MsgFlags = MsgFlags::MSG_DONTWAIT;

/// In place of a descriptor's number where there is none.
pub(crate) const NO_DESCRIPTOR: RawFd = -1;

/// Why there is no connection (any more): what happened, and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("no sidecar listens at {path} ({}): start it with `bundle exec lineside`", .errno.desc())]
    Absent { path: PathBuf, errno: Errno },
    #[error(
        "user {ours}, as whom this process runs, may not open {path}: run it as the same user as the sidecar, or set \
         LINESIDE_LINK for both to a place that is theirs"
    )]
    Barred { path: PathBuf, ours: u32 },
    #[error(
        "a process of user {theirs} listens at {path}, and this one runs as user {ours}, so nothing was sent: start the \
         sidecar as the same user, or set LINESIDE_LINK to a place of your own"
    )]
    Foreign {
        path: PathBuf,
        theirs: u32,
        ours: u32,
    },
    #[error("the sidecar closed the link: is it still running?")]
    Closed,
    #[error("the link failed ({}): is the sidecar still running?", .0.desc())]
    Failed(Errno),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Transport(broken.to_string())
    }
}

/// A connected, non-blocking Unix socket. While it is open its number stands in `number`, so that a forked child can close
/// its copy without a lock; the number is taken away before the descriptor is closed, never after.
#[derive(Debug)]
pub(crate) struct Socket<'a> {
    stream: UnixStream,
    number: &'a AtomicI32,
}

impl<'a> Socket<'a> {
    /// Connects, or fails at once; and makes sure that the process there began to listen as the same user, before anything
    /// is sent.
    pub(crate) fn open(path: &Path, number: &'a AtomicI32) -> Result<Self, Broken> {
        let ours = nix::unistd::geteuid().as_raw();
        let unopened = |errno| {
            let path = path.to_owned();
            match errno {
                Errno::EACCES => Broken::Barred { path, ours },
                _ => Broken::Absent { path, errno },
            }
        };
        let socket = connect(path, number).map_err(unopened)?;
        let theirs = peer_uid(&socket.stream).map_err(Broken::Failed)?;
        if theirs != ours {
            let path = path.to_owned();
            return Err(Broken::Foreign { path, theirs, ours });
        }
        Ok(socket)
    }

    /// Hands bytes to the kernel; returns how many it took, 0 when it takes none now.
    pub(crate) fn send(&self, bytes: &[u8]) -> nix::Result<usize> {
        match send(self.stream.as_raw_fd(), bytes, NO_SIGNAL) {
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
            other => other,
        }
    }

    /// Reads what there is; `None` when there is nothing now, `Some(0)` at the end.
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
        // A child that was forked meanwhile may hold a copy: only this ends the link for the sidecar.
        if let Err(errno) = shutdown(self.stream.as_raw_fd(), Shutdown::Both) {
            debug_assert_eq!(errno, Errno::ENOTCONN);
        }
    }
}

/// Waits until a descriptor is ready or the time is over. A signal ends the wait as [`Errno::EINTR`].
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], time: Option<Duration>) -> nix::Result<()> {
    // Rounded up: a wait that ends a moment too early would be repeated without a pause.
    let timeout = time.map(|time| {
        PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
    });
    poll(descriptors, timeout.unwrap_or(PollTimeout::NONE)).map(drop)
}

/// What is left until `deadline`; `None` when it has passed.
pub(crate) fn until(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}

/// Its number is known before it is connected, and a listener that accepts nobody is an error, not a wait.
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

/// The standard library's connect, which waits where the listener's queue is full.
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
