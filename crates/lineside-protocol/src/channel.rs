//! Rules for channel names, user ids and session ids. Tokens, the link, browsers and Ruby all use the checks of this
//! module.

/// Maximum length of a channel name outside `cable:`, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Maximum length of the part after `cable:`, in bytes. Turbo's signed stream names grow with every record they join.
pub const CABLE_NAME_BYTES_MAX: usize = 1024;

/// Maximum length of a user id, in bytes: `user:<id>` must be a channel name.
pub const USER_ID_BYTES_MAX: usize = NAME_BYTES_MAX - USER_PREFIX.len();

/// Maximum length of a session id, in bytes. Fits any key or digest of an app, and bounds the memory of one revocation.
pub const SESSION_ID_BYTES_MAX: usize = 255;

/// Prefix of user channels. A user channel is opened only by a token with that user's id in `sub`.
pub const USER_PREFIX: &str = "user:";

/// Prefix of Action Cable streams. A cable stream is opened only by a signed stream name.
pub const CABLE_PREFIX: &str = "cable:";

/// Rule that a channel name breaks.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// The name is empty, or nothing follows a reserved prefix.
    #[error("a channel's name must not be empty")]
    Empty,
    /// The name is too long.
    #[error("a channel's name of {bytes} bytes is too long; at most {max} are allowed")]
    TooLong {
        /// Length of the name, in bytes.
        bytes: usize,
        /// Limit for this kind of name, in bytes.
        max: usize,
    },
    /// The name contains a control character (Unicode category Cc).
    #[error("a channel's name must not contain control characters")]
    Control,
    /// The name contains `*`, which means "any" in grants.
    #[error("a channel's name must not contain *; only a grant may, alone or as :* at its end")]
    Star,
    /// The name begins with `user:` or `cable:` where a shared channel is expected.
    #[error("names that begin with user: or cable: are reserved, for users and for Action Cable")]
    Reserved,
}

/// Returns whether the name begins with a reserved prefix. No grant and no plain publish opens such a channel.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(USER_PREFIX) || name.starts_with(CABLE_PREFIX)
}

/// Checks the full name of a channel of any kind.
///
/// # Errors
/// Returns the first rule that the name breaks, never [`NameError::Reserved`].
pub fn check(name: &str) -> Result<(), NameError> {
    if let Some(stream) = name.strip_prefix(CABLE_PREFIX) {
        return check_cable_stream(stream);
    }
    if name == USER_PREFIX {
        return Err(NameError::Empty);
    }
    check_text(name, NAME_BYTES_MAX)?;
    check_star(name)
}

/// Checks the name of a shared channel.
///
/// # Errors
/// Returns the first rule that the name breaks.
pub fn check_shared(name: &str) -> Result<(), NameError> {
    if is_reserved(name) {
        return Err(NameError::Reserved);
    }
    check(name)
}

/// Checks the id of a user. Accepts exactly the ids for which [`check`] accepts `user:<id>`.
///
/// # Errors
/// Returns the first rule that the id breaks, with [`USER_ID_BYTES_MAX`] as the limit.
pub fn check_user_id(id: &str) -> Result<(), NameError> {
    check_text(id, USER_ID_BYTES_MAX)?;
    check_star(id)
}

/// Checks the name of an Action Cable stream. Accepts exactly the names for which [`check`] accepts `cable:<name>`.
///
/// # Errors
/// Returns the first rule that the name breaks, with [`CABLE_NAME_BYTES_MAX`] as the limit.
pub fn check_cable_stream(name: &str) -> Result<(), NameError> {
    // `*` is allowed: grants never open cable streams.
    check_text(name, CABLE_NAME_BYTES_MAX)
}

fn check_text(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong {
            bytes: text.len(),
            max,
        });
    }
    // `publish` checks its channel here: most names are ASCII, for which comparing bytes is several times faster.
    let has_control = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if has_control {
        return Err(NameError::Control);
    }
    Ok(())
}

fn check_star(text: &str) -> Result<(), NameError> {
    if text.contains('*') {
        return Err(NameError::Star);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
