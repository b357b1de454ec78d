//! Tokens: of the real signer, and with arbitrary claims under a valid signature.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel, sign_connection};
use serde_json::{Value, json};
use sha2::Sha256;

use super::SECRET;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

/// A connection token as an app signs it. Lives for an hour unless the draft has a `ttl_s`.
pub(crate) fn sign(draft: ConnectionDraft) -> String {
    sign_with(SECRET, draft, now_ms())
}

/// The same, signed with another secret and at another time.
pub(crate) fn sign_with(secret: &str, draft: ConnectionDraft, at_ms: u64) -> String {
    let ttl_s = if draft.ttl_s == 0 { 3600 } else { draft.ttl_s };
    let keys = Keys::parse(secret).unwrap();
    sign_connection(ConnectionDraft { ttl_s, ..draft }, &keys, at_ms).unwrap()
}

/// A connection token of this user, with these `channels` and `allow`.
pub(crate) fn token_for(sub: &str, channels: &[&str], allow: &[&str]) -> String {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    sign(ConnectionDraft {
        sub: Some(sub.into()),
        channels: texts(channels),
        allow: texts(allow),
        ..ConnectionDraft::default()
    })
}

/// Valid claims of a connection token, or of a channel token if `changes` has a `channel`. `changes` replaces and adds
/// claims; null removes one.
pub(crate) fn claims(changes: Value) -> Value {
    let now_ms = now_ms();
    let audience = if changes.get("channel").is_some() {
        "lineside:channel"
    } else {
        "lineside"
    };
    let mut claims = json!({
        "aud": audience, "iat": now_ms / 1000, "iat_ms": now_ms, "exp": now_ms / 1000 + 3600,
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

/// A token with arbitrary claims and a valid signature.
pub(crate) fn forge(claims: &Value) -> String {
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let header = part(json!({"alg": "HS256", "typ": "JWT"}).to_string());
    let signed = format!("{header}.{}", part(claims.to_string()));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
        .unwrap()
        .chain_update(&signed);
    format!(
        "{signed}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

/// A connection token of user 1, signed at this time.
pub(crate) fn signed_at(at_ms: u64, ttl_s: u64) -> String {
    let draft = ConnectionDraft {
        sub: Some("1".into()),
        ttl_s,
        ..ConnectionDraft::default()
    };
    sign_with(SECRET, draft, at_ms)
}

/// A channel token as an app signs it.
pub(crate) fn channel_token(channel: &str, sub: Option<&str>, ttl_s: u64) -> String {
    let draft = ChannelDraft {
        channel: channel.into(),
        sub: sub.map(Into::into),
        ttl_s,
    };
    sign_channel(draft, &Keys::parse(SECRET).unwrap(), now_ms()).unwrap()
}
