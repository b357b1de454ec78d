//! The identity cookie: it identifies the user of a page that sends no token, and serves no other purpose (S-07).

use lineside_token::{IdentityDraft, Keys, sign_identity};
use serde_json::{Value, json};

use crate::hand_off::hand_off_with_headers;
use crate::sign_out::revoke_frame;
use crate::support::{
    Browser, Request, SECRET, Sidecar, channel_token, claims, forge, now_ms, place, read_response,
    sidecar, token_for,
};

fn identity(sub: &str) -> String {
    let draft = IdentityDraft {
        sub: sub.into(),
        sid: Some("laptop".into()),
        identifier: None,
        ttl_s: 3600,
    };
    sign_identity(draft, &Keys::parse(SECRET).unwrap(), now_ms()).unwrap()
}

/// A request from a page of the sidecar's own origin, with this `Cookie` header.
fn page(sidecar: &Sidecar, cookie: impl Into<String>) -> Request {
    let origin = format!("http://127.0.0.1:{}", sidecar.port);
    sidecar
        .request()
        .header("Origin", origin)
        .header("Cookie", cookie)
}

fn connect(request: &Request, fields: Value) -> Browser {
    request.connect(fields).expect_welcome()
}

/// The user of a connection without a token.
fn user(request: &Request) -> Value {
    connect(request, json!({})).welcome["user"].clone()
}

#[test]
fn cookie_identifies_the_user_of_a_page_without_a_token() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "news").start();
    let request = page(&sidecar, format!("a=b; lineside={}; c=d", identity("42")));
    let mut browser = connect(&request, json!({"subscribe": [{"channel": "news"}]}));
    assert_eq!(browser.welcome["user"], "42");
    assert_eq!(browser.welcome["channels"], json!(["user:42", "news"]));
    let publisher = sidecar.publisher();
    publisher.publish("user:43", 1);
    publisher.publish("user:42", 2);
    browser.expect_message("user:42", json!(2));
    browser.send(json!({"type": "subscribe", "channel": "secret", "ref": 1}));
    browser.expect_error("forbidden");
    // A channel token of that user.
    let token = channel_token("orders", Some("42"), 60);
    browser.subscribe(json!({"channel": "orders", "token": token}));
    browser.send(json!({"type": "refresh", "token": token_for("42", &["more"], &[])}));
    assert_eq!(
        browser.next()["channels"],
        json!(["user:42", "news", "orders", "more"])
    );
    // A URL with a channel connects too.
    let plain = request
        .path("/lineside?channel=news")
        .open()
        .expect_welcome();
    assert_eq!(plain.welcome["channels"], json!(["user:42", "news"]));
}

#[test]
fn cookie_counts_only_with_an_allowed_origin() {
    let sidecar = place()
        .with("LINESIDE_ALLOWED_ORIGINS", "https://app.example")
        .start();
    let cookie = format!("lineside={}", identity("42"));
    assert_eq!(user(&page(&sidecar, &*cookie)), "42");
    let allowed = sidecar.request().header("Origin", "https://app.example");
    assert_eq!(user(&allowed.header("Cookie", &*cookie)), "42");
    // A client without Origin is not a browser.
    let tool = sidecar.request().header("Cookie", &*cookie);
    assert_eq!(user(&tool), json!(null));
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let request = sidecar.request().header("Origin", origin);
        let answer = request.header("Cookie", &*cookie).response();
        assert_eq!(answer.status, 403, "{origin}");
    }
}

#[test]
fn token_of_connect_takes_precedence_over_the_cookie() {
    let sidecar = sidecar();
    let request = page(&sidecar, format!("lineside={}", identity("42")));
    let browser = connect(&request, json!({"token": token_for("43", &[], &[])}));
    assert_eq!(browser.welcome["user"], "43");
    assert_eq!(browser.welcome["channels"], json!(["user:43"]));
    request.expect_refused(json!({"token": "bad"}), 4001);
    let anonymous = forge(&claims(json!({"channels": ["news"]})));
    let browser = connect(&request, json!({ "token": anonymous }));
    assert_eq!(browser.welcome["user"], json!(null));
}

