//! The handle that producers use.

mod disconnect;

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lineside_protocol::Cursor;
use lineside_protocol::frame::{FRAME_BYTES_MAX, HEAD_BYTES, PublishHead};

use crate::settings::{CHANNEL_BYTES_MAX, ONCE_BYTES_MAX, Settings};
use crate::socket::{NO_DESCRIPTOR, until};
use crate::state::{Shared, State, Status, Thread};
use crate::wait::{Flushed, Outcome, Waiter, Woken};
use crate::writer;

/// The publishing end of one process. Shared freely between threads; what one thread publishes arrives in its order.
///
/// Nothing is opened and no thread runs before the first [`publish`](Self::publish) or [`connect`](Self::connect). When
/// it is dropped the thread ends soon after and what was not sent is lost: [`stop`](Self::stop) first.
///
/// # Forks
/// A forked child has no writer thread, and any lock may be held for ever there. It must call nothing but
/// [`abandon`](Self::abandon) on its parent's publisher, and make one of its own.
pub struct Publisher {
    shared: Arc<Shared>,
}

/// The number of an accepted frame within its publisher: 1, 2, 3 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// How to publish.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishOptions<'a> {
    /// Lands once per channel under this id, of 1 to [`ONCE_BYTES_MAX`] bytes.
    pub once: Option<&'a str>,
    /// Its answer will be fetched by [`Publisher::wait_receipt`].
    pub wants_receipt: bool,
}

/// Why a publish was not accepted. Nothing of it will arrive.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAccepted {
    /// As much is held back as may be: the sidecar is absent or does not keep up.
    #[error("the spool is full ({held} of {max} bytes are waiting for the sidecar)")]
    SpoolFull {
        /// Frames in the spool and those that room is kept for, in bytes.
        held: usize,
        /// `spool_bytes_max`.
        max: usize,
    },
    /// A part of it is over its limit.
    #[error("{what} has {bytes} bytes, and at most {max} are possible")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The writer thread could not be started, or has failed.
    #[error("the thread that writes to the sidecar failed: {0}; restart this process")]
    ThreadFailed(String),
    /// [`Publisher::stop`] was called.
    #[error("this publisher was stopped")]
    Stopped,
}

/// What a stopped publisher left behind: accepted, and not known to have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Frames that were never acked.
    pub frames: u64,
    /// Their size in the spool.
    pub bytes: usize,
}

/// Lengths before a publication's channel (`u16`) and payload (`u32`).
const PUBLICATION_HEAD_BYTES: usize = 6;
/// Tag and length before the value of an option.
const OPTION_HEAD_BYTES: usize = 4;
const SEQUENCE_BYTES: usize = 8;

/// How long the thread may take to end once it is told to. It never waits without listening for that.
const THREAD_END_MAX: Duration = Duration::from_secs(1);

impl Publisher {
    /// A publisher that has done nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::of(Arc::new(Shared::new(settings)))
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Starts the thread, which opens the link at once, so that [`cursor`](Self::cursor) is soon known.
    ///
    /// # Errors
    /// When the thread cannot be started, or was stopped. A sidecar that is absent is no error.
    pub fn connect(&self) -> Result<(), NotAccepted> {
        self.running().map(drop)
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
        self.accept(&[(channel, payload)], options)
    }

    /// Accepts several publications, which arrive together and in this order, or not at all. None is nothing to do: it
    /// gives the newest sequence.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish); also when they are too large for one frame ([`FRAME_BYTES_MAX`]).
    pub fn publish_all(&self, publications: &[(&str, &[u8])]) -> Result<Sequence, NotAccepted> {
        if publications.is_empty() {
            return Ok(Sequence(self.shared.state().tail.last()));
        }
        self.accept(publications, PublishOptions::default())
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
        let frame_bytes = self.frame_bytes(publications, options)?;
        let mut state = self.running()?;
        self.check_room(&mut state, frame_bytes)?;
        state.held_bytes += frame_bytes;
        Ok(frame_bytes)
    }

    /// Gives back room that [`hold`](Self::hold) kept, as many bytes as it said.
    pub fn release(&self, frame_bytes: usize) {
        let mut state = self.shared.state();
        state.held_bytes = state.held_bytes.saturating_sub(frame_bytes);
    }

    /// Whether a frame of so many bytes fits beside what is in the spool and what room is kept for.
    fn check_room(&self, state: &mut State, frame_bytes: usize) -> Result<(), NotAccepted> {
        let held = state.spool_bytes() + state.held_bytes;
        let max = self.shared.settings.spool_bytes_max;
        if held + frame_bytes > max {
            state.status.dropped_full += 1;
            return Err(NotAccepted::SpoolFull { held, max });
        }
        Ok(())
    }

