//! A signer of its own, which signs anything: what the crate's signer would refuse must be refused by the verifier too.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use lineside_token::{Keys, TokenError, verify_connection};
use serde_json::{Map, Value, json};
use sha2::Sha256;

pub(crate) const SECRET: &str = "the secret of these tests: 0123456789";
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// 2023-11-14T22:13:20.250Z: not a whole second, so that rounding shows.
pub(crate) const NOW_MS: u64 = 1_700_000_000_250;
pub(crate) const NOW_S: u64 = NOW_MS / 1000;

pub(crate) fn keys() -> Keys {
    Keys::parse(SECRET).expect("a good secret")
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Two parts as they are, and the MAC over them.
pub(crate) fn sign_parts(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(secret)
        .expect("any length")
        .chain_update(&signed);
    format!("{signed}.{}", encode(mac.finalize().into_bytes()))
}

/// A token with a genuine MAC over whatever these bytes are.
pub(crate) fn seal(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    sign_parts(&encode(header), &encode(claims), SECRET.as_bytes())
}

/// The claims of a good connection token, with some replaced; null removes one.
pub(crate) fn connection(changes: Value) -> String {
    changed(
        json!({"aud": "lineside", "sub": "42", "channels": ["news"], "allow": ["chat:*"]}),
        changes,
    )
}

/// The claims of a good channel token, with some replaced; null removes one.
pub(crate) fn channel(changes: Value) -> String {
    changed(
        json!({"aud": "lineside:channel", "channel": "news"}),
        changes,
    )
}

fn changed(mut claims: Value, changes: Value) -> String {
    let members = claims.as_object_mut().expect("an object");
    members.extend(object(
        json!({"iat": NOW_S, "iat_ms": NOW_MS, "exp": NOW_S + 3600}),
    ));
    members.extend(object(changes));
    members.retain(|_, value| !value.is_null());
    claims.to_string()
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else {
        panic!("an object is needed, not {value}")
    };
    members
}

/// The verdict on a connection token, which never quotes what it judges.
pub(crate) fn refusal(token: &str) -> TokenError {
    let error = verify_connection(token, &keys(), NOW_MS).expect_err(token);
    let message = format!("{error} {error:?}");
    for part in token.split('.').filter(|part| part.len() > 15) {
        assert!(!message.contains(part), "{message}");
    }
    error
}

/// A connection token with some claims replaced, its signature genuine.
pub(crate) fn sealed(changes: Value) -> String {
    seal(HEADER, connection(changes))
}
