//! Waiting that another thread, or a signal, can interrupt.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lineside_protocol::Cursor;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};

use crate::bell::Bell;
use crate::socket;

/// How the wait for a receipt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the journal.
    Receipt {
        /// Where it stands; of several, the last.
        cursor: Cursor,
        /// Its `once` id had landed before: the cursor is that earlier one's.
        duplicate: bool,
    },
    /// The sidecar will never take it.
    Refused {
        /// One of [`lineside_protocol::codes::LINK_CODES`].
        code: u16,
        /// What is wrong, with which value.
        message: String,
    },
    /// No answer came by the deadline, or none will come because the thread has ended: it may be delivered or not.
    TimedOut,
    /// The interrupter was used, or a signal was handled. The answer is still kept: look why, then wait again or
    /// [give up](crate::Publisher::give_up).
    Interrupted,
    /// It became too old before it could be sent: certainly not delivered.
    Dropped,
}

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
        Ok(Self {
            bell: Arc::new(Bell::new()?),
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

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
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
