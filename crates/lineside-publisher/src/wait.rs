//! Waits that another thread or a signal can interrupt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::socket;
use crate::wake_fd::WakeFd;

/// Result of a wait for a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Every frame is settled. [`Status`](crate::Status) counts the refused and dropped ones.
    Done,
    /// The deadline passed, or the writer thread has ended and will not send the rest.
    TimedOut,
    /// The interrupter was used, or a signal was handled.
    Interrupted,
}

/// Waits of one thread, one call at a time. Keeps descriptors open: reuse it. A forked child must create its own.
#[derive(Debug)]
pub struct Waiter {
    wake_fd: Arc<WakeFd>,
    waker: Waker,
    interrupted: Arc<AtomicBool>,
}

/// Interrupts a wait from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupter {
    wake_fd: Arc<WakeFd>,
    interrupted: Arc<AtomicBool>,
}

/// Reason for which a sleep ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Notified,
    TimedOut,
    Interrupted,
}

impl Waiter {
    /// Opens the descriptors.
    ///
    /// # Errors
    /// Returns an error if the process is out of file descriptors.
    pub fn new() -> io::Result<Self> {
        let wake_fd = Arc::new(WakeFd::new()?);
        Ok(Self {
            waker: Waker::from(Arc::clone(&wake_fd)),
            wake_fd,
            interrupted: Arc::default(),
        })
    }

    /// Returns a handle that interrupts the current wait, or the next one if there is none.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter {
            wake_fd: Arc::clone(&self.wake_fd),
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    /// Returns a waker that ends the sleep.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sleeps until a notification, an interruption or the deadline.
    pub(crate) fn sleep(&self, deadline: Instant) -> Woken {
        let time = socket::until(deadline);
        let mut descriptors = [PollFd::new(self.wake_fd.as_fd(), PollFlags::POLLIN)];
        let woken = socket::wait(&mut descriptors, Some(time.unwrap_or(Duration::ZERO)));
        let notified = descriptors[0].any() == Some(true);
        if notified {
            self.wake_fd.clear();
        }
        // EINTR: a signal handler ran in this thread, and its program must react before the deadline.
        if self.interrupted.swap(false, Ordering::AcqRel) || woken == Err(Errno::EINTR) {
            Woken::Interrupted
        } else if notified || time.is_some() {
            Woken::Notified
        } else {
            Woken::TimedOut
        }
    }
}

impl Interrupter {
    /// Interrupts the wait. Takes no lock.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.wake_fd.notify();
    }
}
