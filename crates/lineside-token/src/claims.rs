//! Claims: what a token says, and the rules both signing and verifying hold it to.

use crate::TOKEN_BYTES_MAX;
use crate::grant::Grant;
use crate::name::{self, NameError, SUB_BYTES_MAX, USER_PREFIX};

/// Longest life of a token, in seconds: a day, which bounds how long a revocation must be remembered.
pub const TTL_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Longest life of an identity, in seconds: an hour. A cookie is sent wherever its site is asked, and each page renews it.
pub const IDENTITY_TTL_SECONDS_MAX: u64 = 60 * 60;

/// Most entries of `channels`: every one is a subscription made before the browser has asked for anything.
pub const CHANNELS_MAX: usize = 128;

/// Most entries of `allow`: each subscription compares itself with every one.
pub const GRANTS_MAX: usize = 128;

/// Longest id of a session, in bytes: room for any key or digest of an app, and a bound for what a revocation remembers.
pub const SID_BYTES_MAX: usize = 255;

/// Most characters of a refused name that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;

/// What a connection token shall say; checked when it is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionDraft {
    /// The user's id; none for an anonymous connection.
    pub sub: Option<String>,
    /// The session, so that it can be revoked by itself.
    pub sid: Option<String>,
    /// Shared channels that are subscribed on connect.
    pub channels: Vec<String>,
    /// Grants, as [`Grant::parse`] reads them.
    pub allow: Vec<String>,
    /// Life in seconds from signing, 1 to [`TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// What a channel token shall say; checked when it is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelDraft {
    /// The shared channel that it opens.
    pub channel: String,
    /// The one user who may use it; none for whoever holds it.
    pub sub: Option<String>,
    /// Life in seconds from signing, 1 to [`TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// What an identity shall say; checked when it is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDraft {
    /// The user's id.
    pub sub: String,
    /// The session, so that it can be revoked by itself.
    pub sid: Option<String>,
    /// Life in seconds from signing, 1 to [`IDENTITY_TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// What a genuine connection token says, or an identity, which opens its user's channel alone. Only this crate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionClaims {
    /// The user's id; none for an anonymous connection. `user:<sub>` is a valid channel.
    pub sub: Option<String>,
    /// The session, of 1 to [`SID_BYTES_MAX`] bytes.
    pub sid: Option<String>,
    /// Shared channels to subscribe on connect, as the token lists them: a name may stand there twice.
    pub channels: Vec<String>,
    /// What may be subscribed on request.
    pub allow: Vec<Grant>,
    /// When it was signed, in milliseconds since the Unix epoch: what revocations are compared with.
    pub iat_ms: u64,
    /// The first second, since the Unix epoch, at which it has expired; [`LEEWAY_MS`](crate::LEEWAY_MS) comes on top.
    pub exp: u64,
}

/// What a genuine channel token says. Only this crate makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelClaims {
    /// The shared channel that it opens.
    pub channel: String,
    /// The one user who may use it; none for whoever holds it.
    pub sub: Option<String>,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub iat_ms: u64,
    /// The first second, since the Unix epoch, at which it has expired; [`LEEWAY_MS`](crate::LEEWAY_MS) comes on top.
    pub exp: u64,
}

