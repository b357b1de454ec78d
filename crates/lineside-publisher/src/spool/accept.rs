//! What producers do: every way into the spool.

use std::sync::MutexGuard;

use lineside_protocol::frame::{Disconnect, FRAME_BYTES_MAX, HEAD_BYTES, PublishHead};

use super::{Spool, State};
use crate::settings::{
    CHANNEL_BYTES_MAX, CONTROL_BYTES_RESERVED, ONCE_BYTES_MAX, SESSION_BYTES_MAX, USER_BYTES_MAX,
};

/// The number of an accepted frame within its publisher: 1, 2, 3 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

/// How to publish.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishOptions<'a> {
    /// Lands once per channel under this id, of 1 to [`ONCE_BYTES_MAX`] bytes.
    pub once: Option<&'a str>,
    /// Its answer will be fetched by [`Publisher::wait_receipt`](crate::Publisher::wait_receipt) or [`Spool::answer`].
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
    /// [`Publisher::stop`](crate::Publisher::stop) was called.
    #[error("this publisher was stopped")]
    Stopped,
}

/// Lengths before a publication's channel (`u16`) and payload (`u32`).
const PUBLICATION_HEAD_BYTES: usize = 6;
/// Tag and length before the value of an option.
const OPTION_HEAD_BYTES: usize = 4;
const SEQUENCE_BYTES: usize = 8;
/// The time and the length of the user's id.
const DISCONNECT_HEAD_BYTES: usize = 10;

impl Spool {
    /// Accepts publications, which arrive together and in this order, or not at all. None is nothing to do: it gives the
    /// newest sequence.
    ///
    /// # Errors
    /// Says why they were not accepted; also when they are too large for one frame ([`FRAME_BYTES_MAX`]).
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

    /// Keeps room for what will be published later, or never, and gives its size in bytes. [`release`](Self::release) gives
    /// the room back: right before publishing it, or instead.
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

    /// Gives back room that [`hold`](Self::hold) kept, as many bytes as it said.
    pub fn release(&self, frame_bytes: usize) {
        let mut state = self.state();
        state.held_bytes = state.held_bytes.saturating_sub(frame_bytes);
    }

    /// Accepts a frame that signs a user out, or one of its sessions: it finds room when publications do not, up to
    /// [`CONTROL_BYTES_RESERVED`] beyond `spool_bytes_max`. What it fills there counts against publications too.
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
        let session = session.unwrap_or_default();
        let frame_bytes = HEAD_BYTES
            + SEQUENCE_BYTES
            + DISCONNECT_HEAD_BYTES
            + within("the user's id", user.len(), USER_BYTES_MAX)?
            + within("the session's id", session.len(), SESSION_BYTES_MAX)?;
        let frame = Disconnect {
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
        let sequence = state.tail.append_disconnect(frame, frame_bytes);
        Ok(accepted(state, sequence, wants_receipt))
    }

    /// The state, while anything is accepted at all.
    pub(crate) fn accepting(&self) -> Result<MutexGuard<'_, State>, NotAccepted> {
        let state = self.state();
        match &state.over {
            Some(reason) => Err(reason.clone()),
            None if state.stopping => Err(NotAccepted::Stopped),
            None => Ok(state),
        }
    }

    /// Whether a frame of so many bytes fits beside what is in the spool and what room is kept for.
    fn check_room(&self, state: &mut State, frame_bytes: usize) -> Result<(), NotAccepted> {
        let held = state.spool_bytes() + state.held_bytes;
        let max = self.settings().spool_bytes_max;
        if held + frame_bytes > max {
            state.status.dropped_full += 1;
            return Err(NotAccepted::SpoolFull { held, max });
        }
        Ok(())
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
                    self.settings().payload_bytes_max,
                )?;
        }
        within("what is published together", bytes, FRAME_BYTES_MAX)
    }
}

/// A frame is in the tail: keeps a place for its answer, and wakes whoever drives the link.
fn accepted(mut state: MutexGuard<'_, State>, sequence: u64, wants_receipt: bool) -> Sequence {
    if wants_receipt {
        state.expect_answer(sequence);
    }
    let sleeper = state.woke();
    drop(state);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
    Sequence(sequence)
}

fn within(what: &'static str, bytes: usize, max: usize) -> Result<usize, NotAccepted> {
    if bytes > max {
        return Err(NotAccepted::TooLarge { what, bytes, max });
    }
    Ok(bytes)
}
