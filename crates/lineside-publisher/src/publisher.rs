//! The handle that producers use.

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

/// The publishing end of one process. Shared freely between threads; what one thread publishes arrives in its order.
///
/// Nothing is opened and no thread runs before the first [`publish`](Self::publish) or [`connect`](Self::connect). When
/// it is dropped the thread ends soon after and what was not sent is lost: [`stop`](Self::stop) first.
///
/// # Forks
/// A forked child has no writer thread, and any lock may be held for ever there. It must call nothing but
/// [`abandon`](Self::abandon) on its parent's publisher, and make one of its own.
pub struct Publisher {
    spool: Arc<Spool>,
    thread: Arc<Thread>,
    /// In a forked child: nothing here may be touched any more.
    abandoned: AtomicBool,
}

/// What a stopped publisher left behind: accepted, and not known to have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Frames that were never acked.
    pub frames: u64,
    /// Their size in the spool.
    pub bytes: usize,
}

/// How long the thread may take to end once it is told to. It never waits without listening for that.
const THREAD_END_MAX: Duration = Duration::from_secs(1);

impl Publisher {
    /// A publisher that has done nothing yet.
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

    /// Starts the thread, which opens the link at once, so that [`cursor`](Self::cursor) is soon known.
    ///
    /// # Errors
    /// When the thread cannot be started, or was stopped. A sidecar that is absent is no error.
    pub fn connect(&self) -> Result<(), NotAccepted> {
        let state = self.spool.accepting()?;
        if !self.thread.is_started() {
            writer::start(&self.spool, &self.thread)
                .map_err(|error| NotAccepted::ThreadFailed(error.to_string()))?;
        }
        drop(state);
        Ok(())
    }

    /// The spool, with a thread that sends what is in it.
    fn running(&self) -> Result<&Spool, NotAccepted> {
        if !self.thread.is_started() {
            self.connect()?;
        }
        Ok(&self.spool)
    }

    /// Accepts one publication and returns at once; the thread sends it. The cost is that of copying it.
    ///
    /// # Errors
    /// Says why it was not accepted; the transport is never the reason but through a spool that is full.
    pub fn publish(
        &self,
        channel: &str,
        payload: &[u8],
        options: PublishOptions<'_>,
    ) -> Result<Sequence, NotAccepted> {
        self.running()?.publish(&[(channel, payload)], options)
    }

    /// Accepts several publications, which arrive together and in this order, or not at all. None is nothing to do: it
    /// gives the newest sequence.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish); also when they are too large for one frame
    /// ([`FRAME_BYTES_MAX`](lineside_protocol::frame::FRAME_BYTES_MAX)).
    pub fn publish_all(&self, publications: &[(&str, &[u8])]) -> Result<Sequence, NotAccepted> {
        self.running()?
            .publish(publications, PublishOptions::default())
    }

    /// Keeps room in the spool for what will be published later, or never, and gives its size in bytes.
    /// [`release`](Self::release) gives the room back: right before publishing it, or instead.
    ///
    /// # Errors
    /// As for [`publish_all`](Self::publish_all).
    pub fn hold(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<usize, NotAccepted> {
        self.running()?.hold(publications, options)
    }

    /// Gives back room that [`hold`](Self::hold) kept, as many bytes as it said.
    pub fn release(&self, frame_bytes: usize) {
        self.spool.release(frame_bytes);
    }

    /// Has the sidecar revoke the tokens of a user, or of one of its sessions, that were made up to `revoked_ms`
    /// (milliseconds since the Unix epoch, by the clock that signs tokens), and close their connections. Returns at once.
    ///
    /// It goes in order with what is published. [`CONTROL_BYTES_RESERVED`](crate::CONTROL_BYTES_RESERVED) of the spool are
    /// there for such frames alone; like any other it is dropped when it cannot be sent within `spool_seconds_max`. With
    /// `wants_receipt` its answer will be fetched by [`wait_receipt`](Self::wait_receipt).
    ///
    /// What fills the spool beyond `spool_bytes_max` counts against publications too: even one that room is kept for is not
    /// accepted until there is less again.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn disconnect(
        &self,
        user: &str,
        session: Option<&str>,
        revoked_ms: u64,
        wants_receipt: bool,
    ) -> Result<Sequence, NotAccepted> {
        self.running()?
            .disconnect(user, session, revoked_ms, wants_receipt)
    }

