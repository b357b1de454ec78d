//! Handle for producers: publish, wait for receipts, stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use lineside_protocol::Cursor;

use crate::settings::Settings;
use crate::socket::until;
use crate::spool::{NotAccepted, Outcome, PublishOptions, Sequence, Spool, State, Status};
use crate::wait::{Flushed, Waiter, Woken};
use crate::writer::{self, Thread};

/// Publisher of one process. Can be shared between threads; the publications of one thread arrive in their order.
///
/// The first [`publish`](Self::publish) or [`connect`](Self::connect) starts the writer thread and opens the link. Dropping
/// the publisher ends the thread and loses unsent frames: call [`stop`](Self::stop) first.
///
/// # Forks
/// A forked child has no writer thread, and locks may be held there for ever. The child must call only
/// [`abandon`](Self::abandon) on its parent's publisher, and create its own.
pub struct Publisher {
    spool: Arc<Spool>,
    thread: Arc<Thread>,
    /// Set in a forked child: the spool and the thread must not be used any more.
    abandoned: AtomicBool,
}

/// Frames that were accepted and not acked when a publisher stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Number of frames.
    pub frames: u64,
    /// Size of the frames in the spool, in bytes.
    pub bytes: usize,
}

/// Maximum time for the writer thread to end after a stop. Every wait of the thread ends at a stop.
const THREAD_END_MAX: Duration = Duration::from_secs(1);

