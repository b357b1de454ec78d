//! Signing of tokens. Refuses every claim that verification would refuse, so that mistakes show where they are made.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use crate::claims::{
    ChannelClaims, ChannelDraft, ClaimError, ConnectionClaims, ConnectionDraft, IdentityDraft,
};
use crate::grant::Grant;
use crate::key::Keys;
use crate::{CHANNEL_AUDIENCE, CONNECTION_AUDIENCE, IDENTITY_AUDIENCE, TOKEN_BYTES_MAX};

/// JOSE header of every token (RFC 7515 §4).
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// Claims of a token, in order of encoding (RFC 7519 §4.1, and our own).
#[derive(Default, Serialize)]
struct Payload<'a> {
    aud: &'a str,
    iat: u64,
    iat_ms: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    channels: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<&'a str>,
}

/// Signs a connection token, issued at `now_ms` (milliseconds since the Unix epoch), with the first key.
///
/// # Errors
/// Returns [`ClaimError`] for an invalid name or grant, a lifetime outside 1 s to one day, or claims that are too long.
pub fn sign_connection(
    draft: ConnectionDraft,
    keys: &Keys,
    now_ms: u64,
) -> Result<String, ClaimError> {
    let claims = ConnectionClaims::new(draft, now_ms)?;
    let payload = Payload {
        aud: CONNECTION_AUDIENCE,
        iat: claims.iat_ms / 1000,
        iat_ms: claims.iat_ms,
        exp: claims.exp,
        sub: claims.sub.as_deref(),
        sid: claims.sid.as_deref(),
        channels: &claims.channels,
        allow: claims.allow.iter().map(Grant::as_str).collect(),
        ..Payload::default()
    };
    seal(&payload, keys)
}

/// Signs an identity, issued at `now_ms` (milliseconds since the Unix epoch), with the first key.
///
/// # Errors
/// Returns [`ClaimError`] for an invalid id or identifier, or a lifetime outside 1 s to one hour.
pub fn sign_identity(draft: IdentityDraft, keys: &Keys, now_ms: u64) -> Result<String, ClaimError> {
    let claims = ConnectionClaims::of_identity(draft, now_ms)?;
    let payload = Payload {
        aud: IDENTITY_AUDIENCE,
        iat: claims.iat_ms / 1000,
        iat_ms: claims.iat_ms,
        exp: claims.exp,
        sub: claims.sub.as_deref(),
        sid: claims.sid.as_deref(),
        identifier: claims.identifier.as_deref(),
        ..Payload::default()
    };
    seal(&payload, keys)
}

/// Signs a channel token, issued at `now_ms` (milliseconds since the Unix epoch), with the first key.
///
/// # Errors
/// Returns [`ClaimError`] for an invalid name or a lifetime outside 1 s to one day.
pub fn sign_channel(draft: ChannelDraft, keys: &Keys, now_ms: u64) -> Result<String, ClaimError> {
    let claims = ChannelClaims::new(draft, now_ms)?;
    let payload = Payload {
        aud: CHANNEL_AUDIENCE,
        iat: claims.iat_ms / 1000,
        iat_ms: claims.iat_ms,
        exp: claims.exp,
        sub: claims.sub.as_deref(),
        channel: Some(&claims.channel),
        ..Payload::default()
    };
    seal(&payload, keys)
}

/// Signs the claims and encodes the token in the compact form (RFC 7515 §7.1).
fn seal(payload: &Payload<'_>, keys: &Keys) -> Result<String, ClaimError> {
    let json =
        serde_json::to_vec(payload).expect("strings and integers can always be encoded as JSON");
    let mut token = URL_SAFE_NO_PAD.encode(HEADER) + "." + &URL_SAFE_NO_PAD.encode(json);
    let mac = keys.sign(token.as_bytes());
    token += ".";
    token += &URL_SAFE_NO_PAD.encode(mac);
    let bytes = token.len();
    if bytes > TOKEN_BYTES_MAX {
        Err(ClaimError::TooLong { bytes })
    } else {
        Ok(token)
    }
}
