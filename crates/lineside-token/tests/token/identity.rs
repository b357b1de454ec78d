//! Identities, which browsers send in a cookie: user, lifetime, and the refusal as any other token.

use lineside_protocol::channel::{SESSION_ID_BYTES_MAX, USER_ID_BYTES_MAX};
use lineside_token::{
    ClaimError, IDENTITY_TTL_SECONDS_MAX, IdentityDraft, LEEWAY_MS, TokenError, sign_identity,
    verify_channel, verify_connection, verify_identity,
};
use serde_json::{Value, json};

use crate::forge::{HEADER, NOW_MS, NOW_S, channel, connection, keys, object, seal};

fn draft() -> IdentityDraft {
    IdentityDraft {
        sub: "42".into(),
        sid: Some("laptop".into()),
        identifier: None,
        ttl_s: 60,
    }
}

/// Returns an identity with `changes` applied to its claims, and a valid signature; null removes a claim.
fn sealed(changes: Value) -> String {
    let mut all = json!({"aud": "lineside:cable", "channels": null, "allow": null});
    let members = all.as_object_mut().expect("an object");
    members.extend(object(changes));
    seal(HEADER, connection(all))
}

fn refusal(token: &str) -> TokenError {
    verify_identity(token, &keys(), NOW_MS).expect_err(token)
}

#[test]
fn identity_opens_only_the_channel_of_its_user() {
    let identity = sign_identity(draft(), &keys(), NOW_MS).expect("an identity");
    let claims = verify_identity(&identity, &keys(), NOW_MS).expect("genuine");
    assert_eq!(
        (claims.sub.as_deref(), claims.sid.as_deref()),
        (Some("42"), Some("laptop"))
    );
    assert_eq!((claims.iat_ms, claims.exp), (NOW_MS, NOW_S + 60));
    assert!(claims.opens("user:42"));
    for other in ["user:4", "news", "cable:x", ""] {
        assert!(!claims.opens(other), "{other:?}");
    }
    // Channels and grants are ignored, even with a valid signature.
    let more = sealed(json!({"channels": ["news"], "allow": ["*"]}));
    let claims = verify_identity(&more, &keys(), NOW_MS).expect("genuine");
    assert!(claims.opens("user:42") && !claims.opens("news") && claims.channels.is_empty());
}

#[test]
fn identifier_of_action_cable_is_signed_and_checked() {
    let with = |identifier: &str| IdentityDraft {
        identifier: Some(identifier.into()),
        ..draft()
    };
    let identity = sign_identity(with("Z2lkOi8vYXBwL1VzZXIvNDI"), &keys(), NOW_MS).unwrap();
    let claims = verify_identity(&identity, &keys(), NOW_MS).expect("genuine");
    let expected = Some("Z2lkOi8vYXBwL1VzZXIvNDI");
    assert_eq!(claims.identifier.as_deref(), expected);
    for invalid in ["", "a\nb", &*"x".repeat(1024)] {
        let refused = sign_identity(with(invalid), &keys(), NOW_MS).expect_err(invalid);
        let token = sealed(json!({"identifier": invalid}));
        assert_eq!(refusal(&token), TokenError::Claim(refused));
    }
    // A connection token has none.
    let token = seal(HEADER, connection(json!({"identifier": "x"})));
    let claims = verify_connection(&token, &keys(), NOW_MS).expect("genuine");
    assert_eq!(claims.identifier, None);
}

#[test]
fn tokens_and_identities_are_not_interchangeable() {
    let of_connection = seal(HEADER, connection(json!({})));
    let of_channel = seal(HEADER, channel(json!({"sub": "42"})));
    let identity = sealed(json!({"channel": "news"}));
    let audience = |want| TokenError::Claim(ClaimError::Audience { want });
    for token in [&of_connection, &of_channel] {
        assert_eq!(refusal(token), audience("lineside:cable"));
    }
    assert_eq!(
        verify_connection(&identity, &keys(), NOW_MS),
        Err(audience("lineside"))
    );
    assert_eq!(
        verify_channel(&identity, &keys(), NOW_MS),
        Err(audience("lineside:channel"))
    );
}

#[test]
fn signing_and_verifying_refuse_the_same_invalid_identities() {
    for (sub, sid) in [
        ("", None),
        ("a\nb", None),
        (&*"x".repeat(USER_ID_BYTES_MAX + 1), None),
        ("42", Some("")),
        ("42", Some(&*"x".repeat(SESSION_ID_BYTES_MAX + 1))),
    ] {
        let draft = IdentityDraft {
            sub: sub.into(),
            sid: sid.map(Into::into),
            ..draft()
        };
        let refused = sign_identity(draft, &keys(), NOW_MS).expect_err(sub);
        let token = sealed(json!({"sub": sub, "sid": sid}));
        assert_eq!(refusal(&token), TokenError::Claim(refused));
    }
    let missing = TokenError::Claim(ClaimError::Missing { claim: "sub" });
    assert_eq!(refusal(&sealed(json!({"sub": null}))), missing);
    assert!(matches!(
        refusal(&sealed(json!({"sub": 42}))),
        TokenError::Claim(ClaimError::Type { claim: "sub", .. })
    ));
}

#[test]
fn identity_lives_at_most_one_hour() {
    let max = IDENTITY_TTL_SECONDS_MAX;
    assert_eq!(max, 3600);
    for ttl_s in [0, max + 1, 86_400] {
        let refused = ClaimError::Ttl { ttl_s, max };
        let draft = IdentityDraft { ttl_s, ..draft() };
        assert_eq!(sign_identity(draft, &keys(), NOW_MS), Err(refused.clone()));
        let token = sealed(json!({"exp": NOW_S + ttl_s}));
        assert_eq!(refusal(&token), TokenError::Claim(refused));
    }
    let draft = IdentityDraft {
        ttl_s: max,
        ..draft()
    };
    let identity = sign_identity(draft, &keys(), NOW_MS).expect("an identity");
    let end_ms = (NOW_S + max) * 1000 + LEEWAY_MS;
    assert!(verify_identity(&identity, &keys(), end_ms - 1).is_ok());
    assert!(matches!(
        verify_identity(&identity, &keys(), end_ms),
        Err(TokenError::Expired { .. })
    ));
    assert!(matches!(
        verify_identity(&identity, &keys(), NOW_MS - LEEWAY_MS - 1),
        Err(TokenError::NotYetValid { .. })
    ));
}
