//! A descriptor to poll that any thread can make readable: a pair of sockets, which every Unix has.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Wake;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

use crate::socket::NO_SIGNAL;

/// Wakes who polls it. Ringing twice before it is heard is ringing once.
#[derive(Debug)]
pub(crate) struct Bell {
    heard: UnixStream,
    rung: UnixStream,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let (heard, rung) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        rung.set_nonblocking(true)?;
        Ok(Self { heard, rung })
    }

    pub(crate) fn ring(&self) {
        let sent = send(self.rung.as_raw_fd(), &[1], NO_SIGNAL);
        // A bell that takes no more has been rung already.
        debug_assert!(matches!(sent, Ok(1) | Err(Errno::EAGAIN)), "{sent:?}");
    }

    /// Makes it silent again, before its owner looks for what it was rung for.
    pub(crate) fn hush(&self) {
        let mut rings = [0; 64];
        while recv(self.heard.as_raw_fd(), &mut rings, MsgFlags::MSG_DONTWAIT) == Ok(rings.len()) {}
    }

    /// Readable once rung.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }

    pub(crate) fn numbers(&self) -> [RawFd; 2] {
        [self.heard.as_raw_fd(), self.rung.as_raw_fd()]
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
