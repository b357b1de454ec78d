//! Non-cryptographic random source.

use std::fmt;

/// Random source: the operating system, or a seeded function in runs that must be repeatable.
pub struct Random(Box<dyn FnMut() -> [u8; 8] + Send>);

impl Random {
    /// Source of the operating system. Returns zeros if that fails.
    #[must_use]
    pub fn of_the_system() -> Self {
        Self::from_fn(|| {
            let mut bytes = [0; 8];
            match getrandom::fill(&mut bytes) {
                Ok(()) => bytes,
                Err(_) => [0; 8],
            }
        })
    }

    /// Source that calls a function.
    #[must_use]
    pub fn from_fn(next: impl FnMut() -> [u8; 8] + Send + 'static) -> Self {
        Self(Box::new(next))
    }

    pub(crate) fn bytes(&mut self) -> [u8; 8] {
        (self.0)()
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}
