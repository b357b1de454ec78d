//! Verifying: the MAC first, then the header, then the claims, then the clock.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::claims::{
    ChannelClaims, ChannelDraft, ClaimError, ConnectionClaims, ConnectionDraft, IdentityDraft,
};
use crate::json::Members;
use crate::key::Keys;
use crate::{CHANNEL_AUDIENCE, CONNECTION_AUDIENCE, IDENTITY_AUDIENCE, TOKEN_BYTES_MAX};

/// How far the signer's clock may be off, in milliseconds, either way: machines that keep time by NTP differ by less.
pub const LEEWAY_MS: u64 = 5000;

/// Why a token is refused. For browsers: [`Expired`](Self::Expired) is `token_expired`,
/// [`NotYetValid`](Self::NotYetValid) is `token_not_yet_valid`, everything else is `token_invalid`. No variant holds any
/// part of the token's text.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Longer than [`TOKEN_BYTES_MAX`]; nothing of it was read.
    #[error("the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not the compact serialisation of RFC 7515.
    #[error("the token is not three parts with a dot between them")]
    Shape,
    /// A part that is not canonical base64url without padding.
    #[error("the token's {part} is not base64url without padding")]
    Encoding {
        /// Which of the three.
        part: &'static str,
    },
    /// A MAC that no key has made.
    #[error(
        "the token's signature fits none of the secrets; sign it with HS256 and the secret of this sidecar"
    )]
    Signature,
    /// A part that is not one JSON object, or holds a name twice.
    #[error("the token's {part} is not one JSON object with each name once")]
    Json {
        /// Header or claims.
        part: &'static str,
    },
    /// A header that says the signature means something else.
    #[error("the token's header must hold alg \"HS256\", typ \"JWT\" or none, and no crit")]
    Header,
    /// Claims that break a rule.
    #[error("the token is refused: {0}")]
    Claim(#[from] ClaimError),
    /// Its time is over.
    #[error("the token expired at {exp} s; it is {now_ms} ms now")]
    Expired {
        /// Seconds since the Unix epoch.
        exp: u64,
        /// Milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// Its time has not come.
    #[error("the token is valid from {from_ms} ms; it is {now_ms} ms now, compare the clocks")]
    NotYetValid {
        /// Milliseconds since the Unix epoch: the later of `iat_ms` and `nbf`.
        from_ms: u64,
        /// Milliseconds since the Unix epoch.
        now_ms: u64,
    },
}

/// Decides whether this is a genuine connection token at `now_ms` (milliseconds since the Unix epoch), and what it says.
/// Claims it does not know are ignored.
///
/// # Errors
/// [`TokenError`] with the first rule that the token breaks.
pub fn verify_connection(
    token: &str,
    keys: &Keys,
    now_ms: u64,
) -> Result<ConnectionClaims, TokenError> {
    let mut members = Unverified::split(token)?
        .verify(keys)?
        .claims(CONNECTION_AUDIENCE)?;
    let times = Times::read(&mut members)?;
    let draft = ConnectionDraft {
        sub: members.text("sub")?,
        sid: members.text("sid")?,
        channels: members.texts("channels")?,
        allow: members.texts("allow")?,
        ttl_s: times.ttl_s(),
    };
    let claims = ConnectionClaims::new(draft, times.iat_ms)?;
    times.check(now_ms)?;
    Ok(claims)
}

/// Decides whether this is a genuine identity at `now_ms` (milliseconds since the Unix epoch), and whose. It opens that user's
/// channel and no other. Claims it does not know, `channels` and `allow` among them, are ignored.
///
/// # Errors
/// [`TokenError`] with the first rule that it breaks.
pub fn verify_identity(
    token: &str,
    keys: &Keys,
    now_ms: u64,
) -> Result<ConnectionClaims, TokenError> {
    let mut members = Unverified::split(token)?
        .verify(keys)?
        .claims(IDENTITY_AUDIENCE)?;
    let times = Times::read(&mut members)?;
    let draft = IdentityDraft {
        sub: members
            .text("sub")?
            .ok_or(ClaimError::Missing { claim: "sub" })?,
        sid: members.text("sid")?,
        ttl_s: times.ttl_s(),
    };
    let claims = ConnectionClaims::of_identity(draft, times.iat_ms)?;
    times.check(now_ms)?;
    Ok(claims)
}

/// Decides whether this is a genuine channel token at `now_ms` (milliseconds since the Unix epoch), and what it says.
/// Claims it does not know are ignored. Whether its `sub` is the connection's is asked of
/// [`ChannelClaims::admits`].
///
/// # Errors
/// [`TokenError`] with the first rule that the token breaks.
pub fn verify_channel(token: &str, keys: &Keys, now_ms: u64) -> Result<ChannelClaims, TokenError> {
    let mut members = Unverified::split(token)?
        .verify(keys)?
        .claims(CHANNEL_AUDIENCE)?;
    let times = Times::read(&mut members)?;
    let draft = ChannelDraft {
        channel: members
            .text("channel")?
            .ok_or(ClaimError::Missing { claim: "channel" })?,
        sub: members.text("sub")?,
        ttl_s: times.ttl_s(),
    };
    let claims = ChannelClaims::new(draft, times.iat_ms)?;
    times.check(now_ms)?;
    Ok(claims)
}

/// A text of which nothing may be believed: it can only be turned into [`Verified`].
struct Unverified<'a> {
    /// What the MAC is over: header, dot, claims.
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    mac: Vec<u8>,
}

