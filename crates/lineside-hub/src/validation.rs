//! Validation of frames from publishers, done once and outside the hub's lock.

use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::channel::{self, SESSION_ID_BYTES_MAX};
use lineside_protocol::codes::{LINK_BAD_CHANNEL, LINK_BAD_ONCE, LINK_BAD_PAYLOAD, LINK_TOO_LARGE};
use lineside_protocol::frame::{Publish, Revoke, Skip};
use lineside_protocol::{NESTING_LEVELS_MAX, check_json, nesting_levels};

use crate::rejection::Rejection;
use crate::revocations::Revocation;

/// Maximum length of a `once` id, in bytes.
pub const ONCE_ID_BYTES_MAX: usize = 255;

/// Maximum number of characters of a rejected name in an error message.
const SHOWN_CHARACTERS_MAX: usize = 64;

/// One publication that passed validation.
#[derive(Debug)]
pub(crate) struct ValidPublication {
    pub(crate) channel: String,
    /// One JSON value in UTF-8.
    pub(crate) payload: Bytes,
}

/// Change to the hub that a frame asks for.
#[derive(Debug)]
pub(crate) enum Change {
    /// Appends all publications of the frame.
    Publish {
        /// The publisher sent the frame before, to a sidecar that may have received it.
        resent: bool,
        once: Option<Bytes>,
        publications: Vec<ValidPublication>,
    },
    /// Revokes the tokens of a user or a session.
    Revoke(Arc<Revocation>),
    /// The publisher dropped every frame up to this sequence.
    Skip,
    /// Changes nothing. The frame failed validation.
    Reject(Rejection),
}

/// One frame of a publisher after validation: the input of [`Hub::propose`](crate::Hub::propose).
#[derive(Debug)]
pub struct Proposal {
    pub(crate) sequence: u64,
    pub(crate) wants_receipt: bool,
    pub(crate) change: Change,
}

impl Proposal {
    /// Validates a publish frame: each channel name, each payload (at most `payload_bytes_max` bytes, one JSON value with
    /// at most [`NESTING_LEVELS_MAX`] levels) and the length of the `once` id. An invalid frame becomes a rejection.
    #[must_use]
    pub fn publish(frame: &Publish, payload_bytes_max: usize) -> Self {
        let once = frame.once.as_deref().map_or(Ok(()), validate_once);
        let validate =
            |(channel, payload): (Bytes, Bytes)| validate(&channel, payload, payload_bytes_max);
        let publications: Result<Vec<_>, _> =
            once.and_then(|()| frame.publications.iter().map(validate).collect());
        Self {
            sequence: frame.sequence,
            wants_receipt: frame.wants_receipt,
            change: publications.map_or_else(Change::Reject, |publications| Change::Publish {
                resent: frame.resent,
                once: frame.once.clone(),
                publications,
            }),
        }
    }

    /// Validates a revocation frame: the user and the session.
    ///
    /// A time after `latest_ms` (milliseconds since the Unix epoch) is replaced by `latest_ms`. No acceptable token is
    /// newer, and a publisher with a wrong clock must not revoke tokens that are issued later. A time before
    /// `set_back_from_ms` is replaced by it: see [`Hub::set_back_from_ms`](crate::Hub::set_back_from_ms).
    #[must_use]
    pub fn revoke(frame: &Revoke, latest_ms: u64, set_back_from_ms: Option<u64>) -> Self {
        let session = validate_session(&frame.sid);
        let revocation = validate_user(&frame.sub).and_then(|user| {
            Ok(Revocation {
                user,
                session: session?,
                until_ms: frame
                    .revoked_ms
                    .min(latest_ms)
                    .max(set_back_from_ms.unwrap_or(0)),
            })
        });
        Self {
            sequence: frame.sequence,
            wants_receipt: frame.wants_receipt,
            change: revocation.map_or_else(Change::Reject, |it| Change::Revoke(Arc::new(it))),
        }
    }

    /// Frames that the publisher dropped before sending them.
    #[must_use]
    pub fn skip(frame: &Skip) -> Self {
        Self {
            sequence: frame.through,
            wants_receipt: false,
            change: Change::Skip,
        }
    }

    /// A frame that cannot be decoded.
    #[must_use]
    pub fn rejected(sequence: u64, rejection: Rejection) -> Self {
        Self {
            sequence,
            wants_receipt: false,
            change: Change::Reject(rejection),
        }
    }

