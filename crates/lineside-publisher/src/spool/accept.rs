//! Producers' operations on the spool: publish, hold, release, revoke.

use std::sync::MutexGuard;

use lineside_protocol::channel::{SESSION_ID_BYTES_MAX, USER_ID_BYTES_MAX};
use lineside_protocol::frame::{FRAME_BYTES_MAX, HEAD_BYTES, PublishHead, Revoke};

use super::{Spool, State};
use crate::settings::{CHANNEL_BYTES_MAX, CONTROL_BYTES_RESERVED, ONCE_BYTES_MAX};

/// Number of an accepted frame within its publisher, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// Options of one publication.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishOptions<'a> {
    /// Id under which the publication lands once per channel, 1 to [`ONCE_BYTES_MAX`] bytes.
    pub once: Option<&'a str>,
    /// Keeps the reply for [`Publisher::wait_receipt`](crate::Publisher::wait_receipt) or [`Spool::answer`].
    pub wants_receipt: bool,
}

/// Reason for which a publication was not accepted. No part of it is sent.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAccepted {
    /// The spool is full: the sidecar is absent or too slow.
    #[error("the spool is full ({held} of {max} bytes are waiting for the sidecar)")]
    SpoolFull {
        /// Frames in the spool and reserved space, in bytes.
        held: usize,
        /// `spool_bytes_max`, with the reserve for a revocation.
        max: usize,
    },
    /// A part of the frame is over its limit.
    #[error("{what} has {bytes} bytes; at most {max} are allowed")]
    TooLarge {
        /// Name of the part.
        what: &'static str,
        /// Size of the part, in bytes.
        bytes: usize,
        /// Limit, in bytes.
        max: usize,
    },
    /// The writer thread could not be started. The next publication tries again.
    #[error(
        "cannot start the thread that writes to the sidecar ({0}): raise the limits of open files (`ulimit -n`) and threads, \
         or close files that are not in use"
    )]
    NoThread(String),
    /// The writer thread has panicked.
    #[error("the thread that writes to the sidecar failed: {0}; restart this process")]
    ThreadFailed(String),
    /// [`Publisher::stop`](crate::Publisher::stop) was called.
    #[error("this publisher was stopped")]
    Stopped,
}

/// Size of a publication's length fields: channel (`u16`) and payload (`u32`).
const PUBLICATION_HEAD_BYTES: usize = 6;
/// Size of an option's tag and length.
const OPTION_HEAD_BYTES: usize = 4;
/// Size of a sequence.
const SEQUENCE_BYTES: usize = 8;
/// Size of a revocation's time and of the length of its user id.
const DISCONNECT_HEAD_BYTES: usize = 10;

impl Spool {
    /// Accepts publications, which arrive together and in this order, or not at all. With no publications, returns the
    /// newest sequence.
    ///
    /// # Errors
    /// Returns the reason if they were not accepted, for example because they exceed one frame ([`FRAME_BYTES_MAX`]).
    pub fn publish(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<Sequence, NotAccepted> {
        if publications.is_empty() {
            return Ok(Sequence(self.state().tail.last()));
        }
        let frame_bytes = self.frame_bytes(publications, options)?;
        let mut state = self.accepting()?;
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
        Ok(accepted(state, sequence, wants_receipt))
    }

    /// Reserves space for later publications, and returns its size in bytes. Call [`release`](Self::release) right before
    /// publishing them, or to drop them.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn hold(
        &self,
        publications: &[(&str, &[u8])],
        options: PublishOptions<'_>,
    ) -> Result<usize, NotAccepted> {
        let frame_bytes = self.frame_bytes(publications, options)?;
        let mut state = self.accepting()?;
        self.check_room(&mut state, frame_bytes)?;
        state.held_bytes += frame_bytes;
        Ok(frame_bytes)
    }

    /// Frees space that [`hold`](Self::hold) reserved. `frame_bytes` is the size that it returned.
    pub fn release(&self, frame_bytes: usize) {
        let mut state = self.state();
        state.held_bytes = state.held_bytes.saturating_sub(frame_bytes);
    }

    /// Accepts a revocation of a user's tokens, or of one session's. It may use [`CONTROL_BYTES_RESERVED`] beyond
    /// `spool_bytes_max`, and counts as spool usage for publications.
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
        let session = session.unwrap_or_default();
        let frame_bytes = HEAD_BYTES
            + SEQUENCE_BYTES
            + DISCONNECT_HEAD_BYTES
            + within("the user's id", user.len(), USER_ID_BYTES_MAX)?
            + within("the session's id", session.len(), SESSION_ID_BYTES_MAX)?;
        let frame = Revoke {
            sequence: 0,
            wants_receipt,
            revoked_ms,
            sub: user.to_owned().into(),
            sid: session.to_owned().into(),
        };
        let mut state = self.accepting()?;
        let held = state.spool_bytes();
        let max = self.settings().spool_bytes_max + CONTROL_BYTES_RESERVED;
        if held + frame_bytes > max {
            state.status.dropped_full += 1;
            return Err(NotAccepted::SpoolFull { held, max });
        }
        let sequence = state.tail.append_revoke(frame, frame_bytes);
        Ok(accepted(state, sequence, wants_receipt))
    }

    /// Locks the state. Fails if the publisher is stopping or has ended.
    pub(crate) fn accepting(&self) -> Result<MutexGuard<'_, State>, NotAccepted> {
        let state = self.state();
        match &state.ended {
            Some(reason) => Err(reason.clone()),
            None if state.stopping => Err(NotAccepted::Stopped),
            None => Ok(state),
        }
    }

    /// Checks that a frame of this size fits beside the frames in the spool and the reserved space.
    fn check_room(&self, state: &mut State, frame_bytes: usize) -> Result<(), NotAccepted> {
        let held = state.spool_bytes() + state.held_bytes;
        let max = self.settings().spool_bytes_max;
        if held + frame_bytes > max {
            state.status.dropped_full += 1;
            return Err(NotAccepted::SpoolFull { held, max });
        }
        Ok(())
    }

    /// Returns the size of a frame, in bytes. Fails if a part is over its limit.
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
                    self.settings().payload_bytes_max,
                )?;
        }
        within("the data published together", bytes, FRAME_BYTES_MAX)
    }
}

/// Completes an accepted frame: registers for its reply if wanted, and wakes the writer thread.
fn accepted(mut state: MutexGuard<'_, State>, sequence: u64, wants_receipt: bool) -> Sequence {
    if wants_receipt {
        state.expect_answer(sequence);
    }
    let sleeper = state.remove_sleeper();
    drop(state);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
    Sequence(sequence)
}

/// Returns `bytes` if they are within the limit.
fn within(what: &'static str, bytes: usize, max: usize) -> Result<usize, NotAccepted> {
    if bytes > max {
        return Err(NotAccepted::TooLarge { what, bytes, max });
    }
    Ok(bytes)
}
