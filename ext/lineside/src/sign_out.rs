//! Signing people out: what is dated by the clock that signs tokens too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use magnus::{Error, IntoValue, RString, Ruby, Value};

use crate::error::guard;
use crate::link;

/// When this process signed somebody out last, in milliseconds since the Unix epoch.
static SIGNED_OUT_MS: AtomicU64 = AtomicU64::new(0);

/// `Native.disconnect(user, session, wants_receipt)`: revokes the tokens of a user, or of one session, that were signed by
/// now. The number of the hand-over; or, when it was not accepted, a String that says why.
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
        let publisher = link::publisher(ruby)?;
        match publisher.disconnect(&user, session.as_deref(), revoked_ms, wants_receipt) {
            Ok(sequence) => {
                SIGNED_OUT_MS.store(revoked_ms, Ordering::Relaxed);
                Ok(sequence.0.into_value_with(ruby))
            }
            Err(problem) => link::why_not(ruby, &problem),
        }
    })
}

/// The time to date a token by. A token that is signed after a sign-out is for whoever signs in again, so within the same
/// millisecond it counts as the next one's.
pub(crate) fn issued_ms() -> u64 {
    let now_ms = now_ms();
    now_ms + u64::from(SIGNED_OUT_MS.load(Ordering::Relaxed) == now_ms)
}

fn now_ms() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
