//! Spool: frames that are accepted and not acked.
//!
//! Producers append to the [`Tail`] under the spool's mutex. [`LinkClient`](crate::LinkClient) moves its frames, sealed into
//! [`Chunk`]s, to the [`Backlog`], which it owns. No IO and no clock: the time of a chunk is that of the move.

mod accept;
mod answers;
mod backlog;
mod chunk;
mod state;
mod tail;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use lineside_protocol::Cursor;

use crate::settings::Settings;
pub use accept::{NotAccepted, PublishOptions, Sequence};
pub use answers::Outcome;
pub(crate) use backlog::Backlog;
use chunk::{CHUNK_BYTES_MAX, Chunk};
pub(crate) use state::State;
pub use state::Status;
use tail::Tail;

/// Unacked publications of a process, bounded in bytes and in age, and the replies of the sidecar.
///
/// Shared between the producers and one [`LinkClient`](crate::LinkClient). The lock is held for short work in memory only.
/// Wakers are called under the lock, and must not call the spool.
#[derive(Debug)]
pub struct Spool {
    settings: Settings,
    state: Mutex<State>,
    /// Signalled when the spool ends, and when frames are settled while a stop waits.
    pub(crate) changed: Condvar,
}

impl Spool {
    /// Creates an empty spool.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            state: Mutex::new(State::new()),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Locks the state. Ignores poisoning: [`Spool::end`] reports a panic of the writer thread.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest known position of the journal, without a round trip, or `None` before the first welcome. Keeps its
    /// value while disconnected, and never decreases within an epoch.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.state().cursor.clone()
    }

    /// Returns counters and the state of the link.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state().status()
    }

    /// Returns the reply to a frame with `wants_receipt`, once. If there is none yet, calls `waker` when it arrives.
    ///
    /// A reply is kept until it is fetched or [given up](Self::give_up), or until [`WAITERS_MAX`](crate::WAITERS_MAX) newer
    /// receipts were requested. Returns `TimedOut` for a reply that is not kept.
    pub fn answer(&self, sequence: Sequence, waker: &Waker) -> Poll<Outcome> {
        self.state().answer_or_wait(sequence.0, waker)
    }

    /// Drops the reply to this frame, received or not.
    pub fn give_up(&self, sequence: Sequence) {
        self.state().forget_answer(sequence.0);
    }

    /// Ends the spool: later publications are refused with `reason`, and all waits end.
    pub(crate) fn end(&self, reason: NotAccepted) {
        self.state().end(reason);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
