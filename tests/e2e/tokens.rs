//! Tokens: each fault closes the connection with its code after the upgrade, and no token opens more than it grants.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lineside_token::ConnectionDraft;
use serde_json::{Value, json};

use crate::support::{
    Sidecar, channel_token, claims, forge, now_ms, place, sidecar, sign_with, signed_at, token_for,
};

/// Sends the token in the first frame, in the URL and as a subprotocol; each must be closed with this code.
#[track_caller]
fn expect_refused(sidecar: &Sidecar, token: &str, code: u16, reason: &str) {
    let mut browsers = vec![sidecar.request().connect(json!({"token": token}))];
    let in_url = token
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"#&%+".contains(&byte));
    if in_url && !token.is_empty() {
        browsers.push(
            sidecar
                .request()
                .path(format!("/lineside?token={token}"))
                .open(),
        );
        let offered = format!("lineside-v1, lineside.token.{token}");
        browsers.push(
            sidecar
                .request()
                .header("Sec-WebSocket-Protocol", offered)
                .open(),
        );
    }
    for mut browser in browsers {
        let ending = browser.expect_close();
        assert_eq!(
            (ending.code, ending.reason.as_str()),
            (code, reason),
            "{token}"
        );
        assert_eq!(ending.before, Vec::<Value>::new());
        let message = ending.message.expect("a message for people");
        assert!(token.len() < 10 || !message.contains(token), "{message}");
    }
}

#[test]
fn invalid_token_is_refused_with_4001() {
    let sidecar = sidecar();
    let good = token_for("1", &[], &[]);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let other_secret = "another secret of these tests: 98765";
    let tokens = [
        String::new(),
        "x".into(),
        "a.b.c".into(),
        "..".into(),
        "é.é.é".into(),
        "x".repeat(9000),
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}A"),
        format!("{good}."),
        good.to_uppercase(),
        format!("{}.{payload}.", part(json!({"alg": "none"}))),
        format!("{}.{payload}.", part(json!({"alg": "HS256"}))),
        sign_with(other_secret, ConnectionDraft::default(), now_ms()),
        forge(&claims(json!({"sub": ""}))),
        forge(&claims(json!({"channels": ["news", "user:2"]}))),
        channel_token("a", None, 60),
    ];
    for token in tokens {
        expect_refused(&sidecar, &token, 4001, "token_invalid");
    }
}

#[test]
fn expired_and_not_yet_valid_tokens_have_codes_of_their_own() {
    let sidecar = sidecar();
    expect_refused(
        &sidecar,
        &signed_at(now_ms() - 7_200_000, 3600),
        4003,
        "token_expired",
    );
    expect_refused(
        &sidecar,
        &signed_at(now_ms() + 600_000, 3600),
        4004,
        "token_not_yet_valid",
    );
    let nbf = claims(json!({"nbf": now_ms() / 1000 + 600}));
    expect_refused(&sidecar, &forge(&nbf), 4004, "token_not_yet_valid");
}

#[test]
fn channel_token_opens_its_channel_for_its_user_or_for_anyone() {
    let sidecar = sidecar();
    let entries = |user: Option<&str>| {
        json!([{"channel": "a", "token": channel_token("a", user, 60)},
               {"channel": "b", "token": channel_token("b", None, 60)}])
    };
    let token = token_for("1", &[], &[]);
    let publisher = sidecar.publisher();
    let mut browser = sidecar.browser(json!({"token": token, "subscribe": entries(Some("1"))}));
    assert_eq!(browser.welcome["channels"], json!(["user:1", "a", "b"]));
    let mut anonymous = sidecar.browser(json!({"subscribe": entries(Some("1"))}));
    assert_eq!(
        anonymous.welcome["channels"],
        json!(["b"]),
        "a token of user 1 opens nothing for an anonymous browser"
    );
    assert_eq!(
        anonymous.welcome["refused"],
        json!([{"channel": "a", "code": "forbidden"}])
    );
    sidecar.logged(&["event=channel_refused", "channel=a", "lineside_meta_tags"]);
    anonymous.send(json!({"type": "subscribe", "channel": "c"}));
    anonymous.expect_error("forbidden");
    sidecar.logged(&["event=channel_refused", "channel=c", "lineside_meta_tags"]);
    publisher.publish("a", 1);
    publisher.publish("b", 2);
    browser.expect_message("a", json!(1));
    browser.expect_message("b", json!(2));
    anonymous.expect_message("b", json!(2));
}

