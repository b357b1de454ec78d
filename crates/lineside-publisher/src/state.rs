//! What producers, waiters and the writer share, under one mutex that is only ever held for short work in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use lineside_protocol::{Cursor, Position};

use crate::bell::Bell;
use crate::settings::{Settings, WAITERS_MAX};
use crate::socket::NO_DESCRIPTOR;
use crate::spool::Tail;
use crate::wait::Outcome;

/// What the publisher's handle and its thread have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    state: Mutex<State>,
    /// The thread has ended, or a stop that waits may find everything settled.
    pub(crate) changed: Condvar,
    /// Wakes the thread; there once the thread is.
    pub(crate) bell: OnceLock<Bell>,
    /// The numbers of the open descriptors: first the link, then the bell's.
    pub(crate) descriptors: [AtomicI32; 3],
    /// In a forked child: nothing here may be touched any more.
    pub(crate) abandoned: AtomicBool,
}

/// Counts and conditions of one publisher, taken at one moment. Frames are calls: a `publish_all` is one.
///
/// `accepted` = `acked` + `dropped_aged` + those in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The sidecar has answered the hello, and the link is open.
    pub linked: bool,
    /// Frames that went into the spool.
    pub accepted: u64,
    /// Frames that the sidecar has dealt with, refused ones included.
    pub acked: u64,
    /// Frames that were not accepted because the spool was full.
    pub dropped_full: u64,
    /// Accepted frames that were dropped because they could not be sent within `spool_seconds_max`.
    pub dropped_aged: u64,
    /// Frames that the sidecar refused.
    pub refused: u64,
    /// Frames that went out again on a later link. The sidecar drops those that it has.
    pub resent: u64,
    /// Links after the first.
    pub reconnects: u64,
    /// Frames in the spool, in bytes.
    pub spool_bytes: usize,
    /// Why there is no link, and what to do; with a link, what is wrong with it.
    pub last_error: Option<String>,
    /// Why the sidecar refused a frame last.
    pub last_refusal: Option<String>,
    /// The sidecar verifies tokens with another key than this process signs with.
    pub mismatch: bool,
}

/// How the thread is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    NotStarted,
    Running,
    Stopped,
    Failed(String),
}

/// One publication whose answer somebody wants.
#[derive(Debug, Default)]
struct Awaited {
    outcome: Option<Outcome>,
    waiter: Option<Arc<Bell>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tail: Tail,
    /// Frames that the writer holds, in bytes.
    pub(crate) backlog_bytes: usize,
    /// Room kept for what [`Publisher::hold`](crate::Publisher::hold) was asked to expect, in bytes.
    pub(crate) held_bytes: usize,
    pub(crate) thread: Thread,
    /// The writer waits for its bell: who appends rings it.
    pub(crate) asleep: bool,
    pub(crate) stopping: bool,
    /// A stop waits on `changed`.
    pub(crate) stop_waits: bool,
    /// The counts that are kept here; the others are filled in by [`State::status`].
    pub(crate) status: Status,
    pub(crate) cursor: Option<Cursor>,
    /// The sidecar has dealt with everything up to here.
    settled: u64,
    /// Frames up to `settled` that had been dropped.
    skipped: u64,
    awaited: BTreeMap<u64, Awaited>,
    /// Who waits until `settled` reaches a sequence.
    flushes: Vec<(u64, Arc<Bell>)>,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        let state = State {
            tail: Tail::new(),
            backlog_bytes: 0,
            held_bytes: 0,
            thread: Thread::NotStarted,
            asleep: false,
            stopping: false,
            stop_waits: false,
            status: Status::default(),
            cursor: None,
            settled: 0,
            skipped: 0,
            awaited: BTreeMap::new(),
            flushes: Vec::new(),
        };
        Self {
            settings,
            state: Mutex::new(state),
            changed: Condvar::new(),
            bell: OnceLock::new(),
            descriptors: [const { AtomicI32::new(NO_DESCRIPTOR) }; 3],
            abandoned: AtomicBool::new(false),
        }
    }

    /// The state. A panic elsewhere does not end publishing here: the thread's own end is told by [`Thread::Failed`].
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread, if there is one.
    pub(crate) fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    /// Makes the bell, once, and notes its descriptors for a forked child.
    pub(crate) fn hang_bell(&self) -> std::io::Result<()> {
        if self.bell.get().is_none() {
            let bell = self.bell.get_or_init({
                let bell = Bell::new()?;
                || bell
            });
            for (place, number) in self.descriptors[1..].iter().zip(bell.numbers()) {
                place.store(number, Ordering::Release);
            }
        }
        Ok(())
    }

    /// The thread is over: nobody waits any longer for what it would have brought.
    pub(crate) fn thread_ended(&self, thread: Thread) {
        let mut state = self.state();
        if let Thread::Failed(reason) = &thread {
            state.status.last_error = Some(reason.clone());
        }
        state.thread = thread;
        state.status.linked = false;
        let waiting = state
            .awaited
            .values_mut()
            .filter_map(|awaited| awaited.waiter.take());
        waiting.for_each(|waiter| waiter.ring());
        state
            .flushes
            .drain(..)
            .for_each(|(_, waiter)| waiter.ring());
        self.changed.notify_all();
    }
}

