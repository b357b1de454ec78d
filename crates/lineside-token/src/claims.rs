//! Claims of tokens, and their rules. Signing and verification apply the same rules.

use lineside_protocol::channel::{self, NameError, SESSION_ID_BYTES_MAX, USER_PREFIX};

use crate::TOKEN_BYTES_MAX;
use crate::grant::Grant;

/// Maximum lifetime of a token, in seconds: one day. It bounds how long the sidecar must remember a revocation.
pub const TTL_SECONDS_MAX: u64 = 24 * 60 * 60;

/// Maximum lifetime of an identity, in seconds: one hour. Browsers send a cookie with every request to its site, and each
/// page renews it.
pub const IDENTITY_TTL_SECONDS_MAX: u64 = 60 * 60;

/// Maximum number of entries in `channels`. The sidecar subscribes to each of them on connect.
pub const CHANNELS_MAX: usize = 128;

/// Maximum number of entries in `allow`. A subscribe request is compared with each of them.
pub const GRANTS_MAX: usize = 128;

/// Maximum number of characters of an invalid name that an error quotes.
const SHOWN_CHARS_MAX: usize = 64;

/// Claims of a connection token to sign. Signing checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionDraft {
    /// Id of the user, or `None` for an anonymous connection.
    pub sub: Option<String>,
    /// Id of the session. A session with an id can be revoked alone.
    pub sid: Option<String>,
    /// Shared channels that are subscribed on connect.
    pub channels: Vec<String>,
    /// Grants, in the syntax of [`Grant::parse`].
    pub allow: Vec<String>,
    /// Lifetime in seconds, 1 to [`TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// Claims of a channel token to sign. Signing checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelDraft {
    /// The shared channel that the token opens.
    pub channel: String,
    /// Id of the only user who may use the token, or `None` for any bearer.
    pub sub: Option<String>,
    /// Lifetime in seconds, 1 to [`TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// Claims of an identity to sign. Signing checks them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityDraft {
    /// Id of the user.
    pub sub: String,
    /// Id of the session. A session with an id can be revoked alone.
    pub sid: Option<String>,
    /// Rails' identifier of connections of Action Cable that are identified by this user alone.
    pub identifier: Option<String>,
    /// Lifetime in seconds, 1 to [`IDENTITY_TTL_SECONDS_MAX`].
    pub ttl_s: u64,
}

/// Verified claims of a connection token or of an identity. An identity opens its user's channel only.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionClaims {
    /// Id of the user, or `None` for an anonymous connection. `user:<sub>` is a valid channel name.
    pub sub: Option<String>,
    /// Id of the session, of 1 to [`SESSION_ID_BYTES_MAX`] bytes.
    pub sid: Option<String>,
    /// Rails' identifier of connections of Action Cable. Only identities can have one. `cable:action_cable/<identifier>` is a
    /// valid channel name.
    pub identifier: Option<String>,
    /// Shared channels to subscribe to on connect, in the token's order. May contain duplicates.
    pub channels: Vec<String>,
    /// Grants for channels that are subscribed on request.
    pub allow: Vec<Grant>,
    /// Time of signing, in milliseconds since the Unix epoch. Revocations are compared with it.
    pub iat_ms: u64,
    /// Time of expiry, in seconds since the Unix epoch. The token is accepted for [`LEEWAY_MS`](crate::LEEWAY_MS) longer.
    pub exp: u64,
}

/// Verified claims of a channel token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelClaims {
    /// The shared channel that the token opens.
    pub channel: String,
    /// Id of the only user who may use the token, or `None` for any bearer.
    pub sub: Option<String>,
    /// Time of signing, in milliseconds since the Unix epoch.
    pub iat_ms: u64,
    /// Time of expiry, in seconds since the Unix epoch. The token is accepted for [`LEEWAY_MS`](crate::LEEWAY_MS) longer.
    pub exp: u64,
}

/// Rule that claims break. Signing and verification return the same errors.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClaimError {
    /// A required claim is missing.
    #[error("the claim {claim} is missing")]
    Missing {
        /// Name of the claim.
        claim: &'static str,
    },
    /// A claim has the wrong JSON type.
    #[error("the claim {claim} must be {want}")]
    Type {
        /// Name of the claim.
        claim: &'static str,
        /// The required type.
        want: &'static str,
    },
    /// The token has another purpose.
    #[error("aud must be the string {want:?}: a token serves one purpose")]
    Audience {
        /// The required `aud`.
        want: &'static str,
    },
    /// `iat` is not the second of `iat_ms`.
    #[error("iat must be iat_ms in whole seconds, rounded down")]
    Issue,
    /// The lifetime is zero or too long.
    #[error("the token lives {ttl_s} s from iat to exp; 1 to {max} are allowed")]
    Ttl {
        /// Maximum lifetime of this kind of token, in seconds.
        max: u64,
        /// Seconds from `iat` to `exp`; 0 if `exp` is before `iat`.
        ttl_s: u64,
    },
    /// A claim contains an invalid name.
    #[error("the claim {claim} contains {shown:?}: {problem}")]
    Name {
        /// Name of the claim.
        claim: &'static str,
        /// The first 64 characters of the invalid name.
        shown: String,
        /// The rule that the name breaks.
        problem: NameError,
    },
    /// The session id is empty or too long.
    #[error("the claim sid has {bytes} bytes; 1 to {SESSION_ID_BYTES_MAX} are allowed")]
    SessionId {
        /// Length of the id, in bytes.
        bytes: usize,
    },
    /// A list has too many entries.
    #[error("the claim {claim} has {count} entries; at most {max} are allowed")]
    TooMany {
        /// Name of the claim.
        claim: &'static str,
        /// Number of entries.
        count: usize,
        /// Maximum number of entries.
        max: usize,
    },
    /// The signed token would be too long.
    #[error(
        "the token would have {bytes} bytes; at most {TOKEN_BYTES_MAX} are allowed, use a prefix in allow"
    )]
    TooLong {
        /// Length of the token, in bytes.
        bytes: usize,
    },
}

