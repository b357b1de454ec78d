//! The spool: what was accepted and is not acked yet.
//!
//! Producers append to the [`Tail`], under the spool's mutex; the [link](crate::Link) moves it, sealed into [`Chunk`]s, to
//! the [`Backlog`], which is its own. No IO, and no clock: the link dates what it finds.

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

/// What a process has published and the sidecar has not acked, bounded in bytes and in age; and what the sidecar has said.
///
/// Shared between those who publish and one [`Link`](crate::Link). Its lock is only ever held for short work in memory;
/// wakers may be used under it, so they must not come back here.
#[derive(Debug)]
pub struct Spool {
    settings: Settings,
    state: Mutex<State>,
    /// It is over, or a stop that waits may find everything settled.
    pub(crate) changed: Condvar,
}

impl Spool {
    /// An empty spool.
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

    /// The state. A panic elsewhere does not end publishing here: the link's own end is told by [`Spool::over`].
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest position of the journal known here, without asking; `None` before the first welcome. While there is no
    /// link it stays what it was. Never goes back within an epoch.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.state().cursor.clone()
    }

    /// How things are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state().status()
    }

    /// The answer to a frame that was published with `wants_receipt`, once; without one yet, `waker` is used when there is.
    ///
    /// Answers are kept until they are fetched, [given up](Self::give_up), or as many as
    /// [`WAITERS_MAX`](crate::WAITERS_MAX) newer ones were asked for; what is not kept is `TimedOut`.
    pub fn answer(&self, sequence: Sequence, waker: &Waker) -> Poll<Outcome> {
        self.state().answer_or_wait(sequence.0, waker)
    }

    /// Says that nobody wants this answer (any more).
    pub fn give_up(&self, sequence: Sequence) {
        self.state().forget_answer(sequence.0);
    }

    /// Nothing more is sent or will be answered, and `reason` is what producers are told.
    pub(crate) fn over(&self, reason: NotAccepted) {
        self.state().end(reason);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
