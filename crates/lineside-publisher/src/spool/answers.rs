use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::task::Waker;

use lineside_protocol::Cursor;

use crate::settings::WAITERS_MAX;

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

/// Answers that somebody wants, by sequence.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<u64, Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Answers {
    /// Keeps a place for the answer to `sequence`. The oldest gives way when there are too many.
    pub(super) fn expect(&mut self, sequence: u64) {
        if self.0.len() >= WAITERS_MAX
            && let Some((_, oldest)) = self.0.pop_first()
            && let Some(waker) = oldest.waker
        {
            waker.wake();
        }
        self.0.insert(sequence, Awaited::default());
    }

    /// The sequences whose answer is still to come.
    pub(super) fn unanswered(&self) -> BTreeSet<u64> {
        self.0
            .iter()
            .filter(|(_, awaited)| awaited.outcome.is_none())
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    /// The answer to `sequence`, for whoever wants it.
    pub(super) fn give(&mut self, sequence: u64, outcome: Outcome) {
        if let Some(awaited) = self.0.get_mut(&sequence) {
            awaited.outcome = Some(outcome);
            if let Some(waker) = awaited.waker.take() {
                waker.wake();
            }
        }
    }

    /// The same answer to all of them that are wanted.
    pub(super) fn give_all(&mut self, sequences: RangeInclusive<u64>, outcome: &Outcome) {
        if sequences.is_empty() {
            return;
        }
        let wanted = self.0.range(sequences).map(|(sequence, _)| *sequence);
        for sequence in wanted.collect::<Vec<_>>() {
            self.give(sequence, outcome.clone());
        }
    }

    /// The answer to `sequence`, once; `TimedOut` when no place is kept for it, and `None` when it is still to come: then
    /// `waker` is used when it does.
    pub(super) fn take_or_wait(&mut self, sequence: u64, waker: &Waker) -> Option<Outcome> {
        let Some(awaited) = self.0.get_mut(&sequence) else {
            return Some(Outcome::TimedOut);
        };
        if awaited.outcome.is_none() {
            awaited.waker = Some(waker.clone());
            return None;
        }
        self.0.remove(&sequence)?.outcome
    }

    /// Nobody wants the answer to `sequence` any more.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.0.remove(&sequence);
    }

    /// No further answer will come: whoever waits looks again.
    pub(super) fn wake_all(&mut self) {
        let waiting = self.0.values_mut();
        waiting
            .filter_map(|awaited| awaited.waker.take())
            .for_each(Waker::wake);
    }
}