impl ConnectionClaims {
    /// Returns whether the bearer may subscribe to the channel: the channel of user `sub`, one of `channels`, or a channel
    /// that a grant opens. All other reserved names are refused.
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

    /// Checks the draft against every rule that does not depend on the current time.
    pub(crate) fn new(draft: ConnectionDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        check_sub(draft.sub.as_deref())?;
        check_sid(draft.sid.as_deref())?;
        check_count("channels", draft.channels.len(), CHANNELS_MAX)?;
        check_count("allow", draft.allow.len(), GRANTS_MAX)?;
        for channel in &draft.channels {
            channel::check_shared(channel)
                .map_err(|problem| invalid_name("channels", channel, problem))?;
        }
        let parse = |text: &String| {
            Grant::parse(text).map_err(|problem| invalid_name("allow", text, problem))
        };
        Ok(Self {
            allow: draft.allow.iter().map(parse).collect::<Result<_, _>>()?,
            sub: draft.sub,
            sid: draft.sid,
            identifier: None,
            channels: draft.channels,
            iat_ms,
            exp: expiry(iat_ms, draft.ttl_s, TTL_SECONDS_MAX)?,
        })
    }

    /// Checks the draft of an identity against every rule that does not depend on the current time.
    pub(crate) fn of_identity(draft: IdentityDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        expiry(iat_ms, draft.ttl_s, IDENTITY_TTL_SECONDS_MAX)?;
        check_identifier(draft.identifier.as_deref())?;
        let identifier = draft.identifier;
        let draft = ConnectionDraft {
            sub: Some(draft.sub),
            sid: draft.sid,
            ttl_s: draft.ttl_s,
            ..ConnectionDraft::default()
        };
        let claims = Self::new(draft, iat_ms)?;
        Ok(Self {
            identifier,
            ..claims
        })
    }
}

impl ChannelClaims {
    /// Returns whether a connection of that user may use the token; `None` is an anonymous connection.
    #[must_use]
    pub fn admits(&self, user: Option<&str>) -> bool {
        self.sub.is_none() || self.sub.as_deref() == user
    }

    /// Checks the draft against every rule that does not depend on the current time.
    pub(crate) fn new(draft: ChannelDraft, iat_ms: u64) -> Result<Self, ClaimError> {
        check_sub(draft.sub.as_deref())?;
        channel::check_shared(&draft.channel)
            .map_err(|problem| invalid_name("channel", &draft.channel, problem))?;
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
    channel::check_user_id(sub).map_err(|problem| invalid_name("sub", sub, problem))
}

fn check_sid(sid: Option<&str>) -> Result<(), ClaimError> {
    match sid.map(str::len) {
        None | Some(1..=SESSION_ID_BYTES_MAX) => Ok(()),
        Some(bytes) => Err(ClaimError::SessionId { bytes }),
    }
}

/// Checks that an identifier is not empty, and that Rails' stream `action_cable/<identifier>` is a valid name
/// (`ActionCable::Connection::InternalChannel`).
fn check_identifier(identifier: Option<&str>) -> Result<(), ClaimError> {
    let Some(identifier) = identifier else {
        return Ok(());
    };
    let check = match identifier {
        "" => channel::check_cable_stream(""),
        _ => channel::check_cable_stream(&format!("action_cable/{identifier}")),
    };
    check.map_err(|problem| invalid_name("identifier", identifier, problem))
}

fn check_count(claim: &'static str, count: usize, max: usize) -> Result<(), ClaimError> {
    if count > max {
        Err(ClaimError::TooMany { claim, count, max })
    } else {
        Ok(())
    }
}

/// Returns the time of expiry, in seconds since the Unix epoch.
fn expiry(iat_ms: u64, ttl_s: u64, max: u64) -> Result<u64, ClaimError> {
    if (1..=max).contains(&ttl_s) {
        Ok(iat_ms / 1000 + ttl_s)
    } else {
        Err(ClaimError::Ttl { ttl_s, max })
    }
}

fn invalid_name(claim: &'static str, name: &str, problem: NameError) -> ClaimError {
    ClaimError::Name {
        claim,
        shown: name.chars().take(SHOWN_CHARS_MAX).collect(),
        problem,
    }
}
