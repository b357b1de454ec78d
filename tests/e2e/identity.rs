//! The identity cookie: a page without a token is its user's, and nothing else ever is (promise S-07).

use lineside_token::{IdentityDraft, Keys, sign_identity};
use serde_json::{Value, json};

use crate::hand_off::hand_over_with;
use crate::sign_out::disconnect;
use crate::support::{
    Browser, Dial, SECRET, Sidecar, channel_token, claims, forge, now_ms, place, read_answer,
    sidecar, token_for,
};

fn identity(sub: &str) -> String {
    let draft = IdentityDraft {
        sub: sub.into(),
        sid: Some("laptop".into()),
        ttl_s: 3600,
    };
    sign_identity(draft, &Keys::parse(SECRET).unwrap(), now_ms()).unwrap()
}

/// A page of the sidecar's own origin that brings this cookie field.
fn page(sidecar: &Sidecar, cookie: impl Into<String>) -> Dial {
    let origin = format!("http://127.0.0.1:{}", sidecar.port);
    sidecar
        .dial()
        .header("Origin", origin)
        .header("Cookie", cookie)
}

/// Connects with this first frame, and is welcomed.
fn welcome(dial: &Dial, mut connect: Value) -> Browser {
    let mut browser = dial.open();
    connect["type"] = json!("connect");
    browser.send(connect);
    browser.take_welcome()
}

fn user(dial: &Dial) -> Value {
    welcome(dial, json!({})).welcome["user"].clone()
}

#[track_caller]
fn expect_refused(dial: &Dial, connect: Value, code: u16) {
    let mut browser = dial.open();
    browser.send(connect);
    let ending = browser.ended();
    assert_eq!(ending.code, code);
    assert_eq!(ending.before, Vec::<Value>::new());
}

#[test]
fn a_page_without_a_token_is_its_users() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "news").start();
    let dial = page(&sidecar, format!("a=b; lineside={}; c=d", identity("42")));
    let mut browser = welcome(&dial, json!({"subscribe": [{"channel": "news"}]}));
    assert_eq!(browser.welcome["user"], "42");
    assert_eq!(browser.welcome["channels"], json!(["user:42", "news"]));
    let publisher = sidecar.publisher();
    publisher.publish("user:43", 1);
    publisher.publish("user:42", 2);
    browser.expect_message("user:42", json!(2));
    browser.send(json!({"type": "subscribe", "channel": "secret", "ref": 1}));
    browser.expect_error("forbidden");
    // What is for that user alone is for this page too.
    let token = channel_token("orders", Some("42"), 60);
    browser.subscribe(json!({"channel": "orders", "token": token}));
    browser.send(json!({"type": "refresh", "token": token_for("42", &["more"], &[])}));
    assert_eq!(
        browser.next()["channels"],
        json!(["user:42", "news", "orders", "more"])
    );
    // The URL may be the connect.
    let plain = dial.path("/lineside?channel=news").open().take_welcome();
    assert_eq!(plain.welcome["channels"], json!(["user:42", "news"]));
}

#[test]
fn it_counts_for_pages_that_may_connect_and_for_nobody_else() {
    let sidecar = place()
        .with("LINESIDE_ALLOWED_ORIGINS", "https://app.example")
        .start();
    let cookie = format!("lineside={}", identity("42"));
    assert_eq!(user(&page(&sidecar, &*cookie)), "42");
    let allowed = sidecar.dial().header("Origin", "https://app.example");
    assert_eq!(user(&allowed.header("Cookie", &*cookie)), "42");
    // Without Origin it is no browser.
    let tool = sidecar.dial().header("Cookie", &*cookie);
    assert_eq!(user(&tool), json!(null));
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let dial = sidecar.dial().header("Origin", origin);
        let answer = dial.header("Cookie", &*cookie).refused();
        assert_eq!(answer.status, 403, "{origin}");
    }
}

#[test]
fn a_connect_token_wins() {
    let sidecar = sidecar();
    let dial = page(&sidecar, format!("lineside={}", identity("42")));
    let browser = welcome(&dial, json!({"token": token_for("43", &[], &[])}));
    assert_eq!(browser.welcome["user"], "43");
    assert_eq!(browser.welcome["channels"], json!(["user:43"]));
    expect_refused(&dial, json!({"type": "connect", "token": "bad"}), 4001);
    let anonymous = forge(&claims(json!({"channels": ["news"]})));
    let browser = welcome(&dial, json!({ "token": anonymous }));
    assert_eq!(browser.welcome["user"], json!(null));
}

