//! Positions in a journal, epochs, and cursors, which combine both.

use std::fmt;
use std::sync::Arc;

/// Maximum position. JavaScript represents integers up to 2^53 - 1 exactly.
pub const POSITION_MAX: u64 = (1 << 53) - 1;

/// Maximum length of an epoch, in bytes.
const EPOCH_BYTES_MAX: usize = 32;

/// Number of a publication in its journal. Positions increase, with possible gaps. Zero is before the first publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Returns the next position.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a journal's positions: 1 to 32 characters of `A-Z a-z 0-9 _ -`. Cheap to clone.
///
/// Positions of different epochs are not comparable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

/// Error of [`Epoch::new`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an epoch is 1 to 32 characters of A-Z a-z 0-9 _ -")]
pub struct EpochError;

impl Epoch {
    /// Creates an epoch from its text.
    ///
    /// # Errors
    /// Returns an error if the text is empty, too long or contains another character.
    pub fn new(text: &str) -> Result<Self, EpochError> {
        let valid = (1..=EPOCH_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(EpochError)
        }
    }

    /// Creates an epoch of sixteen random bytes, as 32 hexadecimal digits.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(
            bytes
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect::<String>()
                .into(),
        )
    }

    /// Returns the text of the epoch.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the cursor at `position` in this epoch.
    #[must_use]
    pub fn at(&self, position: Position) -> Cursor {
        Cursor {
            epoch: self.clone(),
            position,
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Epoch and position, written `<epoch>.<position>`. Opaque to apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Epoch of the position.
    pub epoch: Epoch,
    /// The newest position that the client has received.
    pub position: Position,
}

impl Cursor {
    /// Parses a cursor. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, digits) = text.split_once('.')?;
        // `u64::from_str` accepts a leading plus sign.
        let canonical = digits.bytes().all(|b| b.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'));
        let position = digits
            .parse()
            .ok()
            .filter(|p| canonical && *p <= POSITION_MAX)?;
        Some(Self {
            epoch: Epoch::new(epoch).ok()?,
            position: Position(position),
        })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

/// Point to resume after, from a client. An unreadable cursor is no error: it resumes as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// A cursor, possibly of another epoch.
    Cursor(Cursor),
    /// `unknown` or an unreadable text.
    Unknown,
}

impl After {
    /// Parses a text. Never fails.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Cursor::parse(text).map_or(Self::Unknown, Self::Cursor)
    }
}

#[cfg(test)]
mod tests;
