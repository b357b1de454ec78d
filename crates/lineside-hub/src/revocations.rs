//! Revocations: tokens that are invalid before their expiry, because a user signed out.

mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Maximum number of users and sessions with a revocation: two per second for a day, about 50 MB with names of 40 bytes.
/// Beyond it the oldest revocation counts for all users, so that none of its tokens becomes valid again.
pub const REVOCATIONS_MAX: usize = 200_000;

/// Maximum number of revoked sessions per user. The next one revokes all sessions of that user, so that one user cannot fill
/// the table.
pub const REVOKED_SESSIONS_MAX: usize = 64;

/// Key of the revocation that counts for all users. User ids are never empty.
const ALL_USERS: &str = "";

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
    /// Latest issue time of a revoked token, by user, by user and session, and for all users.
    until_ms: BTreeMap<Arc<str>, u64>,
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
            until_ms: BTreeMap::new(),
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
        let of_session =
            session.and_then(|it| self.until_ms.get(key_of_session(user, it).as_str()));
        let of_user = [ALL_USERS, user].map(|key| self.until_ms.get(key));
        of_user
            .into_iter()
            .chain([of_session])
            .flatten()
            .any(|it| issued_ms <= *it)
    }

    /// Adds a revocation, and returns the one that applies: all sessions of a user with [`REVOKED_SESSIONS_MAX`] others. An
    /// earlier time for the same user or session changes nothing.
    pub(crate) fn add(&mut self, revocation: Arc<Revocation>) -> Arc<Revocation> {
        let revocation = self.widen(revocation);
        if revocation.session.is_none() {
            for (key, _) in self.sessions(&revocation.user, revocation.until_ms) {
                self.remove(&key);
            }
        }
        self.insert(revocation.key(), revocation.until_ms);
        while self.until_ms.len() > self.max.max(1)
            && let Some((until_ms, key)) = self.oldest()
        {
            self.remove(&key);
            self.insert(ALL_USERS.into(), until_ms);
        }
        revocation
    }

    /// Issue time up to which the tokens of all users are revoked, because the table was full.
    #[must_use]
    pub(crate) fn all_users_ms(&self) -> Option<u64> {
        self.until_ms.get(ALL_USERS).copied()
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

    fn widen(&self, revocation: Arc<Revocation>) -> Arc<Revocation> {
        let key = revocation.key();
        let others = self.sessions(&revocation.user, u64::MAX);
        let others = others.into_iter().filter(|(other, _)| *other != key);
        if revocation.session.is_none() || others.clone().count() < REVOKED_SESSIONS_MAX {
            return revocation;
        }
        Arc::new(Revocation {
            user: revocation.user.clone(),
            session: None,
            until_ms: others.map(|(_, it)| it).fold(revocation.until_ms, u64::max),
        })
    }

    /// Sessions of a user with a revocation of at most this time: their keys and times.
    fn sessions(&self, user: &str, until_ms: u64) -> Vec<(Arc<str>, u64)> {
        let first = key_of_session(user, "");
        let from = (Bound::Included(first.as_str()), Bound::Unbounded);
        let all = self.until_ms.range::<str, _>(from);
        all.take_while(|(key, _)| key.starts_with(&first))
            .filter(|(_, it)| **it <= until_ms)
            .map(|(key, it)| (Arc::clone(key), *it))
            .collect()
    }

    /// The oldest revocation of one user or session.
    fn oldest(&self) -> Option<(u64, Arc<str>)> {
        self.order
            .iter()
            .find(|(_, key)| **key != *ALL_USERS)
            .cloned()
    }

    fn insert(&mut self, key: Arc<str>, until_ms: u64) {
        let until_ms = self.remove(&key).max(Some(until_ms)).unwrap_or(until_ms);
        self.order.insert((until_ms, Arc::clone(&key)));
        self.until_ms.insert(key, until_ms);
    }

    fn remove(&mut self, key: &Arc<str>) -> Option<u64> {
        let until_ms = self.until_ms.remove(key)?;
        self.order.remove(&(until_ms, Arc::clone(key)));
        Some(until_ms)
    }
}

#[cfg(test)]
mod tests;
