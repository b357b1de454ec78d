//! Grants: what a connection may subscribe to on request.

use crate::name::{self, NAME_BYTES_MAX, NameError};

/// One entry of `allow`: an exact name (`news`), a prefix (`chat:*`), or everything (`*`).
///
/// No grant opens a reserved name: `user:` and `cable:` are tested before it. Bytes are compared as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant(String);

impl Grant {
    /// Reads a grant. One that could only match reserved names (`user:*`, `cable:x`) is no error, it opens nothing.
    ///
    /// # Errors
    /// [`NameError`] if the text is not a channel's name, such a name that ends in `:` and one `*`, or `*` alone.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let stem = text
            .strip_suffix('*')
            .filter(|stem| stem.ends_with(':'))
            .unwrap_or(text);
        // Cable streams have rules of their own; nothing under a reserved prefix is opened, so nothing there is judged.
        if text != "*" && !name::is_reserved(stem) {
            name::check_text(stem, NAME_BYTES_MAX)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether this grant lets its bearer subscribe to that channel. Never true for a reserved or an invalid name.
    #[must_use]
    pub fn opens(&self, channel: &str) -> bool {
        name::check_shared(channel).is_ok()
            && match self.0.strip_suffix('*') {
                Some(prefix) => channel.starts_with(prefix),
                None => channel == self.0,
            }
    }

    /// The grant as it stands in the token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