    /// Waits for the answer to a frame that was published with `wants_receipt`, and gives it once.
    ///
    /// Answers are kept until they are fetched, [given up](Self::give_up), or as many as
    /// [`WAITERS_MAX`](crate::WAITERS_MAX) newer ones were asked for; what is not kept is `TimedOut` at once.
    pub fn wait_receipt(&self, sequence: Sequence, deadline: Instant, waiter: &Waiter) -> Outcome {
        loop {
            if let Poll::Ready(outcome) = self.spool.answer(sequence, waiter.waker()) {
                return outcome;
            }
            match waiter.sleep(deadline) {
                Woken::Rung => {}
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

    /// Says that nobody will wait for this answer (any more).
    pub fn give_up(&self, sequence: Sequence) {
        self.spool.give_up(sequence);
    }

    /// Waits until the sidecar has dealt with everything accepted before the call.
    pub fn wait_flushed(&self, deadline: Instant, waiter: &Waiter) -> Flushed {
        let target = self.spool.state().tail.last();
        loop {
            let mut state = self.spool.state();
            if state.settled() >= target {
                return Flushed::Done;
            }
            if state.over.is_some() {
                return Flushed::TimedOut;
            }
            state.await_settled(target, waiter.waker());
            drop(state);
            let woken = waiter.sleep(deadline);
            let mut state = self.spool.state();
            state.forget_flush(waiter.waker());
            match woken {
                Woken::Rung => {}
                Woken::Interrupted => return Flushed::Interrupted,
                Woken::TimedOut if state.settled() >= target => return Flushed::Done,
                Woken::TimedOut => return Flushed::TimedOut,
            }
        }
    }

    /// The newest position of the journal known here, without asking; `None` before the first link. While there is no link
    /// it stays what it was. Never goes back within an epoch.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.spool.cursor()
    }

    /// How things are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.spool.status()
    }

    /// Waits until everything is settled or the deadline has come, then ends the thread. Nothing is accepted afterwards.
    ///
    /// A second or concurrent call returns what it finds.
    pub fn stop(&self, deadline: Instant) -> Left {
        let mut state = self.spool.state();
        state.stop_waits = true;
        while state.settled() < state.tail.last()
            && state.over.is_none()
            && let Some(left) = until(deadline)
        {
            state = self.wait_for_change(state, left);
        }
        state.stopping = true;
        if !self.thread.is_started() && state.over.is_none() {
            state.over = Some(NotAccepted::Stopped);
        }
        self.thread.ring();
        let end = Instant::now() + THREAD_END_MAX;
        while state.over.is_none()
            && let Some(left) = until(end)
        {
            state = self.wait_for_change(state, left);
        }
        let status = state.status();
        // What was dropped because of its age may have landed all the same, and then counts twice for a moment.
        Left {
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

    /// In a forked child: closes the child's copies of the parent's descriptors, so that the link ends with the parent, and
    /// leaks the rest. Takes no lock and frees nothing: it may run in a `pthread_atfork` handler. Call nothing else on this
    /// publisher afterwards; dropping it then does nothing.
    ///
    /// A fork between the two system calls that make a descriptor known here leaves one copy open until the child ends or
    /// executes another program; ending the link in the parent reaches the sidecar all the same.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        // Counts that are never given back: whatever may be locked or half changed is never dropped.
        std::mem::forget((Arc::clone(&self.spool), Arc::clone(&self.thread)));
        self.thread.close_copies();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Once abandoned, the lock may be held for ever.
        if !self.abandoned.load(Ordering::Acquire) {
            self.spool.state().stopping = true;
            self.thread.ring();
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
