//! Verification of tokens: the MAC first, then the header, then the claims, then the times.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::claims::{
    ChannelClaims, ChannelDraft, ClaimError, ConnectionClaims, ConnectionDraft, IdentityDraft,
};
use crate::json::Members;
use crate::key::Keys;
use crate::{CHANNEL_AUDIENCE, CONNECTION_AUDIENCE, IDENTITY_AUDIENCE, TOKEN_BYTES_MAX};

/// Tolerated difference between the clocks of signer and verifier, in milliseconds. Machines with NTP differ by less.
pub const LEEWAY_MS: u64 = 5000;

/// Rule that a token breaks. Browsers are sent `token_expired` for [`Expired`](Self::Expired), `token_not_yet_valid` for
/// [`NotYetValid`](Self::NotYetValid), and `token_invalid` for all others. No variant contains any part of the token.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// The token is longer than [`TOKEN_BYTES_MAX`], and was not decoded.
    #[error("the token has {bytes} bytes; at most {TOKEN_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of the token, in bytes.
        bytes: usize,
    },
    /// The token is not in the compact form of RFC 7515.
    #[error("the token is not three parts with a dot between them")]
    Shape,
    /// A part is not canonical base64url without padding.
    #[error("the token's {part} is not base64url without padding")]
    Encoding {
        /// `header`, `claims` or `signature`.
        part: &'static str,
    },
    /// No key produced the signature.
    #[error(
        "the token's signature matches none of the secrets; sign it with HS256 and the secret of this sidecar"
    )]
    Signature,
    /// A part is not one JSON object, or has a duplicate name.
    #[error("the token's {part} is not one JSON object with unique names")]
    Json {
        /// `header` or `claims`.
        part: &'static str,
    },
    /// The header asks for another algorithm, type or extension.
    #[error("the token's header must have alg \"HS256\", typ \"JWT\" or no typ, and no crit")]
    Header,
    /// A claim breaks a rule.
    #[error("the token is refused: {0}")]
    Claim(#[from] ClaimError),
    /// The token has expired.
    #[error("the token expired at {exp} s since the Unix epoch; the time is {now_ms} ms")]
    Expired {
        /// Time of expiry, in seconds since the Unix epoch.
        exp: u64,
        /// Time of verification, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// The token is not valid yet.
    #[error(
        "the token is valid from {from_ms} ms since the Unix epoch; the time is {now_ms} ms: compare the clocks of the app \
         and the sidecar"
    )]
    NotYetValid {
        /// The later of `iat_ms` and `nbf`, in milliseconds since the Unix epoch.
        from_ms: u64,
        /// Time of verification, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
}

/// Verifies a connection token at `now_ms` (milliseconds since the Unix epoch) and returns its claims. Ignores unknown
/// claims.
///
/// # Errors
/// Returns [`TokenError`] with the first rule that the token breaks.
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

/// Verifies an identity at `now_ms` (milliseconds since the Unix epoch) and returns its claims. Ignores unknown claims,
/// `channels` and `allow` among them: an identity opens its user's channel only.
///
/// # Errors
/// Returns [`TokenError`] with the first rule that the identity breaks.
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
        identifier: members.text("identifier")?,
        ttl_s: times.ttl_s(),
    };
    let claims = ConnectionClaims::of_identity(draft, times.iat_ms)?;
    times.check(now_ms)?;
    Ok(claims)
}

/// Verifies a channel token at `now_ms` (milliseconds since the Unix epoch) and returns its claims. Ignores unknown
/// claims. Does not compare `sub` with the connection's user: [`ChannelClaims::admits`] does.
///
/// # Errors
/// Returns [`TokenError`] with the first rule that the token breaks.
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

/// Token whose signature is not verified yet. Gives access to nothing but [`Verified`].
struct Unverified<'a> {
    /// Input of the MAC: header, dot, claims.
    signed: &'a str,
    header: &'a str,
    claims: &'a str,
    mac: Vec<u8>,
}

/// Header and claims of a token with a valid signature.
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

    /// Verifies the signature with HS256, before the header is decoded: the token does not choose the algorithm.
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
    /// Checks header and audience, and returns the claims.
    fn claims(self, audience: &'static str) -> Result<Members, TokenError> {
        let mut header = object("header", self.header)?;
        let alg = header.remove("alg").is_some_and(|alg| alg == "HS256");
        let typ = header.remove("typ").is_none_or(|typ| typ == "JWT");
        // RFC 7515 §4.1.11: a verifier must support every extension in `crit`; this one supports none.
        if !alg || !typ || header.remove("crit").is_some() {
            return Err(TokenError::Header);
        }
        let mut members = object("claims", self.claims)?;
        match members.remove("aud") {
            None => Err(ClaimError::Missing { claim: "aud" }.into()),
            Some(Value::String(aud)) if aud == audience => Ok(members),
            Some(_) => Err(ClaimError::Audience { want: audience }.into()),
        }
    }
}

fn object(part: &'static str, text: &str) -> Result<Members, TokenError> {
    Members::parse(&decode(part, text)?).ok_or(TokenError::Json { part })
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, TokenError> {
    // The engine refuses padding and non-zero trailing bits, so that each token has exactly one encoding.
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Encoding { part })
}

/// Times of a token.
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

    /// Checks that the token is valid at `now_ms`. Additions saturate: a time too large for milliseconds is the maximum.
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