#[test]
fn invalid_or_foreign_channel_token_is_refused_and_opens_nothing() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "marker").start();
    let now_s = now_ms() / 1000;
    let of = |changes: Value| forge(&claims(changes));
    let old = json!({"channel": "a", "iat": now_s - 100, "iat_ms": (now_s - 100) * 1000, "exp": now_s - 50});
    let cases = [
        ("a", channel_token("b", None, 60), "forbidden"),
        ("a", channel_token("A", None, 60), "forbidden"),
        ("a", channel_token("a", Some("2"), 60), "forbidden"),
        ("user:2", of(json!({"channel": "user:2"})), "forbidden"),
        ("cable:x", of(json!({"channel": "cable:x"})), "forbidden"),
        ("a", of(json!({"channel": "user:2"})), "token_invalid"),
        ("a", of(json!({"channel": "*"})), "token_invalid"),
        ("a", of(json!({"channel": ["a"]})), "token_invalid"),
        ("a", of(json!({"channel": "a", "sub": 1})), "token_invalid"),
        (
            "a",
            of(json!({"channel": "a", "aud": "lineside"})),
            "token_invalid",
        ),
        ("a", of(old), "token_expired"),
        (
            "a",
            of(json!({"channel": "a", "nbf": now_s + 600})),
            "token_not_yet_valid",
        ),
        ("a", "x".into(), "token_invalid"),
        ("a", String::new(), "token_invalid"),
    ];
    let connect = json!({"token": token_for("1", &[], &[]), "subscribe": [{"channel": "marker"}]});
    let mut browser = sidecar.browser(connect.clone());
    for (channel, token, code) in &cases {
        browser.send(json!({"type": "subscribe", "channel": channel, "token": token, "ref": 7}));
        let error = browser.expect_error(code);
        assert_eq!(
            (&error["channel"], &error["ref"]),
            (&json!(channel), &json!(7))
        );
        assert!(
            token.len() < 10 || !error.to_string().contains(token.as_str()),
            "{error}"
        );

        let mut connect = connect.clone();
        connect["subscribe"] = json!([{"channel": channel, "token": token}]);
        let other = sidecar.browser(connect);
        assert_eq!(
            other.welcome["refused"],
            json!([{"channel": channel, "code": code}])
        );
    }
    let publisher = sidecar.publisher();
    cases
        .iter()
        .for_each(|(channel, ..)| publisher.enqueue(channel, "secret"));
    publisher.publish("marker", 1);
    browser.expect_message("marker", json!(1));
}

#[test]
fn allow_claim_opens_no_reserved_channel() {
    let names = [
        "user:2",
        "user:11",
        "cable:x",
        "cable:user:1",
        "user:1x",
        "user:2 ",
        "user:1:x",
    ];
    let grants = [
        "*", "user:*", "user:2", "user:1:*", "cable:*", "cable:x", "u:*", "user:2:*", ":*",
        "user::*",
    ];
    let sidecar = sidecar();
    for grant in grants {
        let token = forge(&claims(json!({"sub": "1", "allow": [grant]})));
        let mut browser = sidecar.browser(json!({"token": token}));
        for name in names {
            browser.send(json!({"type": "subscribe", "channel": name}));
            let answer = browser.expect_error("forbidden");
            assert_eq!(answer["channel"], name, "{grant}");
        }
        let publisher = sidecar.publisher();
        names
            .iter()
            .for_each(|name| publisher.enqueue(name, "secret"));
        publisher.publish("user:1", "own");
        browser.expect_message("user:1", json!("own"));
    }
}
