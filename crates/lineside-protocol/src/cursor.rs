//! Where a reader stands: a position in a journal, the epoch that gives the number its meaning, and both as one string.

use std::fmt;
use std::sync::Arc;

/// Positions stay below 2^53, so that JavaScript holds every one exactly.
pub const POSITION_MAX: u64 = (1 << 53) - 1;

/// Longest epoch, in bytes.
const EPOCH_BYTES_MAX: usize = 32;

/// The number of a publication in its journal. Increases, and need not be dense. Zero stands before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position after this one.
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

/// The identity of a journal's numbering: 1 to 32 characters of `A-Z a-z 0-9 _ -`. Cheap to clone.
///
/// A new epoch means that no older position says anything about this journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

/// A text that is not an epoch.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an epoch is 1 to 32 characters of A-Z a-z 0-9 _ -")]
pub struct EpochError;

impl Epoch {
    /// Takes a text as an epoch.
    ///
    /// # Errors
    /// When it is empty, too long or holds another character.
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

    /// The epoch of sixteen random bytes, as 32 hexadecimal digits.
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

    /// The epoch as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The cursor at `position` in this epoch.
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

/// Epoch and position as one indivisible value, written `<epoch>.<position>`. Opaque to apps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Whose numbering the position belongs to.
    pub epoch: Epoch,
    /// The newest position that its holder has seen.
    pub position: Position,
}

impl Cursor {
    /// Reads the text of a cursor; `None` for anything that is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, digits) = text.split_once('.')?;
        // `u64::from_str` would take a leading plus sign.
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

/// What a client names as the point to resume after. Never an error: what cannot be read resumes as lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// A readable cursor; whether it is ours, the journal decides.
    Cursor(Cursor),
    /// `unknown`, or anything unreadable.
    Unknown,
}

impl After {
    /// Reads any text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Cursor::parse(text).map_or(Self::Unknown, Self::Cursor)
    }
}

#[cfg(test)]
mod tests;
