//! Bytes that nobody can foresee, and nothing secret hangs on.

use std::fmt;

/// Where random bytes come from: the system, or, for a run that is to be repeated, a function with a seed.
pub struct Random(Box<dyn FnMut() -> [u8; 8] + Send>);

impl Random {
    /// The system's; zeros where it has none.
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

    /// What the function gives.
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