impl State {
    /// Frames in the spool, in bytes.
    pub(crate) fn spool_bytes(&self) -> usize {
        self.backlog_bytes + self.tail.bytes()
    }

    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            accepted: self.tail.last(),
            acked: self.settled - self.skipped,
            spool_bytes: self.spool_bytes(),
            ..self.status.clone()
        }
    }

    /// The sidecar has dealt with everything up to `sequence`; `skipped` of the frames it newly covers had been dropped.
    pub(crate) fn settle(&mut self, sequence: u64, skipped: u64) {
        self.settled = self.settled.max(sequence);
        self.skipped += skipped;
        let reached = self
            .flushes
            .extract_if(.., |(sequence, _)| *sequence <= self.settled);
        reached.for_each(|(_, waiter)| waiter.ring());
    }

    /// The journal has reached `position`. The epoch is the link's; positions never go back within it.
    pub(crate) fn moved(&mut self, position: Position) {
        if let Some(cursor) = &mut self.cursor {
            cursor.position = cursor.position.max(position);
        }
    }

    /// Keeps a place for the answer to `sequence`. The oldest gives way when there are too many.
    pub(crate) fn await_answer(&mut self, sequence: u64) {
        if self.awaited.len() >= WAITERS_MAX
            && let Some((
                _,
                Awaited {
                    waiter: Some(waiter),
                    ..
                },
            )) = self.awaited.pop_first()
        {
            waiter.ring();
        }
        self.awaited.insert(sequence, Awaited::default());
    }

    /// The sequences whose answer is still to come.
    pub(crate) fn awaited(&self) -> BTreeSet<u64> {
        self.awaited
            .iter()
            .filter(|(_, awaited)| awaited.outcome.is_none())
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    /// The answer to `sequence`, for whoever wants it.
    pub(crate) fn answer(&mut self, sequence: u64, outcome: Outcome) {
        if let Some(awaited) = self.awaited.get_mut(&sequence) {
            awaited.outcome = Some(outcome);
            if let Some(waiter) = awaited.waiter.take() {
                waiter.ring();
            }
        }
    }

    /// Frames that no sidecar received and none ever will.
    pub(crate) fn dropped(&mut self, sequences: RangeInclusive<u64>) {
        if sequences.is_empty() {
            return;
        }
        let waiting = self
            .awaited
            .range(sequences)
            .map(|(sequence, _)| *sequence)
            .collect::<Vec<_>>();
        waiting
            .into_iter()
            .for_each(|sequence| self.answer(sequence, Outcome::Dropped));
    }

    /// The answer to `sequence` if there is one, or none will come; otherwise `waiter` is rung when there is.
    pub(crate) fn answer_or_wait(&mut self, sequence: u64, waiter: &Arc<Bell>) -> Option<Outcome> {
        let gone = self.is_over();
        let Some(awaited) = self.awaited.get_mut(&sequence) else {
            return Some(Outcome::TimedOut);
        };
        if awaited.outcome.is_none() && !gone {
            awaited.waiter = Some(Arc::clone(waiter));
            return None;
        }
        self.awaited
            .remove(&sequence)?
            .outcome
            .or(Some(Outcome::TimedOut))
    }

    /// Nobody wants the answer to `sequence` any more.
    pub(crate) fn forget_answer(&mut self, sequence: u64) {
        self.awaited.remove(&sequence);
    }

    /// Rings `waiter` when everything up to `sequence` is settled. The oldest gives way when there are too many, and looks
    /// again at its deadline.
    pub(crate) fn await_settled(&mut self, sequence: u64, waiter: &Arc<Bell>) {
        if self.flushes.len() >= WAITERS_MAX {
            self.flushes.remove(0);
        }
        self.flushes.push((sequence, Arc::clone(waiter)));
    }

    pub(crate) fn forget_flush(&mut self, waiter: &Arc<Bell>) {
        self.flushes
            .retain(|(_, other)| !Arc::ptr_eq(other, waiter));
    }

    /// The thread was there, and will bring nothing more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.thread, Thread::Stopped | Thread::Failed(_))
    }
}
