//! Waiting that another thread, or a signal, can interrupt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::bell::Bell;
use crate::socket;

/// How the wait for a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing accepted before is still on its way. What was refused or dropped is counted in [`Status`](crate::Status).
    Done,
    /// The deadline came first, or the thread has ended and the rest will never be sent.
    TimedOut,
    /// The interrupter was used, or a signal was handled.
    Interrupted,
}

/// What one thread waits with, one call at a time: two descriptors, so keep it. A forked child needs one of its own.
#[derive(Debug)]
pub struct Waiter {
    bell: Arc<Bell>,
    waker: Waker,
    interrupted: Arc<AtomicBool>,
}

/// Ends a wait from any thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupter {
    bell: Arc<Bell>,
    interrupted: Arc<AtomicBool>,
}

/// Why a sleep ended early.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Rung,
    TimedOut,
    Interrupted,
}

impl Waiter {
    /// Makes the descriptors.
    ///
    /// # Errors
    /// When the process has as many open files as it may.
    pub fn new() -> io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        Ok(Self {
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            interrupted: Arc::default(),
        })
    }

    /// A handle that ends this waiter's present wait, or its next one when there is none.
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter {
            bell: Arc::clone(&self.bell),
            interrupted: Arc::clone(&self.interrupted),
        }
    }

    /// Ends its sleep.
    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sleeps until the bell rings, the deadline or an interruption.
    pub(crate) fn sleep(&self, deadline: Instant) -> Woken {
        let time = socket::until(deadline);
        let mut descriptors = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        let woken = socket::wait(&mut descriptors, Some(time.unwrap_or(Duration::ZERO)));
        let rung = descriptors[0].any() == Some(true);
        if rung {
            self.bell.hush();
        }
        // A handler ran in this very thread: its program wants to know before the deadline.
        if self.interrupted.swap(false, Ordering::AcqRel) || woken == Err(Errno::EINTR) {
            Woken::Interrupted
        } else if rung || time.is_some() {
            Woken::Rung
        } else {
            Woken::TimedOut
        }
    }
}

impl Interrupter {
    /// Makes the wait return `Interrupted`. Takes no lock.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.bell.ring();
    }
}
