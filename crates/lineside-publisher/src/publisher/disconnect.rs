//! Sign-out: frames that must find room when publications do not.

use lineside_protocol::frame::{Disconnect, HEAD_BYTES};

use super::{NotAccepted, Publisher, SEQUENCE_BYTES, Sequence, within};
use crate::settings::{CONTROL_BYTES_RESERVED, SESSION_BYTES_MAX, USER_BYTES_MAX};

/// The time and the length of the user's id.
const DISCONNECT_HEAD_BYTES: usize = 10;

impl Publisher {
    /// Has the sidecar revoke the tokens of a user, or of one of its sessions, that were made up to `revoked_ms`
    /// (milliseconds since the Unix epoch, by the clock that signs tokens), and close their connections. Returns at once.
    ///
    /// It goes in order with what is published. [`CONTROL_BYTES_RESERVED`] of the spool are there for such frames alone; like
    /// any other it is dropped when it cannot be sent within `spool_seconds_max`. With `wants_receipt` its answer will be
    /// fetched by [`wait_receipt`](Self::wait_receipt).
    ///
    /// What fills the spool beyond `spool_bytes_max` counts against publications too: even one that room is kept for is not
    /// accepted until there is less again.
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
        let mut state = self.running()?;
        let held = state.spool_bytes();
        let max = self.shared.settings.spool_bytes_max + CONTROL_BYTES_RESERVED;
        if held + frame_bytes > max {
            state.status.dropped_full += 1;
            return Err(NotAccepted::SpoolFull { held, max });
        }
        let sequence = state.tail.append_disconnect(frame, frame_bytes);
        Ok(self.accepted(state, sequence, wants_receipt))
    }
}
