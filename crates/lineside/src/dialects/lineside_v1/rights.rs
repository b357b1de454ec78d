//! Rights of one connection: its verified tokens, the channels that they open, and their expiry.

use std::sync::Arc;

use lineside_hub::Revocation;
use lineside_protocol::channel::{self, CABLE_PREFIX, USER_PREFIX};
use lineside_protocol::codes;
use lineside_token::{ConnectionClaims, verify_connection};

use crate::clock::{Deadline, Now};
use crate::dialects::tokens::{
    Refusal, deadline, verify_channel_token, verify_identities, verify_unrevoked,
};
use crate::dialects::{Rules, Turn, issue_time_ms};

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
        let claims = verify_channel_token(token, self.user(), turn)?;
        if claims.channel != channel {
            return Err(Refusal::new(
                codes::FORBIDDEN,
                "the channel token is for another channel",
            ));
        }
        self.forget(channel);
        self.channel_tokens.push(ChannelRight {
            channel: channel.into(),
            deadline: deadline(claims.exp, turn),
            issued_ms: claims.sub.map(|_| claims.iat_ms),
        });
        Ok(())
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
