//! Rights of one connection: its verified tokens, the channels that they open, and their expiry.

use std::sync::Arc;

use lineside_hub::{REVOCATION_MS, Revocation, SET_BACK_MS_MAX};
use lineside_protocol::channel::{self, CABLE_PREFIX, USER_PREFIX};
use lineside_protocol::codes::{self, CloseCode, ErrorCode};
use lineside_token::{
    ChannelClaims, ConnectionClaims, Keys, LEEWAY_MS, TTL_SECONDS_MAX, TokenError, verify_channel,
    verify_connection, verify_identity,
};

use crate::clock::{Deadline, Now};
use crate::dialects::{Rules, Turn, issue_time_ms};

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
    pub(super) fn close_code(&self) -> CloseCode {
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

/// Verified token of a connection, and the channel tokens that it used.
#[derive(Debug)]
pub(super) struct Rights {
    /// `None` for an anonymous connection, which only public rules and channel tokens give rights.
    claims: Option<ConnectionClaims>,
    /// End of the token, if there is one.
    deadline: Option<Deadline>,
    /// Rights from channel tokens.
    channel_tokens: Vec<ChannelRight>,
}

/// Right from a channel token.
#[derive(Debug)]
struct ChannelRight {
    channel: Box<str>,
    deadline: Deadline,
    /// Issue time of a token for one user, in milliseconds since the Unix epoch.
    issued_ms: Option<u64>,
}

impl Rights {
    /// Verifies the connection's token, or without one the identities from cookies.
    pub(super) fn verify(
        token: Option<&str>,
        identities: &[Box<str>],
        turn: &Turn<'_>,
    ) -> Result<Self, Refusal> {
        let claims = match token {
            Some(token) => Some(verify_unrevoked(verify_connection, token, turn)?),
            None => verify_identities(identities, turn)?,
        };
        Ok(Self {
            deadline: claims.as_ref().map(|claims| deadline(claims.exp, turn)),
            claims,
            channel_tokens: Vec::new(),
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.claims.as_ref()?.sub.as_deref()
    }

    /// Expiry of the connection's token, in seconds since the Unix epoch.
    pub(super) fn exp(&self) -> Option<u64> {
        self.claims.as_ref().map(|claims| claims.exp)
    }

    /// The user's channel and the channels of the token, which are subscribed without a request.
    pub(super) fn own_channels(&self) -> impl Iterator<Item = Arc<str>> {
        let user = self
            .user()
            .map(|user| Arc::from(format!("{USER_PREFIX}{user}")));
        let named = self
            .claims
            .iter()
            .flat_map(|claims| &claims.channels)
            .map(|channel| Arc::from(channel.as_str()));
        user.into_iter().chain(named)
    }

    /// Whether the token or a public-channel rule allows this channel.
    fn covers_by_itself(&self, channel: &str, rules: &Rules) -> bool {
        let public = || {
            rules
                .public_channels
                .iter()
                .any(|grant| grant.opens(channel))
        };
        self.claims
            .as_ref()
            .is_some_and(|claims| claims.opens(channel))
            || public()
    }

    /// Whether the channel is allowed now.
    pub(super) fn covers(&self, channel: &str, rules: &Rules) -> bool {
        self.covers_by_itself(channel, rules) || self.holds(channel)
    }

    /// Whether a channel token allows the channel.
    fn holds(&self, channel: &str) -> bool {
        let mut held = self.channel_tokens.iter();
        held.any(|held| *held.channel == *channel)
    }

    /// Checks a requested channel, and verifies its channel token if it needs one.
    pub(super) fn open(
        &mut self,
        channel: &str,
        token: Option<&str>,
        turn: &Turn<'_>,
    ) -> Result<(), Refusal> {
        channel::check(channel)
            .map_err(|error| Refusal::new(codes::BAD_CHANNEL, error.to_string()))?;
        if self.covers_by_itself(channel, turn.rules) {
            return Ok(());
        }
        if channel.starts_with(USER_PREFIX) || channel.starts_with(CABLE_PREFIX) {
            return Err(Refusal::new(
                codes::FORBIDDEN,
                "this channel is reserved for another user or for signed stream names",
            ));
        }
        let Some(token) = token else {
            let message = "neither the connection's token nor a public rule opens this channel; send a channel token";
            return if self.holds(channel) {
                Ok(())
            } else {
                Err(Refusal::new(codes::FORBIDDEN, message))
            };
        };
        let claims = self.verify_channel(channel, token, turn)?;
        self.forget(channel);
        self.channel_tokens.push(ChannelRight {
            channel: channel.into(),
            deadline: deadline(claims.exp, turn),
            issued_ms: claims.sub.map(|_| claims.iat_ms),
        });
        Ok(())
    }

    fn verify_channel(
        &self,
        channel: &str,
        token: &str,
        turn: &Turn<'_>,
    ) -> Result<ChannelClaims, Refusal> {
        let claims = verify_channel(token, &turn.rules.keys.current(), turn.now.wall_ms)?;
        if claims.channel != channel {
            return Err(Refusal::new(
                codes::FORBIDDEN,
                "the channel token is for another channel",
            ));
        }
        if !claims.admits(self.user()) {
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

    /// Replaces the token by a fresh one of the same user.
    pub(super) fn refresh(&mut self, token: &str, turn: &Turn<'_>) -> Result<(), Refusal> {
        let claims = verify_unrevoked(verify_connection, token, turn)?;
        if claims.sub.as_deref() != self.user() {
            return Err(Refusal::new(codes::OTHER_USER, codes::OTHER_USER.meaning));
        }
        self.deadline = Some(deadline(claims.exp, turn));
        self.claims = Some(claims);
        Ok(())
    }

    /// Removes the channel token of a channel.
    pub(super) fn forget(&mut self, channel: &str) {
        self.channel_tokens.retain(|held| *held.channel != *channel);
    }

    /// Whether the connection's token has expired.
    pub(super) fn is_expired(&self, now: Now) -> bool {
        self.deadline.is_some_and(|it| it.left_ms(now) == 0)
    }

    /// Removes expired channel tokens, and returns their channels.
    pub(super) fn expire(&mut self, now: Now) -> Vec<Box<str>> {
        self.drop_channel_tokens(|held| held.deadline.left_ms(now) == 0)
    }

    /// Whether a revocation of this connection's user covers its token.
    pub(super) fn is_ended_by(&self, revocation: &Revocation, wall_ms: u64) -> bool {
        self.claims.as_ref().is_some_and(|claims| {
            let issued_ms = issue_time_ms(claims.iat_ms, wall_ms);
            revocation.covers(claims.sid.as_deref(), issued_ms)
        })
    }

    /// Removes the channel tokens that a revocation of this connection's user covers, and returns their channels.
    pub(super) fn revoke(&mut self, revocation: &Revocation, wall_ms: u64) -> Vec<Box<str>> {
        self.drop_channel_tokens(|held| {
            let issued_ms = held.issued_ms.map(|it| issue_time_ms(it, wall_ms));
            issued_ms.is_some_and(|it| revocation.covers(None, it))
        })
    }

    fn drop_channel_tokens(&mut self, is_over: impl Fn(&ChannelRight) -> bool) -> Vec<Box<str>> {
        let over = self.channel_tokens.extract_if(.., |held| is_over(held));
        over.map(|held| held.channel).collect()
    }

    /// Time until the next expiry, in milliseconds.
    pub(super) fn expires_in_ms(&self, now: Now) -> Option<u64> {
        let channels = self.channel_tokens.iter().map(|held| held.deadline);
        let all = self.deadline.into_iter().chain(channels);
        all.map(|it| it.left_ms(now)).min()
    }
}

/// Verifies the identities from cookies. Ignores cookies of other apps, which the keys of this one did not sign. Two users
/// count as none, because another site of the domain may have set one of the cookies.
fn verify_identities(
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
fn verify_unrevoked(
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
fn deadline(exp: u64, turn: &Turn<'_>) -> Deadline {
    let end_ms = exp.saturating_mul(1000).saturating_add(LEEWAY_MS);
    Deadline::at_wall(end_ms, turn.now)
}
