//! Replies that producers wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::task::Waker;

use lineside_protocol::Cursor;

use crate::settings::WAITERS_MAX;

/// Result of a wait for a receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The frame is in the journal.
    Receipt {
        /// Cursor of the frame's last publication.
        cursor: Cursor,
        /// Whether the `once` id had landed before. The cursor is then that of the earlier publication.
        duplicate: bool,
    },
    /// The sidecar refused the frame permanently.
    Refused {
        /// One of [`lineside_protocol::codes::LINK_CODES`].
        code: u16,
        /// The problem and the value that caused it.
        message: String,
    },
    /// No reply arrived before the deadline, or the writer thread has ended. The frame may have been delivered.
    TimedOut,
    /// The interrupter was used, or a signal was handled. The reply is still kept: wait again, or
    /// [give up](crate::Publisher::give_up).
    Interrupted,
    /// The frame expired before it was sent, and was not delivered.
    Dropped,
}

/// Wanted replies, by sequence.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<u64, Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Answers {
    /// Registers for the reply to `sequence`. Beyond [`WAITERS_MAX`] registrations the oldest is dropped.
    pub(super) fn expect(&mut self, sequence: u64) {
        if self.0.len() >= WAITERS_MAX
            && let Some((_, oldest)) = self.0.pop_first()
            && let Some(waker) = oldest.waker
        {
            waker.wake();
        }
        self.0.insert(sequence, Awaited::default());
    }

    /// Returns the sequences without a reply.
    pub(super) fn unanswered(&self) -> BTreeSet<u64> {
        self.0
            .iter()
            .filter(|(_, awaited)| awaited.outcome.is_none())
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    /// Stores the reply to `sequence`, if it is wanted, and wakes its waiter.
    pub(super) fn give(&mut self, sequence: u64, outcome: Outcome) {
        if let Some(awaited) = self.0.get_mut(&sequence) {
            awaited.outcome = Some(outcome);
            if let Some(waker) = awaited.waker.take() {
                waker.wake();
            }
        }
    }

    /// Stores the same reply for every wanted sequence of the range.
    pub(super) fn give_all(&mut self, sequences: RangeInclusive<u64>, outcome: &Outcome) {
        if sequences.is_empty() {
            return;
        }
        let wanted = self.0.range(sequences).map(|(sequence, _)| *sequence);
        for sequence in wanted.collect::<Vec<_>>() {
            self.give(sequence, outcome.clone());
        }
    }

    /// Returns the reply to `sequence` and removes it. Returns `TimedOut` if it is not registered, and `None` if there is no
    /// reply yet; `waker` is then called when it arrives.
    pub(super) fn poll(&mut self, sequence: u64, waker: &Waker) -> Option<Outcome> {
        let Some(awaited) = self.0.get_mut(&sequence) else {
            return Some(Outcome::TimedOut);
        };
        if awaited.outcome.is_none() {
            awaited.waker = Some(waker.clone());
            return None;
        }
        self.0.remove(&sequence)?.outcome
    }

    /// Removes the registration of `sequence`.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.0.remove(&sequence);
    }

    /// Wakes all waiters, because no further reply will arrive.
    pub(super) fn wake_all(&mut self) {
        let waiting = self.0.values_mut();
        waiting
            .filter_map(|awaited| awaited.waker.take())
            .for_each(Waker::wake);
    }
}
