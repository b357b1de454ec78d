//! Rules for claims. Each is tested with the signer and with the verifier.

use lineside_protocol::channel::{
    NAME_BYTES_MAX, NameError, SESSION_ID_BYTES_MAX, USER_ID_BYTES_MAX,
};
use lineside_token::{
    CHANNELS_MAX, ChannelDraft, ClaimError, ConnectionDraft, GRANTS_MAX, KEY_BYTES_MIN, KEYS_MAX,
    LEEWAY_MS, TOKEN_BYTES_MAX, TTL_SECONDS_MAX, TokenError, sign_channel, sign_connection,
    verify_channel, verify_connection,
};
use serde_json::json;

use crate::forge::{HEADER, NOW_MS, NOW_S, channel, connection, keys, seal};

fn draft() -> ConnectionDraft {
    ConnectionDraft {
        ttl_s: 60,
        ..ConnectionDraft::default()
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// The other tests use these names. Their values are documented, and change only with the documentation.
#[test]
fn limits_have_the_documented_values() {
    assert_eq!((TTL_SECONDS_MAX, LEEWAY_MS), (86_400, 5000));
    assert_eq!((CHANNELS_MAX, GRANTS_MAX), (128, 128));
    assert_eq!(
        (NAME_BYTES_MAX, USER_ID_BYTES_MAX, SESSION_ID_BYTES_MAX),
        (255, 250, 255)
    );
    assert_eq!((KEY_BYTES_MIN, KEYS_MAX, TOKEN_BYTES_MAX), (32, 8, 8192));
}

#[test]
fn connection_token_names_its_user_and_channels() {
    let draft = ConnectionDraft {
        sub: Some("42".into()),
        sid: Some("laptop".into()),
        channels: texts(&["news", "orders:7"]),
        allow: texts(&["chat:*", "user:*", "user:7", "cable:*"]),
        ttl_s: 3600,
    };
    let token = sign_connection(draft, &keys(), NOW_MS).expect("a token");
    let claims = verify_connection(&token, &keys(), NOW_MS).expect("genuine");
    assert_eq!(
        (claims.sub.as_deref(), claims.sid.as_deref()),
        (Some("42"), Some("laptop"))
    );
    assert_eq!((claims.iat_ms, claims.exp), (NOW_MS, NOW_S + 3600));
    assert_eq!(claims.channels, ["news", "orders:7"]);
    for channel in ["user:42", "news", "orders:7", "chat:1"] {
        assert!(claims.opens(channel), "{channel:?}");
    }
    for channel in [
        "user:7", "user:", "user:421", "user:4", "user", "cable:x", "orders:8", "chat", "", "*",
    ] {
        assert!(!claims.opens(channel), "{channel:?}");
    }
}

#[test]
fn anonymous_token_opens_no_user_channel() {
    let token = sign_connection(
        ConnectionDraft {
            allow: texts(&["*"]),
            ..draft()
        },
        &keys(),
        NOW_MS,
    )
    .expect("a token");
    let claims = verify_connection(&token, &keys(), NOW_MS).expect("genuine");
    assert_eq!((claims.sub.as_deref(), claims.sid.as_deref()), (None, None));
    assert!(claims.opens("news"));
    assert!(!claims.opens("user:42") && !claims.opens("user:") && !claims.opens("cable:x"));
}

#[test]
fn channel_token_admits_its_user_or_any_bearer() {
    let sign = |sub: Option<&str>| {
        let draft = ChannelDraft {
            channel: "orders:7".into(),
            sub: sub.map(Into::into),
            ttl_s: 60,
        };
        let token = sign_channel(draft, &keys(), NOW_MS).expect("a token");
        verify_channel(&token, &keys(), NOW_MS).expect("genuine")
    };
    let (anyone, one) = (sign(None), sign(Some("42")));
    assert_eq!(
        (anyone.channel.as_str(), anyone.iat_ms, anyone.exp),
        ("orders:7", NOW_MS, NOW_S + 60)
    );
    assert!(anyone.admits(None) && anyone.admits(Some("42")));
    assert!(one.admits(Some("42")));
    assert!(!one.admits(None) && !one.admits(Some("43")) && !one.admits(Some("")));
}

#[test]
fn signing_and_verifying_refuse_the_same_invalid_drafts() {
    let name = |claim, shown: &str, problem| ClaimError::Name {
        claim,
        shown: shown.into(),
        problem,
    };
    let too_many = |claim, count, max| ClaimError::TooMany { claim, count, max };
    let long = "x".repeat(256);
    let many = |count: usize| {
        (0..count)
            .map(|place| place.to_string())
            .collect::<Vec<_>>()
    };
    for (bad, error) in [
        (
            ConnectionDraft {
                sub: Some(String::new()),
                ..draft()
            },
            name("sub", "", NameError::Empty),
        ),
        (
            ConnectionDraft {
                sub: Some("4*".into()),
                ..draft()
            },
            name("sub", "4*", NameError::Star),
        ),
        (
            ConnectionDraft {
                sub: Some("4\n2".into()),
                ..draft()
            },
            name("sub", "4\n2", NameError::Control),
        ),
        (
            ConnectionDraft {
                sub: Some(long[..251].into()),
                ..draft()
            },
            name(
                "sub",
                &long[..64],
                NameError::TooLong {
                    bytes: 251,
                    max: 250,
                },
            ),
        ),
        (
            ConnectionDraft {
                sid: Some(String::new()),
                ..draft()
            },
            ClaimError::SessionId { bytes: 0 },
        ),
        (
            ConnectionDraft {
                sid: Some(long.clone()),
                ..draft()
            },
            ClaimError::SessionId { bytes: 256 },
        ),
        (
            ConnectionDraft {
                channels: texts(&["a", ""]),
                ..draft()
            },
            name("channels", "", NameError::Empty),
        ),
        (
            ConnectionDraft {
                channels: texts(&["a", "b*"]),
                ..draft()
            },
            name("channels", "b*", NameError::Star),
        ),
        (
            ConnectionDraft {
                channels: texts(&["a\0"]),
                ..draft()
            },
            name("channels", "a\0", NameError::Control),
        ),
        (
            ConnectionDraft {
                channels: texts(&["user:42"]),
                ..draft()
            },
            name("channels", "user:42", NameError::Reserved),
        ),
        (
            ConnectionDraft {
                channels: texts(&["cable:"]),
                ..draft()
            },
            name("channels", "cable:", NameError::Reserved),
        ),
        (
            ConnectionDraft {
                channels: texts(&[&long]),
                ..draft()
            },
            name(
                "channels",
                &long[..64],
                NameError::TooLong {
                    bytes: 256,
                    max: 255,
                },
            ),
        ),
        (
            ConnectionDraft {
                allow: texts(&["u*"]),
                ..draft()
            },
            name("allow", "u*", NameError::Star),
        ),
        (
            ConnectionDraft {
                channels: many(CHANNELS_MAX + 1),
                ..draft()
            },
            too_many("channels", CHANNELS_MAX + 1, CHANNELS_MAX),
        ),
        (
            ConnectionDraft {
                allow: many(GRANTS_MAX + 1),
                ..draft()
            },
            too_many("allow", GRANTS_MAX + 1, GRANTS_MAX),
        ),
        (
            ConnectionDraft {
                ttl_s: 0,
                ..draft()
            },
            ClaimError::Ttl {
                ttl_s: 0,
                max: TTL_SECONDS_MAX,
            },
        ),
        (
            ConnectionDraft {
                ttl_s: u64::MAX,
                ..draft()
            },
            ClaimError::Ttl {
                ttl_s: u64::MAX,
                max: TTL_SECONDS_MAX,
            },
        ),
        (
            ConnectionDraft {
                ttl_s: TTL_SECONDS_MAX + 1,
                ..draft()
            },
            ClaimError::Ttl {
                max: TTL_SECONDS_MAX,
                ttl_s: TTL_SECONDS_MAX + 1,
            },
        ),
    ] {
        let claims = connection(json!({
            "sub": bad.sub, "sid": bad.sid, "channels": bad.channels, "allow": bad.allow,
            "exp": NOW_S.saturating_add(bad.ttl_s),
        }));
        assert_eq!(
            sign_connection(bad.clone(), &keys(), NOW_MS),
            Err(error.clone()),
            "{bad:?}"
        );
        let verified = verify_connection(&seal(HEADER, claims), &keys(), NOW_MS);
        // `exp` is limited by u64, so the largest lifetime is shortened.
        let error = if bad.ttl_s == u64::MAX {
            ClaimError::Ttl {
                max: TTL_SECONDS_MAX,
                ttl_s: u64::MAX - NOW_S,
            }
        } else {
            error
        };
        assert_eq!(verified, Err(TokenError::Claim(error)), "{bad:?}");
    }
    let full = ConnectionDraft {
        channels: many(CHANNELS_MAX),
        allow: many(GRANTS_MAX),
        ..draft()
    };
    assert!(sign_connection(full, &keys(), NOW_MS).is_ok());
    assert!(
        sign_connection(
            ConnectionDraft {
                sub: Some(long[..250].into()),
                ..draft()
            },
            &keys(),
            NOW_MS
        )
        .is_ok()
    );
}

#[test]
fn channel_token_for_a_reserved_or_invalid_name_is_refused() {
    for (name, problem) in [
        ("", NameError::Empty),
        ("a*", NameError::Star),
        ("chat:*", NameError::Star),
        ("a\u{9f}", NameError::Control),
        ("user:42", NameError::Reserved),
        ("cable:x", NameError::Reserved),
    ] {
        let error = ClaimError::Name {
            claim: "channel",
            shown: name.into(),
            problem,
        };
        let draft = ChannelDraft {
            channel: name.into(),
            sub: None,
            ttl_s: 60,
        };
        assert_eq!(sign_channel(draft, &keys(), NOW_MS), Err(error.clone()));
        let token = seal(HEADER, channel(json!({"channel": name})));
        assert_eq!(
            verify_channel(&token, &keys(), NOW_MS),
            Err(TokenError::Claim(error))
        );
    }
    let missing = seal(HEADER, channel(json!({"channel": null})));
    let error = TokenError::Claim(ClaimError::Missing { claim: "channel" });
    assert_eq!(verify_channel(&missing, &keys(), NOW_MS), Err(error));
    let sub = ChannelDraft {
        channel: "news".into(),
        sub: Some("a*".into()),
        ttl_s: 60,
    };
    assert!(sign_channel(sub, &keys(), NOW_MS).is_err());
    let ttl = ChannelDraft {
        channel: "news".into(),
        sub: None,
        ttl_s: TTL_SECONDS_MAX + 1,
    };
    assert!(sign_channel(ttl, &keys(), NOW_MS).is_err());
}

#[test]
fn too_long_token_is_not_signed() {
    let channels: Vec<_> = (0..CHANNELS_MAX)
        .map(|place| format!("{place:0>100}"))
        .collect();
    let signed = sign_connection(
        ConnectionDraft {
            channels,
            ..draft()
        },
        &keys(),
        NOW_MS,
    );
    assert!(
        matches!(signed, Err(ClaimError::TooLong { bytes }) if bytes > 8192),
        "{signed:?}"
    );
}