/// Why claims are refused, by signing and verifying alike.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClaimError {
    /// A claim that must be there is not.
    #[error("the claim {claim} is missing")]
    Missing {
        /// Its name.
        claim: &'static str,
    },
    /// A claim of the wrong JSON type.
    #[error("the claim {claim} must be {want}")]
    Type {
        /// Its name.
        claim: &'static str,
        /// The type it must have.
        want: &'static str,
    },
    /// A token for something else.
    #[error("aud must be the string {want:?}: a token serves one purpose")]
    Audience {
        /// The purpose it was presented for.
        want: &'static str,
    },
    /// `iat` and `iat_ms` name different seconds.
    #[error("iat must be iat_ms in whole seconds, rounded down")]
    Issue,
    /// A life of no time, or of too much.
    #[error("the token lives {ttl_s} s from iat to exp; 1 to {max} are allowed")]
    Ttl {
        /// The limit of its kind.
        max: u64,
        /// Seconds from `iat` to `exp`; 0 also when `exp` comes first.
        ttl_s: u64,
    },
    /// A name that cannot stand where it does.
    #[error("the claim {claim} holds {shown:?}: {problem}")]
    Name {
        /// The claim that holds it.
        claim: &'static str,
        /// How the name begins, at most 64 characters.
        shown: String,
        /// The rule it breaks.
        problem: NameError,
    },
    /// More entries than a list may have.
    #[error("the claim {claim} has {count} entries; at most {max} are allowed")]
    TooMany {
        /// The list.
        claim: &'static str,
        /// Its entries.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// Together they make a longer token than is ever read.
    #[error(
        "the token would have {bytes} bytes; at most {TOKEN_BYTES_MAX} are read, use a prefix in allow"
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl ConnectionClaims {
    /// Whether the bearer may subscribe to that channel: its own user's, one of `channels`, or one that a grant opens.
    /// No other reserved name is ever opened.
    #[must_use]
    pub fn opens(&self, channel: &str) -> bool {
        match channel.strip_prefix(USER_PREFIX) {
            Some(user) => self.sub.as_deref() == Some(user),
            None => {
                self.channels.iter().any(|name| name == channel)
                    || self.allow.iter().any(|it| it.opens(channel))
            }
        }
    }

    /// Holds the draft to every rule but those of the clock.
    pub(crate) fn new(draft: ConnectionDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        check_sub(draft.sub.as_deref())?;
        check_sid(draft.sid.as_deref())?;
        check_count("channels", draft.channels.len(), CHANNELS_MAX)?;
        check_count("allow", draft.allow.len(), GRANTS_MAX)?;
        for channel in &draft.channels {
            name::check_shared(channel).map_err(|problem| refused("channels", channel, problem))?;
        }
        let parse =
            |text: &String| Grant::parse(text).map_err(|problem| refused("allow", text, problem));
        Ok(Self {
            allow: draft.allow.iter().map(parse).collect::<Result<_, _>>()?,
            sub: draft.sub,
            sid: draft.sid,
            channels: draft.channels,
            iat_ms,
            exp: expiry(iat_ms, draft.ttl_s, TTL_SECONDS_MAX)?,
        })
    }

    /// Holds the draft of an identity to every rule but those of the clock.
    pub(crate) fn of_identity(draft: IdentityDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        expiry(iat_ms, draft.ttl_s, IDENTITY_TTL_SECONDS_MAX)?;
        let draft = ConnectionDraft {
            sub: Some(draft.sub),
            sid: draft.sid,
            ttl_s: draft.ttl_s,
            ..ConnectionDraft::default()
        };
        Self::new(draft, iat_ms)
    }
}

impl ChannelClaims {
    /// Whether a connection of that user (none: an anonymous one) may use the token.
    #[must_use]
    pub fn admits(&self, user: Option<&str>) -> bool {
        self.sub.is_none() || self.sub.as_deref() == user
    }

    /// Holds the draft to every rule but those of the clock.
    pub(crate) fn new(draft: ChannelDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        check_sub(draft.sub.as_deref())?;
        name::check_shared(&draft.channel)
            .map_err(|problem| refused("channel", &draft.channel, problem))?;
        let exp = expiry(iat_ms, draft.ttl_s, TTL_SECONDS_MAX)?;
        Ok(Self {
            channel: draft.channel,
            sub: draft.sub,
            iat_ms,
            exp,
        })
    }
}

fn check_sub(sub: Option<&str>) -> Result<(), ClaimError> {
    let Some(sub) = sub else { return Ok(()) };
    name::check_text(sub, SUB_BYTES_MAX).map_err(|problem| refused("sub", sub, problem))
}

fn check_sid(sid: Option<&str>) -> Result<(), ClaimError> {
    let (bytes, max) = (sid.map_or(1, str::len), SID_BYTES_MAX);
    match bytes {
        0 => Err(refused("sid", "", NameError::Empty)),
        _ if bytes > max => {
            let shown = sid.unwrap_or_default();
            Err(refused("sid", shown, NameError::TooLong { bytes, max }))
        }
        _ => Ok(()),
    }
}

fn check_count(claim: &'static str, count: usize, max: usize) -> Result<(), ClaimError> {
    if count > max {
        Err(ClaimError::TooMany { claim, count, max })
    } else {
        Ok(())
    }
}

/// The second at which a token of that age and life expires.
fn expiry(iat_ms: u64, ttl_s: u64, max: u64) -> Result<u64, ClaimError> {
    if (1..=max).contains(&ttl_s) {
        Ok(iat_ms / 1000 + ttl_s)
    } else {
        Err(ClaimError::Ttl { ttl_s, max })
    }
}

fn refused(claim: &'static str, name: &str, problem: NameError) -> ClaimError {
    ClaimError::Name {
        claim,
        shown: name.chars().take(SHOWN_CHARS_MAX).collect(),
        problem,
    }
}