#[test]
fn cookie_and_tokens_are_not_interchangeable() {
    let sidecar = sidecar();
    for other in [
        token_for("42", &[], &[]),
        channel_token("news", Some("42"), 60),
        "nothing".to_owned(),
        String::new(),
    ] {
        let request = page(&sidecar, format!("lineside={other}"));
        assert_eq!(user(&request), json!(null), "{other}");
    }
    let identity = identity("42");
    sidecar
        .request()
        .expect_refused(json!({"token": identity}), 4001);
    let mut browser = sidecar.browser(json!({"token": token_for("42", &[], &[])}));
    browser.send(json!({"type": "refresh", "token": identity}));
    browser.expect_error("token_invalid");
    browser.send(json!({"type": "subscribe", "channel": "news", "token": identity}));
    browser.expect_error("token_invalid");
}

#[test]
fn cookie_expires_and_is_revoked_as_tokens_are() {
    let sidecar = sidecar();
    let now_s = now_ms() / 1000;
    let old_s = now_s - 60;
    let times = |iat: u64, exp: u64| {
        let claims = json!({"aud": "lineside:cable", "sub": "42", "iat": iat, "iat_ms": iat * 1000, "exp": exp});
        page(&sidecar, format!("lineside={}", forge(&claims)))
    };
    times(old_s, old_s + 10).expect_refused(json!({}), 4003);
    times(now_s + 60, now_s + 120).expect_refused(json!({}), 4004);
    assert_eq!(user(&times(now_s, now_s + 3601)), json!(null));
    // Accepted within the leeway, and closed at its end.
    let mut in_leeway = connect(&times(old_s, now_s - 1), json!({}));
    assert_eq!(in_leeway.expect_close().code, 4003);

    let before = page(&sidecar, format!("lineside={}", identity("42")));
    let mut live = connect(&before, json!({}));
    let mut link = sidecar.raw_publisher(1);
    link.send(&revoke_frame(1, b"42", b"", now_ms()));
    link.read_until_ack(1);
    assert_eq!(live.expect_close().code, 4002);
    before.expect_refused(json!({}), 4002);
}

#[test]
fn cookies_of_two_users_and_other_cookie_names_are_ignored() {
    let sidecar = sidecar();
    let (one, two) = (identity("42"), identity("666"));
    let twice = page(&sidecar, format!("lineside={one}; lineside={two}"));
    assert_eq!(user(&twice), json!(null));
    let two_fields = page(&sidecar, format!("lineside={one}"));
    let two_fields = two_fields.header("Cookie", format!("lineside={two}"));
    assert_eq!(user(&two_fields), json!(null));
    // The same user twice, as with a new secret, beside a cookie of another app.
    let same = format!(
        "lineside_a={one}; lineside_b={}; lineside_c=foreign.b.c",
        identity("42")
    );
    assert_eq!(user(&page(&sidecar, same)), "42");
    for other in ["Lineside", "lineside2", "_lineside", "x"] {
        assert_eq!(
            user(&page(&sidecar, format!("{other}={one}"))),
            json!(null),
            "{other}"
        );
    }
}

#[test]
fn cookie_identifies_the_user_of_a_handed_over_socket() {
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
        let mut stream = hand_off_with_headers(&sidecar, &fields);
        assert_eq!(read_response(&mut stream).status, 101);
        let mut browser = Browser::new(stream);
        browser.send(json!({"type": "connect"}));
        assert_eq!(browser.expect_welcome().welcome["user"], user);
    }
}

#[test]
fn cookie_is_never_logged() {
    let sidecar = sidecar();
    let identity = identity("42");
    connect(&page(&sidecar, format!("lineside={identity}")), json!({})).close();
    let expired = json!({"aud": "lineside:cable", "sub": "42", "iat": 1, "iat_ms": 1000, "exp": 2});
    page(&sidecar, format!("lineside={}", forge(&expired))).expect_refused(json!({}), 4003);
    sidecar.logged(&["event=connection_ended", "token_expired"]);
    for line in sidecar.log() {
        assert!(!line.contains(&identity[20..]), "{line}");
    }
}