/// Header and claims as one of the keys has signed them.
struct Verified<'a> {
    header: &'a str,
    claims: &'a str,
}

impl<'a> Unverified<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        let bytes = token.len();
        if bytes > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes });
        }
        let (signed, mac) = token.rsplit_once('.').ok_or(TokenError::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Shape)?;
        if claims.contains('.') {
            return Err(TokenError::Shape);
        }
        Ok(Self {
            signed,
            header,
            claims,
            mac: decode("signature", mac)?,
        })
    }

    /// The algorithm is ours to choose, not the token's: it is HS256 before the header has been looked at.
    fn verify(self, keys: &Keys) -> Result<Verified<'a>, TokenError> {
        if keys.verify(self.signed.as_bytes(), &self.mac) {
            Ok(Verified {
                header: self.header,
                claims: self.claims,
            })
        } else {
            Err(TokenError::Signature)
        }
    }
}

impl Verified<'_> {
    /// The claims, once header and audience are as they must be.
    fn claims(self, audience: &'static str) -> Result<Members, TokenError> {
        let mut header = object("header", self.header)?;
        let alg = header.take("alg").is_some_and(|alg| alg == "HS256");
        let typ = header.take("typ").is_none_or(|typ| typ == "JWT");
        // RFC 7515 §4.1.11: what `crit` names must be understood, and we understand none of it.
        if !alg || !typ || header.take("crit").is_some() {
            return Err(TokenError::Header);
        }
        let mut members = object("claims", self.claims)?;
        match members.take("aud") {
            None => Err(ClaimError::Missing { claim: "aud" }.into()),
            Some(Value::String(aud)) if aud == audience => Ok(members),
            Some(_) => Err(ClaimError::Audience { want: audience }.into()),
        }
    }
}

fn object(part: &'static str, text: &str) -> Result<Members, TokenError> {
    Members::read(&decode(part, text)?).ok_or(TokenError::Json { part })
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    // The engine refuses padding and trailing bits that are not zero: each token has exactly one spelling.
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Encoding { part })
}

/// When a token holds.
struct Times {
    iat: u64,
    iat_ms: u64,
    nbf: Option<u64>,
    exp: u64,
}

impl Times {
    fn read(members: &mut Members) -> Result<Self, ClaimError> {
        let mut required = |claim| members.time(claim)?.ok_or(ClaimError::Missing { claim });
        let (iat, iat_ms, exp) = (required("iat")?, required("iat_ms")?, required("exp")?);
        if iat_ms / 1000 != iat {
            return Err(ClaimError::Issue);
        }
        Ok(Self {
            iat,
            iat_ms,
            nbf: members.time("nbf")?,
            exp,
        })
    }

    fn ttl_s(&self) -> u64 {
        self.exp.saturating_sub(self.iat)
    }

    /// Saturating throughout: a time beyond what milliseconds can count is as far away as time goes.
    fn check(&self, now_ms: u64) -> Result<(), TokenError> {
        let from_ms = self
            .nbf
            .map_or(self.iat_ms, |nbf| nbf.saturating_mul(1000).max(self.iat_ms));
        if from_ms > now_ms.saturating_add(LEEWAY_MS) {
            return Err(TokenError::NotYetValid { from_ms, now_ms });
        }
        if self.exp.saturating_mul(1000).saturating_add(LEEWAY_MS) <= now_ms {
            return Err(TokenError::Expired {
                exp: self.exp,
                now_ms,
            });
        }
        Ok(())
    }
}
