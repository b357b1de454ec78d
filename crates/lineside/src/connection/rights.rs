//! What one connection may see, and until when.

use std::sync::Arc;

use lineside_protocol::channel::{self, CABLE_PREFIX, USER_PREFIX};
use lineside_protocol::codes::{self, CloseCode, ErrorCode};
use lineside_token::{
    ChannelClaims, ConnectionClaims, LEEWAY_MS, TokenError, verify_channel, verify_connection,
};

use super::Rules;

/// Why something is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What the browser is told.
    pub(crate) code: ErrorCode,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The code that ends a connection whose own token is at fault.
    pub(super) fn close_code(&self) -> CloseCode {
        match self.code {
            codes::TOKEN_EXPIRED => codes::CLOSE_TOKEN_EXPIRED,
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

/// The verified token of a connection, and the channel tokens that it used.
#[derive(Debug)]
pub(super) struct Rights {
    /// None: anonymous, and only public channels and channel tokens open anything.
    claims: Option<ConnectionClaims>,
    /// Channels that only a channel token opened, with its end in seconds since the Unix epoch.
    channel_tokens: Vec<(Box<str>, u64)>,
}

impl Rights {
    pub(super) fn verify(
        token: Option<&str>,
        rules: &Rules,
        wall_ms: u64,
    ) -> Result<Self, Refusal> {
        let claims = token
            .map(|token| verify_connection(token, &rules.keys, wall_ms))
            .transpose()?;
        Ok(Self {
            claims,
            channel_tokens: Vec::new(),
        })
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.claims.as_ref()?.sub.as_deref()
    }

    /// End of the connection's token, in seconds since the Unix epoch.
    pub(super) fn exp(&self) -> Option<u64> {
        self.claims.as_ref().map(|claims| claims.exp)
    }

    /// The user's channel and those that the token names: subscribed by themselves.
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

    /// Whether the connection's own token, or nobody's leave, opens the channel.
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

    /// Whether anything opens the channel now.
    pub(super) fn covers(&self, channel: &str, rules: &Rules) -> bool {
        self.covers_by_itself(channel, rules)
            || self
                .channel_tokens
                .iter()
                .any(|(held, _)| **held == *channel)
    }

    /// Opens a channel that is asked for, with a channel token where it takes one.
    pub(super) fn open(
        &mut self,
        channel: &str,
        token: Option<&str>,
        rules: &Rules,
        wall_ms: u64,
    ) -> Result<(), Refusal> {
        channel::check(channel)
            .map_err(|error| Refusal::new(codes::BAD_CHANNEL, error.to_string()))?;
        if self.covers_by_itself(channel, rules) {
            return Ok(());
        }
        if channel.starts_with(USER_PREFIX) || channel.starts_with(CABLE_PREFIX) {
            return Err(Refusal::new(
                codes::FORBIDDEN,
                "this channel belongs to somebody else",
            ));
        }
        let Some(token) = token else {
            let held = self
                .channel_tokens
                .iter()
                .any(|(held, _)| **held == *channel);
            let message = "neither the connection's token nor a public rule opens this channel; send a channel token";
            return if held {
                Ok(())
            } else {
                Err(Refusal::new(codes::FORBIDDEN, message))
            };
        };
        let ChannelClaims { exp, .. } = self.verify_channel(channel, token, rules, wall_ms)?;
        self.forget(channel);
        self.channel_tokens.push((channel.into(), exp));
        Ok(())
    }

    fn verify_channel(
        &self,
        channel: &str,
        token: &str,
        rules: &Rules,
        wall_ms: u64,
    ) -> Result<ChannelClaims, Refusal> {
        let claims = verify_channel(token, &rules.keys, wall_ms)?;
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
        Ok(claims)
    }

    /// Puts a fresh token of the same user in the place of the old one.
    pub(super) fn refresh(
        &mut self,
        token: &str,
        rules: &Rules,
        wall_ms: u64,
    ) -> Result<(), Refusal> {
        let claims = verify_connection(token, &rules.keys, wall_ms)?;
        if claims.sub.as_deref() != self.user() {
            return Err(Refusal::new(codes::OTHER_USER, codes::OTHER_USER.meaning));
        }
        self.claims = Some(claims);
        Ok(())
    }

    /// Drops the channel token of a channel that is left.
    pub(super) fn forget(&mut self, channel: &str) {
        self.channel_tokens.retain(|(held, _)| **held != *channel);
    }

    /// Whether the connection's own token is over.
    pub(super) fn is_expired(&self, wall_ms: u64) -> bool {
        self.exp().is_some_and(|exp| end_ms(exp) <= wall_ms)
    }

    /// Drops the channel tokens that are over, and names their channels.
    pub(super) fn expire(&mut self, wall_ms: u64) -> Vec<Box<str>> {
        let (over, rest) = std::mem::take(&mut self.channel_tokens)
            .into_iter()
            .partition(|(_, exp)| end_ms(*exp) <= wall_ms);
        self.channel_tokens = rest;
        let over: Vec<(Box<str>, u64)> = over;
        over.into_iter().map(|(channel, _)| channel).collect()
    }

    /// When the next of them is over, in milliseconds since the Unix epoch.
    pub(super) fn expires_at_ms(&self) -> Option<u64> {
        let channels = self.channel_tokens.iter().map(|(_, exp)| *exp);
        self.exp().into_iter().chain(channels).min().map(end_ms)
    }
}

/// The end of a right with the leeway that its beginning was granted too.
fn end_ms(exp: u64) -> u64 {
    exp.saturating_mul(1000).saturating_add(LEEWAY_MS)
}