#[test]
fn no_token_does_anothers_service() {
    let sidecar = sidecar();
    for other in [
        token_for("42", &[], &[]),
        channel_token("news", Some("42"), 60),
        "nothing".to_owned(),
        String::new(),
    ] {
        let dial = page(&sidecar, format!("lineside={other}"));
        expect_refused(&dial, json!({"type": "connect"}), 4001);
    }
    let identity = identity("42");
    let connect = json!({"type": "connect", "token": identity});
    expect_refused(&sidecar.dial(), connect, 4001);
    let mut browser = sidecar.browser(json!({"token": token_for("42", &[], &[])}));
    browser.send(json!({"type": "refresh", "token": identity}));
    browser.expect_error("token_invalid");
    browser.send(json!({"type": "subscribe", "channel": "news", "token": identity}));
    browser.expect_error("token_invalid");
}

#[test]
fn it_ends_as_tokens_do() {
    let sidecar = sidecar();
    let now_s = now_ms() / 1000;
    let old_s = now_s - 60;
    let times = |iat: u64, exp: u64| {
        let claims = json!({"aud": "lineside:cable", "sub": "42", "iat": iat, "iat_ms": iat * 1000, "exp": exp});
        page(&sidecar, format!("lineside={}", forge(&claims)))
    };
    let connect = || json!({"type": "connect"});
    expect_refused(&times(old_s, old_s + 10), connect(), 4003);
    expect_refused(&times(now_s + 60, now_s + 120), connect(), 4004);
    expect_refused(&times(now_s, now_s + 3601), connect(), 4001);
    // Within the leeway: it lives for a moment, and ends.
    let mut ending = welcome(&times(old_s, now_s - 1), json!({}));
    assert_eq!(ending.ended().code, 4003);

    let mut live = welcome(
        &page(&sidecar, format!("lineside={}", identity("42"))),
        json!({}),
    );
    let before = page(&sidecar, format!("lineside={}", identity("42")));
    let mut link = sidecar.linked(1);
    link.send(&disconnect(1, b"42", b"", now_ms()));
    link.acked(1);
    assert_eq!(live.ended().code, 4002);
    expect_refused(&before, connect(), 4002);
}

#[test]
fn a_cookie_that_comes_twice_is_nobodys() {
    let sidecar = sidecar();
    let (one, two) = (identity("42"), identity("666"));
    let twice = page(&sidecar, format!("lineside={one}; lineside={two}"));
    assert_eq!(user(&twice), json!(null));
    let two_fields = page(&sidecar, format!("lineside={one}"));
    let two_fields = two_fields.header("Cookie", format!("lineside={two}"));
    assert_eq!(user(&two_fields), json!(null));
    for other in ["Lineside", "lineside2", "_lineside", "x"] {
        assert_eq!(
            user(&page(&sidecar, format!("{other}={one}"))),
            json!(null),
            "{other}"
        );
    }
}

#[test]
fn a_page_whose_socket_was_handed_over_is_its_users_too() {
    let sidecar = sidecar();
    for (fields, user) in [
        (
            format!(
                "Origin: https://shop.example\r\nCookie: lineside={}\r\n",
                identity("42")
            ),
            json!("42"),
        ),
        (
            format!("Cookie: lineside={}\r\n", identity("42")),
            json!(null),
        ),
    ] {
        let mut stream = hand_over_with(&sidecar, &fields);
        assert_eq!(read_answer(&mut stream).status, 101);
        let mut browser = Browser::new(stream);
        browser.send(json!({"type": "connect"}));
        assert_eq!(browser.take_welcome().welcome["user"], user);
    }
}

#[test]
fn it_stands_in_no_log() {
    let sidecar = sidecar();
    let identity = identity("42");
    welcome(&page(&sidecar, format!("lineside={identity}")), json!({})).leave();
    let bad = format!("{identity}x");
    expect_refused(
        &page(&sidecar, format!("lineside={bad}")),
        json!({"type": "connect"}),
        4001,
    );
    sidecar.logged(&["event=connection_ended", "token_invalid"]);
    for line in sidecar.log() {
        assert!(!line.contains(&identity[20..]), "{line}");
    }
}
