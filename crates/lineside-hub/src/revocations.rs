//! Whose tokens are over before their time, because a user signed out.

mod state;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lineside_protocol::channel::{self, USER_PREFIX};
use lineside_protocol::codes::{LINK_BAD_CHANNEL, LINK_TOO_LARGE, LINK_TOO_MANY_REVOCATIONS};
use lineside_protocol::frame::Disconnect;

use crate::door::{Refused, shown};

/// Users and sessions that are remembered at one time: two a second for a day, some 50 MB with names of 40 bytes.
/// Beyond it a revocation is refused, since forgetting another one would let somebody in again.
pub const REVOCATIONS_MAX: usize = 200_000;

/// How long a revocation is remembered, in milliseconds: the longest life of a token, a day, and the leeway of its end.
/// Later no token is left that it could end.
pub const REVOCATION_MS: u64 = (24 * 60 * 60 + 5) * 1000;

/// Longest id of a session, in bytes: room for any key or digest of an app, and a bound for what is remembered of it.
pub const SESSION_BYTES_MAX: usize = 255;

/// The tokens of one user, or of one of its sessions, that were made up to a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The user, as in tokens: `user:<user>` is a valid channel.
    pub user: String,
    /// The session, never empty; without one all of the user's tokens are meant, those of its sessions too.
    pub session: Option<String>,
    /// The last time at which a token that is meant was made, in milliseconds since the Unix epoch.
    pub until_ms: u64,
}

impl Revocation {
    /// Whether a token of the user, with this session and made at that time, is meant.
    #[must_use]
    pub fn ends(&self, session: Option<&str>, issued_ms: u64) -> bool {
        issued_ms <= self.until_ms && self.session.as_deref().is_none_or(|it| session == Some(it))
    }

    fn key(&self) -> Arc<str> {
        match &self.session {
            None => self.user.as_str().into(),
            Some(session) => key_of_session(&self.user, session).into(),
        }
    }
}

/// A frame that signs somebody out, after its inspection.
#[derive(Debug)]
pub struct CheckedRevocation {
    pub(crate) sequence: u64,
    pub(crate) wants_receipt: bool,
    pub(crate) revocation: Result<Revocation, Refused>,
}

impl CheckedRevocation {
    /// Inspects the names. A time after `latest_ms` counts as that one: no token that would be accepted now is newer, and
    /// a publisher whose clock is wrong must not lock a user out for longer.
    #[must_use]
    pub fn inspect(frame: &Disconnect, latest_ms: u64) -> Self {
        let session = inspect_session(&frame.sid);
        let revocation = inspect_user(&frame.sub).and_then(|user| {
            Ok(Revocation {
                user,
                session: session?,
                until_ms: frame.revoked_ms.min(latest_ms),
            })
        });
        Self {
            sequence: frame.sequence,
            wants_receipt: frame.wants_receipt,
            revocation,
        }
    }
}

fn inspect_user(sub: &[u8]) -> Result<String, Refused> {
    let bad = |why: String| Refused {
        code: LINK_BAD_CHANNEL,
        message: format!(
            "the user {} is refused: {why}",
            shown(&String::from_utf8_lossy(sub))
        ),
    };
    let user = str::from_utf8(sub).map_err(|error| bad(error.to_string()))?;
    channel::check(&format!("{USER_PREFIX}{user}")).map_err(|error| bad(error.to_string()))?;
    Ok(user.to_owned())
}

fn inspect_session(sid: &[u8]) -> Result<Option<String>, Refused> {
    if sid.len() > SESSION_BYTES_MAX {
        let message = format!(
            "the session has {} bytes; at most {SESSION_BYTES_MAX} are taken",
            sid.len()
        );
        return Err(Refused {
            code: LINK_TOO_LARGE,
            message,
        });
    }
    let session = str::from_utf8(sid).map_err(|error| Refused {
        code: LINK_BAD_CHANNEL,
        message: format!("the session is refused: {error}"),
    })?;
    Ok((!session.is_empty()).then(|| session.to_owned()))
}

/// No user's id holds a control character, so no two pairs share a key, and none is a user's.
fn key_of_session(user: &str, session: &str) -> String {
    format!("{user}\0{session}")
}

/// The revocations that a token made by now may still be meant by.
#[derive(Debug)]
pub struct Revocations {
    /// For each user and each session, the last time at which a token that is meant was made.
    until_ms: HashMap<Arc<str>, u64>,
    /// The same by time, so that the oldest are found.
    order: BTreeSet<(u64, Arc<str>)>,
    max: usize,
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new(REVOCATIONS_MAX)
    }
}

impl Revocations {
    /// None yet; at most `max` at one time.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            until_ms: HashMap::new(),
            order: BTreeSet::new(),
            max,
        }
    }

    /// Whether a token of the user, with this session and made at that time, is revoked.
    #[must_use]
    pub fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        if self.until_ms.is_empty() {
            return false;
        }
        let of_user = self.until_ms.get(user);
        let of_session =
            session.and_then(|it| self.until_ms.get(key_of_session(user, it).as_str()));
        of_user.max(of_session).is_some_and(|it| issued_ms <= *it)
    }

    /// Remembers a revocation; an earlier time of the same user or session changes nothing.
    ///
    /// # Errors
    /// When there is no room, after the [expired](Self::expire) ones have gone.
    pub(crate) fn add(&mut self, revocation: &Revocation) -> Result<(), Refused> {
        let (key, until_ms) = (revocation.key(), revocation.until_ms);
        match self.until_ms.get(&key) {
            Some(known) if *known >= until_ms => return Ok(()),
            Some(known) => {
                self.order.remove(&(*known, Arc::clone(&key)));
            }
            None if self.until_ms.len() >= self.max => {
                return Err(Refused {
                    code: LINK_TOO_MANY_REVOCATIONS,
                    message: format!(
                        "{} users and sessions were signed out within a day, and no more are remembered",
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

    /// Forgets what no token can be meant by any longer. `now_ms` since the Unix epoch.
    pub fn expire(&mut self, now_ms: u64) {
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
