//! Which names a token may carry: shared channels and user ids.

// The rule for channel names also stands in lineside-protocol. It is repeated here because what a token opens must not
// depend on what travels; tests that see both crates hold one against the other.

/// Longest name of a channel, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest user id, in bytes: `user:<sub>` must be the name of a channel.
pub const SUB_BYTES_MAX: usize = NAME_BYTES_MAX - USER_PREFIX.len();

/// What precedes a user's id in the name of that user's channel.
pub(crate) const USER_PREFIX: &str = "user:";

/// What precedes an Action Cable stream.
const CABLE_PREFIX: &str = "cable:";

/// Why a text cannot stand in a token as a name.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    #[error("it must not be empty")]
    Empty,
    /// Longer than its limit.
    #[error("it has {bytes} bytes, the most is {max}")]
    TooLong {
        /// The bytes of the refused text.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A control character (Unicode category Cc).
    #[error("it must not contain control characters")]
    Control,
    /// The sign that stands for "any".
    #[error("it must not contain *, which only a grant may: alone, or as :* at its end")]
    Star,
    /// A name under `user:` or `cable:`.
    #[error(
        "names under user: and cable: are reserved: only sub opens the one, a signed stream name the other"
    )]
    Reserved,
}

/// Whether the name lies under a prefix that no grant opens.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with(USER_PREFIX) || name.starts_with(CABLE_PREFIX)
}

/// Tests the name of a shared channel.
pub(crate) fn check_shared(name: &str) -> Result<(), NameError> {
    if is_reserved(name) {
        return Err(NameError::Reserved);
    }
    check_text(name, NAME_BYTES_MAX)
}

/// Tests what all names have in common, with the limit of this one in bytes.
pub(crate) fn check_text(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong {
            bytes: text.len(),
            max,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    if text.contains('*') {
        return Err(NameError::Star);
    }
    Ok(())
}
