//! Revocations: tokens that are invalid before their expiry, because a user signed out.

mod snapshot;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lineside_protocol::codes::LINK_TOO_MANY_REVOCATIONS;

use crate::rejection::Rejection;

/// Maximum number of users and sessions with a revocation: two per second for a day, about 50 MB with names of 40 bytes.
/// Beyond it a revocation is rejected, because evicting another one would make its tokens valid again.
pub const REVOCATIONS_MAX: usize = 200_000;

/// Lifetime of a revocation, in milliseconds: the longest lifetime of a token, 24 hours, and the leeway of its expiry.
pub const REVOCATION_MS: u64 = (24 * 60 * 60 + 5) * 1000;

/// Revokes all tokens of a user, or of one session, that were issued up to a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// User id, as in tokens. `user:<user>` is a valid channel.
    pub user: String,
    /// Session id, never empty. `None` revokes all of the user's tokens, including those of every session.
    pub session: Option<String>,
    /// Latest issue time of a revoked token, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

impl Revocation {
    /// Whether this revokes a token of the user with this session and issue time (milliseconds since the Unix epoch).
    #[must_use]
    pub fn covers(&self, session: Option<&str>, issued_ms: u64) -> bool {
        issued_ms <= self.until_ms && self.session.as_deref().is_none_or(|it| session == Some(it))
    }

    fn key(&self) -> Arc<str> {
        match &self.session {
            None => self.user.as_str().into(),
            Some(session) => key_of_session(&self.user, session).into(),
        }
    }
}

/// Key of a session. Unique, because user ids hold no control characters.
fn key_of_session(user: &str, session: &str) -> String {
    format!("{user}\0{session}")
}

/// All revocations that can still apply to an unexpired token.
#[derive(Debug)]
pub(crate) struct Revocations {
    /// Latest issue time of a revoked token, by user and by session.
    until_ms: HashMap<Arc<str>, u64>,
    /// The same entries by time, for expiry.
    order: BTreeSet<(u64, Arc<str>)>,
    max: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new(REVOCATIONS_MAX)
    }
}

impl Revocations {
    /// An empty table of at most `max` users and sessions.
    #[must_use]
    pub(crate) fn new(max: usize) -> Self {
        Self {
            until_ms: HashMap::new(),
            order: BTreeSet::new(),
            max,
        }
    }

    /// Whether a token of the user with this session and issue time (milliseconds since the Unix epoch) is revoked.
    #[must_use]
    pub(crate) fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        if self.until_ms.is_empty() {
            return false;
        }
        let of_user = self.until_ms.get(user);
        let of_session =
            session.and_then(|it| self.until_ms.get(key_of_session(user, it).as_str()));
        of_user.max(of_session).is_some_and(|it| issued_ms <= *it)
    }

    /// Adds a revocation. An earlier time for the same user or session changes nothing.
    ///
    /// # Errors
    /// Rejects a new user or session when the table is full.
    pub(crate) fn add(&mut self, revocation: &Revocation) -> Result<(), Rejection> {
        let (key, until_ms) = (revocation.key(), revocation.until_ms);
        match self.until_ms.get(&key) {
            Some(known) if *known >= until_ms => return Ok(()),
            Some(known) => {
                self.order.remove(&(*known, Arc::clone(&key)));
            }
            None if self.until_ms.len() >= self.max => {
                return Err(Rejection {
                    code: LINK_TOO_MANY_REVOCATIONS,
                    message: format!(
                        "the table of revocations is full: {} users and sessions were signed out within a day",
                        self.max
                    ),
                });
            }
            None => {}
        }
        self.until_ms.insert(Arc::clone(&key), until_ms);
        self.order.insert((until_ms, key));
        Ok(())
    }

    /// Removes revocations that are older than every unexpired token. `now_ms` is the time since the Unix epoch.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some((until_ms, _)) = self.order.first()
            && until_ms.saturating_add(REVOCATION_MS) < now_ms
            && let Some((_, key)) = self.order.pop_first()
        {
            self.until_ms.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests;
