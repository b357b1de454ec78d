use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::task::{Poll, Waker};

use lineside_protocol::frame::Welcome;
use lineside_protocol::{Cursor, Position};

use super::NotAccepted;
use super::answers::{Answers, Outcome};
use super::tail::Tail;
use crate::settings::WAITERS_MAX;

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
    /// Publications in the frames of `dropped_aged`; a sign-out counts as one.
    pub publications_aged: u64,
    /// Publications in the frames of `refused`; a sign-out counts as one.
    pub publications_refused: u64,
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

/// What stands under the spool's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tail: Tail,
    /// Frames that the link holds, in bytes.
    pub(crate) backlog_bytes: usize,
    /// Room kept for what [`Spool::hold`](super::Spool::hold) was asked to expect, in bytes.
    pub(crate) held_bytes: usize,
    pub(crate) stopping: bool,
    /// A stop waits on the spool's `changed`.
    pub(crate) stop_waits: bool,
    /// Nothing more will be sent, and why.
    pub(crate) over: Option<NotAccepted>,
    /// The counts that are kept here; the others are filled in by [`State::status`].
    pub(crate) status: Status,
    pub(crate) cursor: Option<Cursor>,
    /// Whoever drives the link waits until something is appended.
    sleeper: Option<Waker>,
    /// The sidecar has dealt with everything up to here.
    settled: u64,
    /// Frames up to `settled` that had been dropped.
    skipped: u64,
    answers: Answers,
    /// Who waits until `settled` reaches a sequence.
    flushes: Vec<(u64, Waker)>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            tail: Tail::new(),
            backlog_bytes: 0,
            held_bytes: 0,
            stopping: false,
            stop_waits: false,
            over: None,
            status: Status::default(),
            cursor: None,
            sleeper: None,
            settled: 0,
            skipped: 0,
            answers: Answers::default(),
            flushes: Vec::new(),
        }
    }

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

    /// Whether there is nothing to take from the tail; then who appends uses `waker`.
    pub(crate) fn may_sleep(&mut self, waker: &Waker) -> bool {
        let is_empty = self.tail.is_empty();
        self.sleeper = is_empty.then(|| waker.clone());
        is_empty
    }

    /// Whoever drives the link is awake, or is about to be: gives what it waits with.
    pub(crate) fn woke(&mut self) -> Option<Waker> {
        self.sleeper.take()
    }

    /// A link began. Its cursor counts unless it is an older one of the same epoch.
    pub(crate) fn welcomed(&mut self, welcome: &Welcome) {
        let known = self.cursor.as_ref().map(|cursor| &cursor.epoch);
        if known != Some(&welcome.epoch) {
            self.cursor = Some(welcome.epoch.at(welcome.position));
        }
        self.moved(welcome.position);
    }

    /// The link ended, or could not begin.
    pub(crate) fn unlinked(&mut self, backlog_bytes: usize, why: &str) {
        self.backlog_bytes = backlog_bytes;
        self.status.linked = false;
        if !self.stopping {
            self.status.last_error = Some(why.to_owned());
        }
    }

    /// The sidecar has dealt with everything up to `sequence`; `skipped` of the frames it newly covers had been dropped.
    pub(crate) fn settle(&mut self, sequence: u64, skipped: u64) {
        self.settled = self.settled.max(sequence);
        self.skipped += skipped;
        let reached = self
            .flushes
            .extract_if(.., |(sequence, _)| *sequence <= self.settled);
        reached.for_each(|(_, waker)| waker.wake());
    }

    /// The journal has reached `position`. The epoch is the link's; positions never go back within it.
    pub(crate) fn moved(&mut self, position: Position) {
        if let Some(cursor) = &mut self.cursor {
            cursor.position = cursor.position.max(position);
        }
    }

    /// Keeps a place for the answer to `sequence`.
    pub(super) fn expect_answer(&mut self, sequence: u64) {
        self.answers.expect(sequence);
    }

    /// The sequences whose answer is still to come.
    pub(crate) fn unanswered(&self) -> BTreeSet<u64> {
        self.answers.unanswered()
    }

    /// The answer to `sequence`, for whoever wants it.
    pub(crate) fn answer(&mut self, sequence: u64, outcome: Outcome) {
        self.answers.give(sequence, outcome);
    }

    /// Frames that no sidecar received and none ever will.
    pub(crate) fn dropped(&mut self, sequences: RangeInclusive<u64>) {
        self.answers.give_all(sequences, &Outcome::Dropped);
    }

    /// The answer to `sequence` if there is one, or none will come; otherwise `waker` is used when there is.
    pub(crate) fn answer_or_wait(&mut self, sequence: u64, waker: &Waker) -> Poll<Outcome> {
        match self.answers.take_or_wait(sequence, waker) {
            Some(outcome) => Poll::Ready(outcome),
            None if self.over.is_some() => {
                self.answers.forget(sequence);
                Poll::Ready(Outcome::TimedOut)
            }
            None => Poll::Pending,
        }
    }

    /// Nobody wants the answer to `sequence` any more.
    pub(crate) fn forget_answer(&mut self, sequence: u64) {
        self.answers.forget(sequence);
    }

    /// Uses `waker` when everything up to `sequence` is settled. The oldest gives way when there are too many, and looks
    /// again at its deadline.
    pub(crate) fn await_settled(&mut self, sequence: u64, waker: &Waker) {
        if self.flushes.len() >= WAITERS_MAX {
            self.flushes.remove(0);
        }
        self.flushes.push((sequence, waker.clone()));
    }

    pub(crate) fn forget_flush(&mut self, waker: &Waker) {
        self.flushes.retain(|(_, other)| !other.will_wake(waker));
    }

    /// Nobody drives the link any longer: nobody waits for what it would have brought.
    pub(super) fn end(&mut self, reason: NotAccepted) {
        if let NotAccepted::ThreadFailed(reason) = &reason {
            self.status.last_error = Some(reason.clone());
        }
        self.over = Some(reason);
        self.status.linked = false;
        self.answers.wake_all();
        self.flushes.drain(..).for_each(|(_, waker)| waker.wake());
    }
}
