//! Grants: the channels that a connection may subscribe to on request.

use lineside_protocol::channel::{self, NameError};

/// One entry of `allow`: an exact name (`news`), a prefix (`chat:*`), or everything (`*`).
///
/// No grant opens a channel under `user:` or `cable:`. Names are compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant(String);

impl Grant {
    /// Parses a grant. A grant that matches reserved names only (`user:*`, `cable:x`) is valid and opens nothing.
    ///
    /// # Errors
    /// Returns [`NameError`] unless the text is `*`, a channel name, or a channel name that ends in `:` followed by `*`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let stem = text
            .strip_suffix('*')
            .filter(|stem| stem.ends_with(':'))
            .unwrap_or(text);
        // A reserved stem is not checked: such a grant opens nothing, and cable streams have rules of their own.
        if text != "*" && !channel::is_reserved(stem) {
            channel::check(stem)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// Returns whether this grant opens the channel. Always false for a reserved or an invalid name.
    #[must_use]
    pub fn opens(&self, channel: &str) -> bool {
        channel::check_shared(channel).is_ok()
            && match self.0.strip_suffix('*') {
                Some(prefix) => channel.starts_with(prefix),
                None => channel == self.0,
            }
    }

    /// Returns the text of the grant, as in the token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