impl Publisher {
    /// Creates a publisher. Opens nothing and starts no thread.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::of(Arc::new(Spool::new(settings)))
    }

    pub(crate) fn of(spool: Arc<Spool>) -> Self {
        Self {
            spool,
            thread: Arc::default(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Starts the writer thread, which opens the link and learns the [`cursor`](Self::cursor).
    ///
    /// # Errors
    /// Returns an error if the thread cannot be started or was stopped. An absent sidecar is no error.
    pub fn connect(&self) -> Result<(), NotAccepted> {
        let state = self.spool.accepting()?;
        if !self.thread.is_started() {
            writer::start(&self.spool, &self.thread)
                .map_err(|error| NotAccepted::NoThread(error.to_string()))?;
        }
        drop(state);
        Ok(())
    }

    /// Returns the spool, and starts the writer thread if there is none.
    fn running_spool(&self) -> Result<&Spool, NotAccepted> {
        if !self.thread.is_started() {
            self.connect()?;
        }
        Ok(&self.spool)
    }

    /// Copies one publication into the spool and returns at once. The writer thread sends it.
    ///
    /// # Errors
    /// Returns the reason if the publication was not accepted. An absent sidecar is no error until the spool is full.
    pub fn publish(
        &self,
        channel: &str,
        payload: &[u8],
        options: PublishOptions<'_>,
    ) -> Result<Sequence, NotAccepted> {
        self.running_spool()?
            .publish(&[(channel, payload)], options)
    }

    /// Accepts several publications, which arrive together and in this order, or not at all. With no publications, returns
    /// the newest sequence.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish), and if the publications exceed one frame
    /// ([`FRAME_BYTES_MAX`](lineside_protocol::frame::FRAME_BYTES_MAX)).
    pub fn publish_all(&self, publications: &[(&str, &[u8])]) -> Result<Sequence, NotAccepted> {
        self.running_spool()?
            .publish(publications, PublishOptions::default())
    }

    /// Reserves space in the spool for later publications, and returns its size in bytes. Call [`release`](Self::release)
    /// right before publishing them, or to drop them.
    ///
    /// # Errors
    /// As for [`publish_all`](Self::publish_all).
    pub fn hold(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<usize, NotAccepted> {
        self.running_spool()?.hold(publications, options)
    }

    /// Frees space that [`hold`](Self::hold) reserved. `frame_bytes` is the size that it returned.
    pub fn release(&self, frame_bytes: usize) {
        self.spool.release(frame_bytes);
    }

    /// Revokes the tokens of a user, or of one session, that were signed up to `revoked_ms` (milliseconds since the Unix
    /// epoch, by the clock that signs tokens), and closes their connections. Returns at once.
    ///
    /// The revocation keeps its order among publications. [`CONTROL_BYTES_RESERVED`](crate::CONTROL_BYTES_RESERVED) of the
    /// spool are reserved for revocations; a revocation that cannot be sent within `spool_seconds_max` is dropped, as any
    /// frame. With `wants_receipt`, [`wait_receipt`](Self::wait_receipt) returns the reply.
    ///
    /// Revocations beyond `spool_bytes_max` count as spool usage: publications, held ones included, are refused until the
    /// usage is below the limit again.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn revoke(
        &self,
        user: &str,
        session: Option<&str>,
        revoked_ms: u64,
        wants_receipt: bool,
    ) -> Result<Sequence, NotAccepted> {
        self.running_spool()?
            .revoke(user, session, revoked_ms, wants_receipt)
    }

    /// Waits for the reply to a frame with `wants_receipt`. Returns each reply once.
    ///
    /// A reply is kept until it is fetched or [given up](Self::give_up), or until [`WAITERS_MAX`](crate::WAITERS_MAX) newer
    /// receipts were requested. Returns `TimedOut` at once for a reply that is not kept.
    pub fn wait_receipt(&self, sequence: Sequence, deadline: Instant, waiter: &Waiter) -> Outcome {
        loop {
            if let Poll::Ready(outcome) = self.spool.answer(sequence, waiter.waker()) {
                return outcome;
            }
            match waiter.sleep(deadline) {
                Woken::Notified => {}
                Woken::Interrupted => return Outcome::Interrupted,
                Woken::TimedOut => {
                    let mut state = self.spool.state();
                    let answer = state.answer_or_wait(sequence.0, waiter.waker());
                    state.forget_answer(sequence.0);
                    return match answer {
                        Poll::Ready(outcome) => outcome,
                        Poll::Pending => Outcome::TimedOut,
                    };
                }
            }
        }
    }

    /// Drops the reply to this frame, received or not.
    pub fn give_up(&self, sequence: Sequence) {
        self.spool.give_up(sequence);
    }

    /// Waits until every frame accepted before the call is settled.
    pub fn wait_flushed(&self, deadline: Instant, waiter: &Waiter) -> Flushed {
        let target = self.spool.state().tail.last();
        loop {
            let mut state = self.spool.state();
            if state.settled() >= target {
                return Flushed::Done;
            }
            if state.ended.is_some() {
                return Flushed::TimedOut;
            }
            state.await_settled(target, waiter.waker());
            drop(state);
            let woken = waiter.sleep(deadline);
            let mut state = self.spool.state();
            state.forget_flush(waiter.waker());
            match woken {
                Woken::Notified => {}
                Woken::Interrupted => return Flushed::Interrupted,
                Woken::TimedOut if state.settled() >= target => return Flushed::Done,
                Woken::TimedOut => return Flushed::TimedOut,
            }
        }
    }

    /// Returns the newest known position of the journal, without a round trip, or `None` before the first welcome. Keeps its
    /// value while disconnected, and never decreases within an epoch.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.spool.cursor()
    }

    /// Returns counters and the state of the link.
    #[must_use]
    pub fn status(&self) -> Status {
        self.spool.status()
    }

    /// Waits until every frame is settled or the deadline has passed, then ends the thread. Later publications are refused.
    ///
    /// Can be called again, also concurrently: each call returns the frames that are unconfirmed when it ends.
    pub fn stop(&self, deadline: Instant) -> Unconfirmed {
        let mut state = self.spool.state();
        state.stop_waits = true;
        while state.settled() < state.tail.last()
            && state.ended.is_none()
            && let Some(left) = until(deadline)
        {
            state = self.wait_for_change(state, left);
        }
        state.stopping = true;
        if !self.thread.is_started() && state.ended.is_none() {
            state.ended = Some(NotAccepted::Stopped);
        }
        self.thread.notify();
        let end = Instant::now() + THREAD_END_MAX;
        while state.ended.is_none()
            && let Some(left) = until(end)
        {
            state = self.wait_for_change(state, left);
        }
        let status = state.status();
        // A frame that was dropped for its age may have landed too, and is then counted as both until the link settles it.
        Unconfirmed {
            frames: (status.accepted - status.acked).saturating_sub(status.dropped_aged),
            bytes: status.spool_bytes,
        }
    }

    fn wait_for_change<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        most: Duration,
    ) -> MutexGuard<'a, State> {
        let changed = self.spool.changed.wait_timeout(state, most);
        changed.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Closes a forked child's copies of the parent's descriptors, so that the link ends with the parent, and leaks the
    /// rest. Takes no lock and frees no memory: it may run in a `pthread_atfork` handler. Call nothing else on this
    /// publisher afterwards; its drop does nothing.
    ///
    /// A fork between opening and recording a descriptor leaves one copy open until the child exits or executes another
    /// program. The parent shuts the socket down, so the sidecar still sees the end of the link.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        // Leaked references: data that may be locked or half changed is never dropped.
        std::mem::forget((Arc::clone(&self.spool), Arc::clone(&self.thread)));
        self.thread.close_copies();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // After `abandon` the lock may be held for ever.
        if !self.abandoned.load(Ordering::Acquire) {
            self.spool.state().stopping = true;
            self.thread.notify();
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("settings", self.spool.settings())
            .finish_non_exhaustive()
    }
}
