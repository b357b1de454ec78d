//! Keys that verify tokens. A reload replaces them at run time.

use std::sync::{Arc, PoisonError, RwLock};

use lineside_token::Keys;

/// Shared list of keys. A token is verified with the whole old list or the whole new one, never with a part of each.
#[derive(Debug)]
pub struct Keyring(RwLock<Arc<Keys>>);

impl Keyring {
    /// Creates a keyring with these keys.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    /// Current keys.
    #[must_use]
    pub fn current(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the keys, and returns the previous ones.
    pub fn replace(&self, keys: Keys) -> Arc<Keys> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, Arc::new(keys))
    }
}
