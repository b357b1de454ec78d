//! Validity period of tokens, and the values of times.

use lineside_token::{
    ChannelDraft, ClaimError, ConnectionDraft, LEEWAY_MS, TTL_SECONDS_MAX, TokenError,
    sign_channel, sign_connection, verify_channel, verify_connection,
};
use serde_json::json;

use crate::forge::{HEADER, NOW_MS, NOW_S, connection, keys, refusal, seal, sealed};

#[test]
fn times_must_be_non_negative_integers() {
    let good = connection(json!({"nbf": NOW_S}));
    for claim in ["exp", "iat", "iat_ms", "nbf"] {
        let value = if claim == "iat_ms" {
            NOW_MS
        } else if claim == "exp" {
            NOW_S + 3600
        } else {
            NOW_S
        };
        let whole = format!(r#""{claim}":{value}"#);
        assert!(good.contains(&whole), "{good}");
        let with = |text: &str| {
            seal(
                HEADER,
                good.replace(&whole, &format!(r#""{claim}":{text}"#)),
            )
        };
        assert!(verify_connection(&with(&value.to_string()), &keys(), NOW_MS).is_ok());
        for bad in [
            format!("\"{value}\""),
            format!("{value}.0"),
            format!("{value}e0"),
            format!("-{value}"),
            format!("[{value}]"),
            format!("{{\"at\":{value}}}"),
            format!("{value}00000000000000000000"),
            "-0".into(),
            "1.7e9".into(),
            "true".into(),
            "null".into(),
        ] {
            let error = refusal(&with(&bad));
            assert!(
                matches!(error, TokenError::Claim(ClaimError::Type { claim: it, .. }) if it == claim),
                "{claim} {bad}: {error}"
            );
        }
        for bad in [
            "1e400",
            "0x7fffffff",
            "01700000000",
            "+1700000000",
            "NaN",
            "Infinity",
            "",
            " ",
        ] {
            assert_eq!(
                refusal(&with(bad)),
                TokenError::Json { part: "claims" },
                "{claim} {bad}"
            );
        }
    }
    for claim in ["exp", "iat", "iat_ms"] {
        assert_eq!(
            refusal(&sealed(json!({claim: null}))),
            TokenError::Claim(ClaimError::Missing { claim })
        );
    }
}

#[test]
fn contradicting_times_are_refused() {
    for changes in [
        json!({"iat": NOW_S + 1}),
        json!({"iat": NOW_S - 1}),
        json!({"iat_ms": NOW_S}),
        json!({"iat_ms": NOW_MS + 750}),
        json!({"iat": 0}),
    ] {
        assert_eq!(
            refusal(&sealed(changes.clone())),
            TokenError::Claim(ClaimError::Issue),
            "{changes}"
        );
    }
    let ttl = |ttl_s| {
        TokenError::Claim(ClaimError::Ttl {
            ttl_s,
            max: TTL_SECONDS_MAX,
        })
    };
    assert_eq!(refusal(&sealed(json!({"exp": NOW_S}))), ttl(0));
    assert_eq!(refusal(&sealed(json!({"exp": NOW_S - 1}))), ttl(0));
    assert_eq!(
        refusal(&sealed(json!({"exp": NOW_S + 86_401}))),
        ttl(86_401)
    );
    assert_eq!(
        refusal(&sealed(json!({"exp": u64::MAX}))),
        ttl(u64::MAX - NOW_S)
    );
    assert!(verify_connection(&sealed(json!({"exp": NOW_S + 86_400})), &keys(), NOW_MS).is_ok());
    // The largest possible time is in the future, and does not overflow.
    let last = json!({"iat": u64::MAX / 1000, "iat_ms": u64::MAX, "exp": u64::MAX / 1000 + 1});
    assert_eq!(
        refusal(&sealed(last)),
        TokenError::NotYetValid {
            from_ms: u64::MAX,
            now_ms: NOW_MS
        }
    );
}

#[test]
fn token_is_valid_from_issue_to_expiry_with_leeway() {
    let draft = ConnectionDraft {
        ttl_s: 60,
        ..ConnectionDraft::default()
    };
    let connection = sign_connection(draft, &keys(), NOW_MS).expect("a token");
    assert_valid_for_a_minute(|now_ms| verify_connection(&connection, &keys(), now_ms).map(|_| ()));
    let draft = ChannelDraft {
        channel: "news".into(),
        sub: None,
        ttl_s: 60,
    };
    let channel = sign_channel(draft, &keys(), NOW_MS).expect("a token");
    assert_valid_for_a_minute(|now_ms| verify_channel(&channel, &keys(), now_ms).map(|_| ()));
}

fn assert_valid_for_a_minute(at: impl Fn(u64) -> Result<(), TokenError>) {
    let (exp, end_ms) = (NOW_S + 60, (NOW_S + 60) * 1000 + LEEWAY_MS);
    assert_eq!(at(NOW_MS - LEEWAY_MS), Ok(()));
    assert_eq!(at(end_ms - 1), Ok(()));
    for now_ms in [NOW_MS - LEEWAY_MS - 1, 0] {
        assert_eq!(
            at(now_ms),
            Err(TokenError::NotYetValid {
                from_ms: NOW_MS,
                now_ms
            })
        );
    }
    for now_ms in [end_ms, u64::MAX] {
        assert_eq!(at(now_ms), Err(TokenError::Expired { exp, now_ms }));
    }
}

#[test]
fn token_is_refused_before_nbf() {
    let now_ms = NOW_S * 1000;
    let verify = |nbf: u64| {
        let claims = connection(json!({"nbf": nbf, "iat_ms": now_ms}));
        verify_connection(&seal(HEADER, claims), &keys(), now_ms).map(|_| ())
    };
    assert_eq!(verify(NOW_S), Ok(()));
    assert_eq!(verify(NOW_S + LEEWAY_MS / 1000), Ok(()));
    assert_eq!(
        verify(NOW_S + 6),
        Err(TokenError::NotYetValid {
            from_ms: (NOW_S + 6) * 1000,
            now_ms
        })
    );
    assert_eq!(
        verify(u64::MAX),
        Err(TokenError::NotYetValid {
            from_ms: u64::MAX,
            now_ms
        })
    );
}

#[test]
fn nbf_before_iat_makes_a_token_valid_no_earlier() {
    let token = seal(HEADER, connection(json!({"nbf": NOW_S - 3600})));
    let at = |now_ms| verify_connection(&token, &keys(), now_ms).map(|_| ());
    assert_eq!(at(NOW_MS - LEEWAY_MS), Ok(()));
    let now_ms = NOW_MS - LEEWAY_MS - 1;
    let from_ms = NOW_MS;
    assert_eq!(at(now_ms), Err(TokenError::NotYetValid { from_ms, now_ms }));
}
