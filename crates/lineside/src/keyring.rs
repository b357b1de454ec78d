//! The keys that tokens are verified with now. A reload puts others in their place while everything runs.

use std::sync::{Arc, PoisonError, RwLock};

use lineside_token::Keys;

/// One list of keys, shared by all who verify. Who asks gets the whole list of one moment: a token is judged by the old
/// keys or by the new ones, never by a part of each.
#[derive(Debug)]
pub struct Keyring(RwLock<Arc<Keys>>);

impl Keyring {
    /// Begins with these.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    /// The keys of this moment.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts others in their place; gives those that were there. Whoever asks from now on gets the new ones.
    pub fn replace(&self, keys: Keys) -> Arc<Keys> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(keys))
    }
}
