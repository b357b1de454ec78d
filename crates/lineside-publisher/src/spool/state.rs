//! State under the spool's lock, and the counters of a publisher.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::task::{Poll, Waker};

use lineside_protocol::frame::Welcome;
use lineside_protocol::{Cursor, Position};

use super::NotAccepted;
use super::answers::{Answers, Outcome};
use super::tail::Tail;
use crate::settings::WAITERS_MAX;

/// Counters and link state of one publisher, as a consistent snapshot. Each call is one frame, `publish_all` included.
///
/// `accepted` = `acked` + `dropped_aged` + frames in the spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the link is open: the welcome was received.
    pub linked: bool,
    /// Number of accepted frames.
    pub accepted: u64,
    /// Number of acked frames, refused ones included.
    pub acked: u64,
    /// Number of frames that were not accepted because the spool was full.
    pub dropped_full: u64,
    /// Number of accepted frames that were dropped because they could not be sent within `spool_seconds_max`.
    pub dropped_aged: u64,
    /// Number of frames that the sidecar refused.
    pub refused: u64,
    /// Number of publications in the frames of `dropped_aged`. A revocation counts as one.
    pub publications_aged: u64,
    /// Number of publications in the frames of `refused`. A revocation counts as one.
    pub publications_refused: u64,
    /// Number of retransmitted frames. The sidecar drops duplicates.
    pub resent: u64,
    /// Number of links after the first.
    pub reconnects: u64,
    /// Size of the frames in the spool, in bytes.
    pub spool_bytes: usize,
    /// Reason for which there is no link, and the remedy; or a problem of the open link.
    pub last_error: Option<String>,
    /// Message of the sidecar's latest refusal.
    pub last_refusal: Option<String>,
    /// Whether the sidecar verifies tokens with another key than this process signs with.
    pub mismatch: bool,
}

/// State under the spool's lock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) tail: Tail,
    /// Size of the frames in the backlog, in bytes.
    pub(crate) backlog_bytes: usize,
    /// Space reserved by [`Spool::hold`](super::Spool::hold), in bytes.
    pub(crate) held_bytes: usize,
    pub(crate) stopping: bool,
    /// Whether a stop waits on the spool's `changed`.
    pub(crate) stop_waits: bool,
    /// Reason for which the spool has ended and nothing more will be sent.
    pub(crate) ended: Option<NotAccepted>,
    /// Counters that are kept here. [`State::status`] fills in the others.
    pub(crate) status: Status,
    pub(crate) cursor: Option<Cursor>,
    /// Waker of the writer thread, while it waits for the next frame.
    sleeper: Option<Waker>,
    /// Every sequence up to here is settled.
    settled: u64,
    /// Number of frames up to `settled` that had been dropped.
    skipped: u64,
    answers: Answers,
    /// Flushes that wait until `settled` reaches a sequence.
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
            ended: None,
            status: Status::default(),
            cursor: None,
            sleeper: None,
            settled: 0,
            skipped: 0,
            answers: Answers::default(),
            flushes: Vec::new(),
        }
    }

    /// Returns the size of the frames in the spool, in bytes.
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

    /// Returns whether the tail is empty. If it is, the next append calls `waker`.
    pub(crate) fn may_sleep(&mut self, waker: &Waker) -> bool {
        let is_empty = self.tail.is_empty();
        self.sleeper = is_empty.then(|| waker.clone());
        is_empty
    }

    /// Removes and returns the waker of the writer thread, which is awake or about to be woken.
    pub(crate) fn remove_sleeper(&mut self) -> Option<Waker> {
        self.sleeper.take()
    }

    /// Applies the welcome's cursor, unless it is older than the known one of the same epoch.
    pub(crate) fn welcomed(&mut self, welcome: &Welcome) {
        let known = self.cursor.as_ref().map(|cursor| &cursor.epoch);
        if known != Some(&welcome.epoch) {
            self.cursor = Some(welcome.epoch.at(welcome.position));
        }
        self.moved(welcome.position);
    }

    /// Records the end of a link, or a failure to connect.
    pub(crate) fn unlinked(&mut self, backlog_bytes: usize, why: &str) {
        self.backlog_bytes = backlog_bytes;
        self.status.linked = false;
        if !self.stopping {
            self.status.last_error = Some(why.to_owned());
        }
    }

    /// Settles every frame up to `sequence`, and wakes the flushes that it completes. `skipped` of the newly settled frames
    /// had been dropped.
    pub(crate) fn settle(&mut self, sequence: u64, skipped: u64) {
        self.settled = self.settled.max(sequence);
        self.skipped += skipped;
        let reached = self
            .flushes
            .extract_if(.., |(sequence, _)| *sequence <= self.settled);
        reached.for_each(|(_, waker)| waker.wake());
    }

    /// Advances the cursor to `position` of the link's epoch. Never moves it back.
    pub(crate) fn moved(&mut self, position: Position) {
        if let Some(cursor) = &mut self.cursor {
            cursor.position = cursor.position.max(position);
        }
    }

    /// Registers for the reply to `sequence`.
    pub(super) fn expect_answer(&mut self, sequence: u64) {
        self.answers.expect(sequence);
    }

    /// Returns the sequences without a reply.
    pub(crate) fn unanswered(&self) -> BTreeSet<u64> {
        self.answers.unanswered()
    }

    /// Stores the reply to `sequence`, if it is wanted, and wakes its waiter.
    pub(crate) fn answer(&mut self, sequence: u64, outcome: Outcome) {
        self.answers.give(sequence, outcome);
    }

    /// Replies `Dropped` to frames that no sidecar has received or will receive.
    pub(crate) fn dropped(&mut self, sequences: RangeInclusive<u64>) {
        self.answers.give_all(sequences, &Outcome::Dropped);
    }

    /// Returns the reply to `sequence`, or `TimedOut` if none will arrive. Otherwise calls `waker` when it arrives.
    pub(crate) fn answer_or_wait(&mut self, sequence: u64, waker: &Waker) -> Poll<Outcome> {
        match self.answers.poll(sequence, waker) {
            Some(outcome) => Poll::Ready(outcome),
            None if self.ended.is_some() => {
                self.answers.forget(sequence);
                Poll::Ready(Outcome::TimedOut)
            }
            None => Poll::Pending,
        }
    }

    /// Removes the registration of `sequence`.
    pub(crate) fn forget_answer(&mut self, sequence: u64) {
        self.answers.forget(sequence);
    }

    /// Calls `waker` when every frame up to `sequence` is settled. Beyond [`WAITERS_MAX`] waiters the oldest is dropped, and
    /// checks again at its deadline.
    pub(crate) fn await_settled(&mut self, sequence: u64, waker: &Waker) {
        if self.flushes.len() >= WAITERS_MAX {
            self.flushes.remove(0);
        }
        self.flushes.push((sequence, waker.clone()));
    }

    pub(crate) fn forget_flush(&mut self, waker: &Waker) {
        self.flushes.retain(|(_, other)| !other.will_wake(waker));
    }

    /// Ends the state: stores the reason, and wakes all waiters.
    pub(super) fn end(&mut self, reason: NotAccepted) {
        if let NotAccepted::ThreadFailed(reason) = &reason {
            self.status.last_error = Some(reason.clone());
        }
        self.ended = Some(reason);
        self.status.linked = false;
        self.answers.wake_all();
        self.flushes.drain(..).for_each(|(_, waker)| waker.wake());
    }
}