    /// Sequence of the frame, counted by its publisher.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the publisher wants a receipt.
    #[must_use]
    pub fn wants_receipt(&self) -> bool {
        self.wants_receipt
    }
}

fn validate(
    channel: &[u8],
    payload: Bytes,
    payload_bytes_max: usize,
) -> Result<ValidPublication, Rejection> {
    let bad_channel = |why: String| Rejection {
        code: LINK_BAD_CHANNEL,
        message: format!(
            "the channel {} is refused: {why}",
            shown(&String::from_utf8_lossy(channel))
        ),
    };
    let name = str::from_utf8(channel).map_err(|error| bad_channel(error.to_string()))?;
    channel::check(name).map_err(|error| bad_channel(error.to_string()))?;
    if payload.len() > payload_bytes_max {
        let message = format!(
            "the payload for {} has {} bytes; the maximum is {payload_bytes_max}",
            shown(name),
            payload.len(),
        );
        return Err(Rejection {
            code: LINK_TOO_LARGE,
            message,
        });
    }
    let bad_payload = |why: String| Rejection {
        code: LINK_BAD_PAYLOAD,
        message: format!("the payload for {} {why}", shown(name)),
    };
    let not_json = |why: String| bad_payload(format!("is not JSON: {why}"));
    let text = str::from_utf8(&payload).map_err(|error| not_json(error.to_string()))?;
    check_json(text).map_err(not_json)?;
    if nests_too_deep(&payload) {
        return Err(bad_payload(format!(
            "nests deeper than {NESTING_LEVELS_MAX} levels, the limit of common JSON readers; publish flatter data"
        )));
    }
    Ok(ValidPublication {
        channel: name.to_owned(),
        payload,
    })
}

/// Whether arrays and objects of a JSON value nest more than [`NESTING_LEVELS_MAX`] levels.
fn nests_too_deep(json: &[u8]) -> bool {
    if json.len() <= 2 * NESTING_LEVELS_MAX || opening_brackets(json) <= NESTING_LEVELS_MAX {
        return false;
    }
    nesting_levels(json) > NESTING_LEVELS_MAX
}

/// Number of opening brackets and braces, in strings too. Costs a thirtieth of parsing, and spares most payloads the
/// exact count.
fn opening_brackets(json: &[u8]) -> usize {
    // The two characters differ in one bit. A count of one byte per chunk lets the compiler vectorize the sum.
    let in_chunk = |chunk: &[u8]| -> u8 { chunk.iter().map(|b| u8::from(b | 0x20 == b'{')).sum() };
    json.chunks(usize::from(u8::MAX))
        .map(|chunk| usize::from(in_chunk(chunk)))
        .sum()
}

fn validate_once(id: &[u8]) -> Result<(), Rejection> {
    let (code, message) = match id.len() {
        0 => (
            LINK_BAD_ONCE,
            "the once id is empty; give 1 to 255 bytes, or none".to_owned(),
        ),
        1..=ONCE_ID_BYTES_MAX => return Ok(()),
        bytes => (
            LINK_TOO_LARGE,
            format!("the once id has {bytes} bytes; the maximum is {ONCE_ID_BYTES_MAX}"),
        ),
    };
    Err(Rejection { code, message })
}

fn validate_user(sub: &[u8]) -> Result<String, Rejection> {
    let bad = |why: String| Rejection {
        code: LINK_BAD_CHANNEL,
        message: format!(
            "the user {} is refused: {why}",
            shown(&String::from_utf8_lossy(sub))
        ),
    };
    let user = str::from_utf8(sub).map_err(|error| bad(error.to_string()))?;
    channel::check_user_id(user).map_err(|error| bad(error.to_string()))?;
    Ok(user.to_owned())
}

fn validate_session(sid: &[u8]) -> Result<Option<String>, Rejection> {
    if sid.len() > SESSION_ID_BYTES_MAX {
        let message = format!(
            "the session has {} bytes; the maximum is {SESSION_ID_BYTES_MAX}",
            sid.len()
        );
        return Err(Rejection {
            code: LINK_TOO_LARGE,
            message,
        });
    }
    let session = str::from_utf8(sid).map_err(|error| Rejection {
        code: LINK_BAD_CHANNEL,
        message: format!("the session is refused: {error}"),
    })?;
    Ok((!session.is_empty()).then(|| session.to_owned()))
}

/// The first characters of `name`, quoted and escaped.
fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests;
