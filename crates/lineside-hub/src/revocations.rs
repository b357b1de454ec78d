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

/// Maximum step of the wall clock back for which a revocation covers the tokens from before the step, in milliseconds. Such
/// tokens seem to be from the future, and so do all tokens that are issued until the clock has caught up.
pub const SET_BACK_MS_MAX: u64 = 60 * 60 * 1000;

/// Maximum time between two readings of the wall clock, in milliseconds. A token may be newer than the newest reading by this
/// time.
const READING_MS: u64 = 1000;

/// Lifetime of a revocation, in milliseconds of the monotonic clock: the longest lifetime of a token, 24 hours, its two
/// leeways, and a step of the wall clock back.
pub const REVOCATION_MS: u64 = (24 * 60 * 60 + 2 * 5) * 1000 + READING_MS + SET_BACK_MS_MAX;

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

/// Entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Revoked {
    /// Latest issue time of a revoked token, in milliseconds since the Unix epoch.
    until_ms: u64,
    /// Time at which it was added, in milliseconds of the hub's clock.
    added_ms: u64,
}

/// All revocations that can still apply to an unexpired token.
#[derive(Debug)]
pub(crate) struct Revocations {
    /// By user, by user and session, and for all users.
    revoked: BTreeMap<Arc<str>, Revoked>,
    /// The same entries by the time at which they were added, for expiry.
    order: BTreeSet<(u64, Arc<str>)>,
    max: usize,
    /// Newest reading of the wall clock, in milliseconds since the Unix epoch.
    newest_wall_ms: u64,
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
            revoked: BTreeMap::new(),
            order: BTreeSet::new(),
            max,
            newest_wall_ms: 0,
        }
    }

    /// Whether a token of the user with this session and issue time (milliseconds since the Unix epoch) is revoked.
    #[must_use]
    pub(crate) fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        if self.revoked.is_empty() {
            return false;
        }
        let of_session = session.and_then(|it| self.revoked.get(key_of_session(user, it).as_str()));
        let of_user = [ALL_USERS, user].map(|key| self.revoked.get(key));
        let mut all = of_user.into_iter().chain([of_session]).flatten();
        all.any(|it| issued_ms <= it.until_ms)
    }

    /// Adds a revocation, and returns the one that applies: all sessions of a user with [`REVOKED_SESSIONS_MAX`] others. An
    /// earlier time for the same user or session revokes no less. `now_ms` is the time of the hub's clock.
    pub(crate) fn add(&mut self, revocation: Arc<Revocation>, now_ms: u64) -> Arc<Revocation> {
        let revocation = self.widen(revocation);
        if revocation.session.is_none() {
            for (key, _) in self.sessions(&revocation.user, revocation.until_ms) {
                self.remove(&key);
            }
        }
        self.insert(revocation.key(), revocation.until_ms, now_ms);
        while self.revoked.len() > self.max.max(1)
            && let Some(oldest) = self.oldest()
            && let Some(Revoked { until_ms, .. }) = self.remove(&oldest)
        {
            self.insert(ALL_USERS.into(), until_ms, now_ms);
        }
        revocation
    }

    /// Issue time up to which the tokens of all users are revoked, because the table was full.
    #[must_use]
    pub(crate) fn all_users_ms(&self) -> Option<u64> {
        self.revoked.get(ALL_USERS).map(|it| it.until_ms)
    }

    /// Removes revocations that are older than every unexpired token. `now_ms` is the time of the hub's clock.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        while let Some((added_ms, _)) = self.order.first()
            && added_ms.saturating_add(REVOCATION_MS) < now_ms
            && let Some((_, key)) = self.order.pop_first()
        {
            self.revoked.remove(&key);
        }
    }

    /// Notes a reading of the wall clock. After a larger step back than [`SET_BACK_MS_MAX`], the earlier readings count as
    /// wrong.
    pub(crate) fn note_wall(&mut self, wall_ms: u64) {
        let is_wrong = self.newest_wall_ms > wall_ms.saturating_add(SET_BACK_MS_MAX);
        self.newest_wall_ms = if is_wrong {
            wall_ms
        } else {
            self.newest_wall_ms.max(wall_ms)
        };
    }

    /// Latest issue time of a token from before the wall clock was set back, if the clock has not caught up.
    pub(crate) fn set_back_from_ms(&self, wall_ms: u64) -> Option<u64> {
        let is_behind =
            (wall_ms + 1..=wall_ms.saturating_add(SET_BACK_MS_MAX)).contains(&self.newest_wall_ms);
        is_behind.then_some(self.newest_wall_ms + READING_MS)
    }

    fn widen(&self, revocation: Arc<Revocation>) -> Arc<Revocation> {
        if revocation.session.is_none() {
            return revocation;
        }
        let key = revocation.key();
        let others = self.sessions(&revocation.user, u64::MAX);
        let others = others.into_iter().filter(|(other, _)| *other != key);
        if others.clone().count() < REVOKED_SESSIONS_MAX {
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
        let all = self.revoked.range::<str, _>(from);
        all.take_while(|(key, _)| key.starts_with(&first))
            .filter(|(_, it)| it.until_ms <= until_ms)
            .map(|(key, it)| (Arc::clone(key), it.until_ms))
            .collect()
    }

    /// Key of the oldest revocation of one user or session.
    fn oldest(&self) -> Option<Arc<str>> {
        let mut keys = self.order.iter().map(|(_, key)| key);
        keys.find(|key| ***key != *ALL_USERS).cloned()
    }

    fn insert(&mut self, key: Arc<str>, until_ms: u64, added_ms: u64) {
        let before = self.remove(&key);
        let until_ms = before.map_or(until_ms, |it| it.until_ms.max(until_ms));
        self.order.insert((added_ms, Arc::clone(&key)));
        self.revoked.insert(key, Revoked { until_ms, added_ms });
    }

    fn remove(&mut self, key: &Arc<str>) -> Option<Revoked> {
        let revoked = self.revoked.remove(key)?;
        self.order.remove(&(revoked.added_ms, Arc::clone(key)));
        Some(revoked)
    }
}

#[cfg(test)]
mod tests;
