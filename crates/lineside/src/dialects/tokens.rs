//! Verification of tokens and identity cookies, with the revocations, for the connections of every dialect.

use lineside_hub::{REVOCATION_MS, SET_BACK_MS_MAX};
use lineside_protocol::codes::{self, CloseCode, ErrorCode};
use lineside_token::{
    ChannelClaims, ConnectionClaims, Keys, LEEWAY_MS, TTL_SECONDS_MAX, TokenError, verify_channel,
    verify_identity,
};

use super::Turn;
use crate::clock::Deadline;

// A revocation lives as long as every token that it covers.
const _: () = assert!(REVOCATION_MS > TTL_SECONDS_MAX * 1000 + 2 * LEEWAY_MS + SET_BACK_MS_MAX);

/// Reason for refusing a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Code for the browser.
    pub(crate) code: ErrorCode,
    /// Details for people.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn revoked() -> Self {
        Self::new(codes::TOKEN_REVOKED, codes::TOKEN_REVOKED.meaning)
    }

    /// Close code for a connection whose own token is refused.
    pub(crate) fn close_code(&self) -> CloseCode {
        match self.code {
            codes::TOKEN_EXPIRED => codes::CLOSE_TOKEN_EXPIRED,
            codes::TOKEN_REVOKED => codes::CLOSE_TOKEN_REVOKED,
            codes::TOKEN_NOT_YET_VALID => codes::CLOSE_TOKEN_NOT_YET_VALID,
            _ => codes::CLOSE_TOKEN_INVALID,
        }
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Expired { .. } => codes::TOKEN_EXPIRED,
            TokenError::NotYetValid { .. } => codes::TOKEN_NOT_YET_VALID,
            _ => codes::TOKEN_INVALID,
        };
        Self::new(code, error.to_string())
    }
}

/// Verifies a channel token for a connection of this user; `None` is an anonymous connection.
pub(super) fn verify_channel_token(
    token: &str,
    user: Option<&str>,
    turn: &Turn<'_>,
) -> Result<ChannelClaims, Refusal> {
    let claims = verify_channel(token, &turn.rules.keys.current(), turn.now.wall_ms)?;
    if !claims.admits(user) {
        return Err(Refusal::new(
            codes::FORBIDDEN,
            "the channel token is for another user",
        ));
    }
    // A channel token names no session, so only a revocation of all sessions covers it.
    let sub = claims.sub.as_deref();
    if sub.is_some_and(|sub| turn.broker.is_revoked(sub, None, claims.iat_ms)) {
        return Err(Refusal::revoked());
    }
    Ok(claims)
}

/// Verifies the identities from cookies. Ignores cookies of other apps, which the keys of this one did not sign. Two users
/// count as none, because another site of the domain may have set one of the cookies.
pub(super) fn verify_identities(
    identities: &[Box<str>],
    turn: &Turn<'_>,
) -> Result<Option<ConnectionClaims>, Refusal> {
    let mut newest: Option<ConnectionClaims> = None;
    let mut refusal = None;
    for identity in identities {
        match verify_unrevoked(verify_identity, identity, turn) {
            Ok(claims) => match &newest {
                Some(other) if other.sub != claims.sub => return Ok(None),
                Some(other) if other.iat_ms >= claims.iat_ms => {}
                _ => newest = Some(claims),
            },
            Err(foreign) if foreign.code == codes::TOKEN_INVALID => {}
            Err(own) => refusal = Some(own),
        }
    }
    match refusal {
        Some(refusal) if newest.is_none() => Err(refusal),
        _ => Ok(newest),
    }
}

/// Verifies a token, and rejects it if it is revoked.
pub(super) fn verify_unrevoked(
    verify: fn(&str, &Keys, u64) -> Result<ConnectionClaims, TokenError>,
    token: &str,
    turn: &Turn<'_>,
) -> Result<ConnectionClaims, Refusal> {
    let claims = verify(token, &turn.rules.keys.current(), turn.now.wall_ms)?;
    let is_revoked = |sub: &str| {
        turn.broker
            .is_revoked(sub, claims.sid.as_deref(), claims.iat_ms)
    };
    if claims.sub.as_deref().is_some_and(is_revoked) {
        return Err(Refusal::revoked());
    }
    Ok(claims)
}

/// Deadline of a token, with the leeway that also applies to the issue time.
pub(super) fn deadline(exp: u64, turn: &Turn<'_>) -> Deadline {
    let end_ms = exp.saturating_mul(1000).saturating_add(LEEWAY_MS);
    Deadline::at_wall(end_ms, turn.now)
}
