//! Revocation of tokens, and the time of signing: both use the same clock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use magnus::{Error, IntoValue, RString, Ruby, Value};

use crate::error::guard;
use crate::publisher;

/// Time of this process's latest revocation, in milliseconds since the Unix epoch.
static REVOKED_MS: AtomicU64 = AtomicU64::new(0);

/// `Native.disconnect(user, session, wants_receipt)`: revokes the tokens of a user, or of one session, that were signed up
/// to now. Returns the sequence of the frame, or a String with the reason if it was not accepted.
pub(crate) fn disconnect(
    ruby: &Ruby,
    user: RString,
    session: Option<RString>,
    wants_receipt: bool,
) -> Result<Value, Error> {
    guard(ruby, || {
        let user = user.to_string()?;
        let session = session.map(RString::to_string).transpose()?;
        let revoked_ms = now_ms();
        let publisher = publisher::current(ruby)?;
        match publisher.revoke(&user, session.as_deref(), revoked_ms, wants_receipt) {
            Ok(sequence) => {
                REVOKED_MS.store(revoked_ms, Ordering::Relaxed);
                Ok(sequence.0.into_value_with(ruby))
            }
            Err(problem) => publisher::not_accepted(ruby, &problem),
        }
    })
}

/// Returns the `iat_ms` of a new token: now, or the next millisecond if a revocation has the current one. A token that is
/// signed after a revocation belongs to a new sign-in, and must stay valid.
pub(crate) fn issued_ms() -> u64 {
    let now_ms = now_ms();
    now_ms + u64::from(REVOKED_MS.load(Ordering::Relaxed) == now_ms)
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
