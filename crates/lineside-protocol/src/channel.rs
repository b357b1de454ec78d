//! Channel names: what is one, and which prefixes only Lineside itself may open.

/// Longest name of a shared or user channel, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name behind `cable:`, in bytes: Turbo's signed stream names grow with every record they join.
pub const CABLE_NAME_BYTES_MAX: usize = 1024;

/// What precedes a user's id in the name of that user's channel. Only a token's `sub` opens such a channel.
pub const USER_PREFIX: &str = "user:";

/// What precedes an Action Cable stream. Only a signed stream name opens such a channel.
pub const CABLE_PREFIX: &str = "cable:";

/// Why a text is not the name of a channel.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there, or nothing behind a reserved prefix.
    #[error("a channel's name must not be empty")]
    Empty,
    /// Longer than the limit in bytes that stands in the error.
    #[error("a channel's name is at most {max} bytes, this one has {bytes}")]
    TooLong {
        /// The bytes of the refused name.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A control character (Unicode category Cc).
    #[error("a channel's name must not contain control characters")]
    Control,
    /// The sign that stands for "any" in grants.
    #[error("a channel's name must not contain *")]
    Star,
}

/// Whether the name lies under a reserved prefix, which no grant and no plain publish opens.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(USER_PREFIX) || name.starts_with(CABLE_PREFIX)
}

/// Tests a full name, reserved ones included.
///
/// # Errors
/// Says which rule is broken.
pub fn check(name: &str) -> Result<(), NameError> {
    let rest = name.strip_prefix(CABLE_PREFIX);
    let (text, max) = rest.map_or((name, NAME_BYTES_MAX), |rest| (rest, CABLE_NAME_BYTES_MAX));
    if text.is_empty() || name == USER_PREFIX {
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
    // Streams of Action Cable may be called anything; only our own grants give the sign a meaning.
    if rest.is_none() && text.contains('*') {
        return Err(NameError::Star);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