    fn accept(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<Sequence, NotAccepted> {
        let frame_bytes = self.frame_bytes(publications, options)?;
        let mut state = self.running()?;
        self.check_room(&mut state, frame_bytes)?;
        let wants_receipt = options.wants_receipt;
        let head = PublishHead {
            sequence: 0,
            wants_receipt,
            once: options.once.map(str::as_bytes),
        };
        let sequence = state
            .tail
            .append(head, frame_bytes, publications.iter().copied());
        Ok(self.accepted(state, sequence, wants_receipt))
    }

    /// A frame is in the tail: keeps a place for its answer, and wakes the thread.
    fn accepted(
        &self,
        mut state: MutexGuard<'_, State>,
        sequence: u64,
        wants_receipt: bool,
    ) -> Sequence {
        if wants_receipt {
            state.await_answer(sequence);
        }
        let sleeps = std::mem::take(&mut state.asleep);
        drop(state);
        if sleeps {
            self.shared.ring();
        }
        Sequence(sequence)
    }

    /// The size of a frame, when every part of it is within its limit.
    fn frame_bytes(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<usize, NotAccepted> {
        let once = options
            .once
            .map(|id| within("the once id", id.len(), ONCE_BYTES_MAX))
            .transpose()?;
        let mut bytes =
            HEAD_BYTES + SEQUENCE_BYTES + once.map_or(0, |once| OPTION_HEAD_BYTES + once);
        for (channel, payload) in publications {
            bytes += PUBLICATION_HEAD_BYTES
                + within("the channel", channel.len(), CHANNEL_BYTES_MAX)?
                + within(
                    "the payload",
                    payload.len(),
                    self.shared.settings.payload_bytes_max,
                )?;
        }
        within("what is published together", bytes, FRAME_BYTES_MAX)
    }

    /// The state, of a publisher whose thread runs.
    fn running(&self) -> Result<MutexGuard<'_, State>, NotAccepted> {
        let mut state = self.shared.state();
        match &state.thread {
            Thread::Stopped => return Err(NotAccepted::Stopped),
            Thread::Running | Thread::NotStarted if state.stopping => {
                return Err(NotAccepted::Stopped);
            }
            Thread::Running => {}
            Thread::NotStarted => {
                writer::start(&self.shared)
                    .map_err(|error| NotAccepted::ThreadFailed(error.to_string()))?;
                state.thread = Thread::Running;
            }
            Thread::Failed(reason) => return Err(NotAccepted::ThreadFailed(reason.clone())),
        }
        Ok(state)
    }

    /// Waits for the answer to a frame that was published with `wants_receipt`, and gives it once.
    ///
    /// Answers are kept until they are fetched, [given up](Self::give_up), or as many as
    /// [`WAITERS_MAX`](crate::WAITERS_MAX) newer ones were asked for; what is not kept is `TimedOut` at once.
    pub fn wait_receipt(&self, sequence: Sequence, deadline: Instant, waiter: &Waiter) -> Outcome {
        loop {
            if let Some(outcome) = self
                .shared
                .state()
                .answer_or_wait(sequence.0, waiter.bell())
            {
                return outcome;
            }
            match waiter.sleep(deadline) {
                Woken::Rung => {}
                Woken::Interrupted => return Outcome::Interrupted,
                Woken::TimedOut => {
                    let mut state = self.shared.state();
                    let answer = state.answer_or_wait(sequence.0, waiter.bell());
                    state.forget_answer(sequence.0);
                    return answer.unwrap_or(Outcome::TimedOut);
                }
            }
        }
    }

    /// Says that nobody will wait for this answer (any more).
    pub fn give_up(&self, sequence: Sequence) {
        self.shared.state().forget_answer(sequence.0);
    }

    /// Waits until the sidecar has dealt with everything accepted before the call.
    pub fn wait_flushed(&self, deadline: Instant, waiter: &Waiter) -> Flushed {
        let target = self.shared.state().tail.last();
        loop {
            let mut state = self.shared.state();
            if state.settled() >= target {
                return Flushed::Done;
            }
            if state.is_over() {
                return Flushed::TimedOut;
            }
            state.await_settled(target, waiter.bell());
            drop(state);
            let woken = waiter.sleep(deadline);
            let mut state = self.shared.state();
            state.forget_flush(waiter.bell());
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
        self.shared.state().cursor.clone()
    }

    /// How things are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.state().status()
    }

    /// Waits until everything is settled or the deadline has come, then ends the thread. Nothing is accepted afterwards.
    ///
    /// A second or concurrent call returns what it finds.
    pub fn stop(&self, deadline: Instant) -> Left {
        let mut state = self.shared.state();
        state.stop_waits = true;
        while state.settled() < state.tail.last()
            && !state.is_over()
            && let Some(left) = until(deadline)
        {
            state = self.wait_for_change(state, left);
        }
        state.stopping = true;
        if state.thread == Thread::NotStarted {
            state.thread = Thread::Stopped;
        }
        self.shared.ring();
        let end = Instant::now() + THREAD_END_MAX;
        while !state.is_over()
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
        let changed = self.shared.changed.wait_timeout(state, most);
        changed.unwrap_or_else(PoisonError::into_inner).0
    }

    /// In a forked child: closes the child's copies of the parent's descriptors, so that the link ends with the parent, and
    /// leaks the rest. Takes no lock and frees nothing: it may run in a `pthread_atfork` handler. Call nothing else on this
    /// publisher afterwards; dropping it then does nothing.
    ///
    /// A fork between the two system calls that make a descriptor known here leaves one copy open until the child ends or
    /// executes another program; ending the link in the parent reaches the sidecar all the same.
    pub fn abandon(&self) {
        self.shared.abandoned.store(true, Ordering::Release);
        // One count that is never given back: whatever may be locked or half changed is never dropped.
        std::mem::forget(Arc::clone(&self.shared));
        for number in &self.shared.descriptors {
            let number = number.swap(NO_DESCRIPTOR, Ordering::AcqRel);
            if number != NO_DESCRIPTOR {
                // It is closed all the same where that reports an error, and there is nobody to tell.
                nix::unistd::close(number).unwrap_or_default();
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Once abandoned, the lock may be held for ever.
        if !self.shared.abandoned.load(Ordering::Acquire) {
            self.shared.state().stopping = true;
            self.shared.ring();
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// `bytes`, when it is within its limit.
fn within(what: &'static str, bytes: usize, max: usize) -> Result<usize, NotAccepted> {
    if bytes <= max {
        Ok(bytes)
    } else {
        Err(NotAccepted::TooLarge { what, bytes, max })
    }
}
