//! File descriptor that any thread can make readable, to end another thread's poll.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::task::Wake;

#[cfg(target_os = "linux")]
pub(crate) use event::WakeFd;
#[cfg(not(target_os = "linux"))]
pub(crate) use pair::WakeFd;

/// Number of descriptors of a [`WakeFd`].
pub(crate) const DESCRIPTORS: usize = if cfg!(target_os = "linux") { 1 } else { 2 };

impl Wake for WakeFd {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// Uses eventfd(2), because a publish that wakes the writer by a socket pair takes 1.1 to 1.6 times as
/// long (docs/decisions/0008-spool-and-one-thread.md).
#[cfg(target_os = "linux")]
mod event {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

    use nix::errno::Errno;
    use nix::sys::eventfd::{EfdFlags, EventFd};

    use super::{DESCRIPTORS, RawFd, io};

    /// Wakes the thread that polls it. Several notifications before a [`clear`](Self::clear) count as one.
    #[derive(Debug)]
    pub(crate) struct WakeFd(EventFd);

    impl WakeFd {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            Ok(Self(EventFd::from_flags(flags)?))
        }

        /// Makes the descriptor readable.
        pub(crate) fn notify(&self) {
            let written = self.0.write(1);
            // A full counter is readable already.
            debug_assert!(matches!(written, Ok(_) | Err(Errno::EAGAIN)), "{written:?}");
        }

        /// Discards all notifications. The owner calls this before it looks for work, so that none is missed.
        pub(crate) fn clear(&self) {
            let read = self.0.read();
            debug_assert!(matches!(read, Ok(_) | Err(Errno::EAGAIN)), "{read:?}");
        }

        /// Returns the descriptor to poll. It is readable after a notification.
        pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        /// Returns the numbers of its descriptors.
        pub(crate) fn raw_fds(&self) -> [RawFd; DESCRIPTORS] {
            [self.0.as_fd().as_raw_fd()]
        }
    }
}

/// Uses a socket pair, which every Unix has.
#[cfg(not(target_os = "linux"))]
mod pair {
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    use nix::errno::Errno;
    use nix::sys::socket::{MsgFlags, recv, send};

    use super::{DESCRIPTORS, RawFd, io};
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

        /// Returns the numbers of its descriptors.
        pub(crate) fn raw_fds(&self) -> [RawFd; DESCRIPTORS] {
            [self.readable.as_raw_fd(), self.writable.as_raw_fd()]
        }
    }
}
