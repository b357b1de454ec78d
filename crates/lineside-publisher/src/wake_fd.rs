//! File descriptor that any thread can make readable, to end another thread's poll. A socket pair, available on every
//! Unix.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Wake;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::socket::NO_SIGNAL;

/// Wakes the thread that polls it. Several notifications before a [`clear`](Self::clear) count as one.
#[derive(Debug)]
pub(crate) struct WakeFd {
    readable: UnixStream,
    writable: UnixStream,
}

impl WakeFd {
    pub(crate) fn new() -> io::Result<Self> {
        let (readable, writable) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        writable.set_nonblocking(true)?;
        Ok(Self { readable, writable })
    }

    /// Makes the descriptor readable.
    pub(crate) fn notify(&self) {
        let sent = send(self.writable.as_raw_fd(), &[1], NO_SIGNAL);
        // A full buffer is readable already.
        debug_assert!(matches!(sent, Ok(1) | Err(Errno::EAGAIN)), "{sent:?}");
    }

    /// Discards all notifications. The owner calls this before it looks for work, so that none is missed.
    pub(crate) fn clear(&self) {
        let mut bytes = [0; 64];
        while recv(
            self.readable.as_raw_fd(),
            &mut bytes,
            MsgFlags::MSG_DONTWAIT,
        ) == Ok(bytes.len())
        {}
    }

    /// Returns the descriptor to poll. It is readable after a notification.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    /// Returns the numbers of both descriptors.
    pub(crate) fn raw_fds(&self) -> [RawFd; 2] {
        [self.readable.as_raw_fd(), self.writable.as_raw_fd()]
    }
}

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
