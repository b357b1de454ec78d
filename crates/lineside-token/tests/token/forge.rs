//! Signer for tests, which signs anything. The verifier must refuse every token that the crate's own signer refuses.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use lineside_token::{Keys, TokenError, verify_connection};
use serde_json::{Map, Value, json};
use sha2::Sha256;

pub(crate) const SECRET: &str = "the secret of these tests: 0123456789";
pub(crate) const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

/// 2023-11-14T22:13:20.250Z. Not a whole second, so that the tests cover rounding.
pub(crate) const NOW_MS: u64 = 1_700_000_000_250;
pub(crate) const NOW_S: u64 = NOW_MS / 1000;

pub(crate) fn keys() -> Keys {
    Keys::parse(SECRET).expect("a good secret")
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns a token of these two parts, unchanged, with a valid MAC.
pub(crate) fn sign_parts(header: &str, claims: &str, secret: &[u8]) -> String {
    let signed = format!("{header}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(secret)
        .expect("any length")
        .chain_update(&signed);
    format!("{signed}.{}", encode(mac.finalize().into_bytes()))
}

/// Returns a token of these bytes with a valid MAC.
pub(crate) fn seal(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    sign_parts(&encode(header), &encode(claims), SECRET.as_bytes())
}

/// Returns the claims of a valid connection token, with `changes` applied; null removes a claim.
pub(crate) fn connection(changes: Value) -> String {
    changed(
        json!({"aud": "lineside", "sub": "42", "channels": ["news"], "allow": ["chat:*"]}),
        changes,
    )
}

/// Returns the claims of a valid channel token, with `changes` applied; null removes a claim.
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

/// Returns the error of a connection token, and checks that it quotes no part of the token.
pub(crate) fn refusal(token: &str) -> TokenError {
    let error = verify_connection(token, &keys(), NOW_MS).expect_err(token);
    let message = format!("{error} {error:?}");
    for part in token.split('.').filter(|part| part.len() > 15) {
        assert!(!message.contains(part), "{message}");
    }
    error
}

/// Returns a connection token with `changes` applied to its claims, and a valid signature.
pub(crate) fn sealed(changes: Value) -> String {
    seal(HEADER, connection(changes))
}
