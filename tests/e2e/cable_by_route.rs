//! Connections of Action Cable that a proxy sends to the sidecar's own port, past the app.

use lineside_protocol::frame::ByRoute;
use lineside_token::{IdentityDraft, Keys, sign_identity};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app_link::App;
use crate::cable::{KEY_BASE64, ROOM, books, command, ending, expect_message, subscribe, turbo};
use crate::sign_out::revoke_frame;
use crate::support::{
    Browser, Place, Request, SECRET, Sidecar, channel_token, forge, now_ms, place, token_for,
};

/// Subprotocols that stock clients offer.
const PROTOCOLS: &str = "actioncable-v1-json, actioncable-unsupported";

/// A place whose sidecar has the key of Turbo.
fn with_keys() -> Place {
    place().with("LINESIDE_TURBO_KEYS", KEY_BASE64)
}

fn optional() -> Place {
    with_keys().with("LINESIDE_CABLE_IDENTITY", "optional")
}

/// The value of a `Cookie` header that identifies this user in a session, with `of-<user>` as the identifier of Rails.
fn cookie(sub: &str, sid: &str) -> String {
    let draft = IdentityDraft {
        sub: sub.into(),
        sid: Some(sid.into()),
        identifier: Some(format!("of-{sub}")),
        ttl_s: 3600,
    };
    let identity = sign_identity(draft, &Keys::parse(SECRET).unwrap(), now_ms()).unwrap();
    format!("theme=dark; lineside_ab12={identity}")
}

/// A request of a stock client in a page of the sidecar's own origin.
fn page(sidecar: &Sidecar) -> Request {
    let origin = format!("http://127.0.0.1:{}", sidecar.port);
    sidecar
        .request()
        .path("/cable")
        .header("Origin", origin)
        .header("Sec-WebSocket-Protocol", PROTOCOLS)
}

fn welcomed(sidecar: &Sidecar, cookie: &str) -> Browser {
    let mut browser = page(sidecar).header("Cookie", cookie).open();
    browser.expect(json!({"type": "welcome"}));
    browser
}

fn expect_unauthorized(request: &Request) {
    let unauthorized = json!({"type": "disconnect", "reason": "unauthorized", "reconnect": false});
    // The first frame, so no welcome came before it.
    assert_eq!(ending(&mut request.open()), (unauthorized, 1000));
}

fn reject(browser: &mut Browser, identifier: &str) {
    command(browser, "subscribe", identifier);
    browser.expect(json!({"type": "reject_subscription", "identifier": identifier}));
}

/// Signs a user out, or one of the sessions.
fn sign_out(sidecar: &Sidecar, user: &[u8], session: &[u8]) {
    let mut link = sidecar.raw_publisher(1);
    link.send(&revoke_frame(1, user, session, now_ms()));
    link.read_until_ack(1);
}

#[test]
fn stock_client_is_served_below_any_root() {
    let sidecar = with_keys().start();
    let publisher = sidecar.publisher();
    for (path, offered) in [
        ("/cable", Some(PROTOCOLS)),
        (
            "/shop/cable?x=1",
            Some("actioncable-v1-ext-json, actioncable-v1-json"),
        ),
        ("/1234567/cable", None),
    ] {
        let mut request = page(&sidecar)
            .path(path)
            .without("Sec-WebSocket-Protocol")
            .header("Cookie", cookie("42", "s"));
        if let Some(offered) = offered {
            request = request.header("Sec-WebSocket-Protocol", offered);
        }
        let (stream, response) = request.send();
        assert_eq!(response.status, 101, "{response:?}");
        let selected = response.header("sec-websocket-protocol");
        assert_eq!(selected.as_deref(), offered.map(|_| "actioncable-v1-json"));
        let mut browser = Browser::new(stream);
        browser.expect(json!({"type": "welcome"}));
        subscribe(&mut browser, &books(""));
        publisher.publish("cable:other", "not this");
        publisher.publish("user:42", "nor this");
        publisher.publish("cable:books", "<turbo-stream>");
        expect_message(&mut browser, &books(""), json!("<turbo-stream>"));
    }
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    assert!(browser.next_ping()["message"].is_u64());
}

#[test]
fn other_requests_for_the_path_get_404() {
    let sidecar = optional().start();
    let cookie = cookie("42", "s");
    let plain = page(&sidecar).header("Cookie", &*cookie);
    let foreign = plain.clone().without("Origin");
    for request in [
        foreign.clone(),
        foreign.clone().header("Origin", "https://evil.example"),
        foreign.header("Origin", "null"),
        plain.clone().without("Upgrade"),
        plain.clone().method("POST"),
        plain.clone().path("/cable/"),
        plain.path("/cables"),
    ] {
        assert_eq!(request.response().status, 404, "{request:?}");
    }
    let request = sidecar.request().header("Origin", "https://evil.example");
    assert_eq!(request.response().status, 403, "lineside-v1 is as it was");
}

#[test]
fn page_without_a_valid_cookie_is_unauthorized() {
    let sidecar = with_keys().start();
    expect_unauthorized(&page(&sidecar));
    let now_s = now_ms() / 1000;
    let identity = |iat: u64, exp: u64, aud: &str| {
        forge(&json!({"aud": aud, "sub": "42", "iat": iat, "iat_ms": iat * 1000, "exp": exp}))
    };
    for (name, value) in [
        ("lineside", "x".to_owned()),
        ("lineside", token_for("42", &[], &[])),
        ("lineside", channel_token("orders", Some("42"), 60)),
        (
            "lineside",
            identity(now_s - 60, now_s - 10, "lineside:cable"),
        ),
        (
            "lineside",
            identity(now_s + 60, now_s + 90, "lineside:cable"),
        ),
        ("lineside", identity(now_s, now_s + 3601, "lineside:cable")),
        ("lineside", identity(now_s, now_s + 60, "lineside")),
        ("session", identity(now_s, now_s + 60, "lineside:cable")),
    ] {
        let cookie = format!("{name}={value}");
        expect_unauthorized(&page(&sidecar).header("Cookie", cookie));
    }
    let two = format!("{}; {}", cookie("42", "s"), cookie("43", "s"));
    expect_unauthorized(&page(&sidecar).header("Cookie", two));
    // A token is no identity here, wherever it stands.
    let token = token_for("42", &[], &[]);
    expect_unauthorized(&page(&sidecar).path(format!("/cable?token={token}")));
    let protocols = format!("actioncable-v1-json, lineside.token.{token}");
    let request = page(&sidecar).without("Sec-WebSocket-Protocol");
    expect_unauthorized(&request.header("Sec-WebSocket-Protocol", protocols));
    welcomed(&sidecar, &cookie("42", "s"));
}

#[test]
fn page_without_a_cookie_is_anonymous_where_none_is_required() {
    let sidecar = optional().start();
    let mut browser = page(&sidecar).open();
    browser.expect(json!({"type": "welcome"}));
    subscribe(&mut browser, &books(""));
    let own = json!({"channel": "Lineside", "token": channel_token("own", Some("42"), 60)});
    reject(&mut browser, &own.to_string());
    let publisher = sidecar.publisher();
    publisher.publish("own", "not this");
    publisher.publish("cable:books", 1);
    expect_message(&mut browser, &books(""), json!(1));
}

#[test]
fn sign_out_ends_connections_by_session_and_by_user_and_refuses_the_cookie() {
    for session in ["laptop", ""] {
        let sidecar = optional().start();
        let laptop = cookie("42", "laptop");
        let phone = cookie("42", "phone");
        let mut on_laptop = welcomed(&sidecar, &laptop);
        let mut on_phone = welcomed(&sidecar, &phone);
        let mut other = welcomed(&sidecar, &cookie("43", "laptop"));
        subscribe(&mut on_laptop, &books(""));
        subscribe(&mut on_phone, &books(""));
        subscribe(&mut other, &books(""));
        sign_out(&sidecar, b"42", session.as_bytes());
        let remote = json!({"type": "disconnect", "reason": "remote", "reconnect": true});
        sidecar.publisher().publish("cable:books", 1);
        assert_eq!(ending(&mut on_laptop), (remote.clone(), 1000));
        expect_unauthorized(&page(&sidecar).header("Cookie", &*laptop));
        if session.is_empty() {
            assert_eq!(ending(&mut on_phone), (remote, 1000));
            expect_unauthorized(&page(&sidecar).header("Cookie", &*phone));
        } else {
            expect_message(&mut on_phone, &books(""), json!(1));
            welcomed(&sidecar, &phone);
        }
        expect_message(&mut other, &books(""), json!(1));
    }
}

#[test]
fn connection_ends_with_its_cookie() {
    let sidecar = with_keys().start();
    let now_s = now_ms() / 1000;
    let old_s = now_s - 60;
    // Within the leeway.
    let identity = forge(&json!({
        "aud": "lineside:cable", "sub": "42", "iat": old_s, "iat_ms": old_s * 1000, "exp": now_s - 1
    }));
    let cookie = format!("lineside={identity}");
    let mut browser = welcomed(&sidecar, &cookie);
    subscribe(&mut browser, &books(""));
    let expired = json!({"type": "disconnect", "reason": "token_expired", "reconnect": true});
    assert_eq!(ending(&mut browser), (expired, 1000));
    expect_unauthorized(&page(&sidecar).header("Cookie", cookie));
}

#[test]
fn channels_that_need_the_app_are_rejected_with_one_log_line_for_each_class() {
    let sidecar = with_keys().start();
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    for number in 0..3 {
        reject(&mut browser, ROOM);
        let chat = json!({"channel": "ChatChannel", "id": number}).to_string();
        reject(&mut browser, &chat);
    }
    command(&mut browser, "message", ROOM);
    let orders = json!({"channel": "Lineside", "token": channel_token("orders", Some("42"), 60)});
    subscribe(&mut browser, &orders.to_string());
    let publisher = sidecar.publisher();
    publisher.publish("cable:room", "not this");
    publisher.publish("orders", 7);
    expect_message(&mut browser, &orders.to_string(), json!(7));
    for class in ["RoomChannel", "ChatChannel"] {
        sidecar.logged(&["event=channel_needs_the_app", class, "needs the app"]);
        let lines = sidecar.log();
        let about = |line: &&String| line.contains("channel_needs_the_app") && line.contains(class);
        assert_eq!(lines.iter().filter(about).count(), 1);
    }
    for number in 0..70 {
        let invented = json!({"channel": format!("Invented{number}")}).to_string();
        reject(&mut browser, &invented);
    }
    sidecar.logged(&["event=channels_need_the_app", "not named"]);
    let log = sidecar.log();
    let others = |line: &&String| line.contains("channels_need_the_app");
    assert_eq!(log.iter().filter(others).count(), 1);
    assert!(!log.iter().any(|line| line.contains("Invented69")));
}

#[test]
fn signed_name_opens_nothing_without_keys_or_with_another_key() {
    let sidecar = place().start();
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    reject(&mut browser, &books(""));
    sidecar.logged(&["event=channel_needs_the_app", "LINESIDE_TURBO_KEYS"]);
    // `kk` in base64.
    let other = place().with("LINESIDE_TURBO_KEYS", "a2s=").start();
    let mut foreign = welcomed(&other, &cookie("42", "s"));
    reject(&mut foreign, &books(""));
    for (sidecar, browser) in [(&sidecar, &mut browser), (&other, &mut foreign)] {
        let publisher = sidecar.publisher();
        publisher.publish("cable:books", "not this");
        let token = channel_token("marker", None, 60);
        let marker = json!({"channel": "Lineside", "token": token}).to_string();
        subscribe(browser, &marker);
        publisher.publish("marker", 1);
        expect_message(browser, &marker, json!(1));
    }
}

#[test]
fn expired_name_opens_nothing_and_a_live_subscription_ends_with_its_name() {
    let sidecar = with_keys().start();
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    let name = |after_s: i64| {
        let exp_s = i64::try_from(now_ms() / 1000).unwrap() + after_s;
        let exp = OffsetDateTime::from_unix_timestamp(exp_s).unwrap();
        let exp = exp.format(&Rfc3339).unwrap();
        turbo(
            &json!({"_rails": {"data": "books", "exp": exp, "pur": null}}),
            "",
        )
    };
    reject(&mut browser, &name(-1));
    reject(
        &mut browser,
        &turbo(&json!({"_rails": {"data": "books", "pur": "login"}}), ""),
    );
    reject(&mut browser, &turbo(&json!(["books"]), ""));
    reject(&mut browser, &turbo(&json!("action_cable/Z2lk"), ""));
    let brief = name(3);
    subscribe(&mut browser, &brief);
    browser.expect(json!({"type": "reject_subscription", "identifier": brief}));
    reject(&mut browser, &brief);
    subscribe(&mut browser, &books(""));
    sidecar.publisher().publish("cable:books", 1);
    expect_message(&mut browser, &books(""), json!(1));
    assert!(browser.next_ping()["message"].is_u64(), "nothing else came");
}

#[test]
fn keys_and_cookies_are_never_logged() {
    let key = "dGhlIGtleSBvZiBUdXJibyBmb3IgdGhpcyB0ZXN0";
    let sidecar = place()
        .with("LINESIDE_TURBO_KEYS", key)
        .with("LINESIDE_LOG_LEVEL", "debug")
        .start();
    let cookie = cookie("42", "s");
    let mut browser = welcomed(&sidecar, &cookie);
    reject(&mut browser, &books(""));
    sign_out(&sidecar, b"42", b"");
    expect_unauthorized(&page(&sidecar).header("Cookie", &*cookie));
    sidecar.logged(&["event=setting", "LINESIDE_TURBO_KEYS", "[redacted]"]);
    sidecar.logged(&["event=subscription_rejected"]);
    let secret = cookie.rsplit('.').next().unwrap();
    let name: Value = serde_json::from_str(&books("")).unwrap();
    let name = name["signed_stream_name"].as_str().unwrap();
    for line in sidecar.log() {
        for hidden in [key, secret, name] {
            assert!(!line.contains(hidden), "{line}");
        }
    }
}

/// A process of an app that has booted at this time and decided on these keys.
fn app_that_decides(sidecar: &Sidecar, turbo_keys: &[&str], decided_ms: u64) -> App {
    let turbo_keys = turbo_keys.iter().map(|it| (*it).to_owned()).collect();
    let decision = ByRoute {
        turbo_keys,
        decided_ms,
    };
    sidecar.place().app_with(Some(decision))
}

#[test]
fn app_that_booted_last_decides_about_turbo_while_the_sidecar_runs() {
    let sidecar = with_keys().start();
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    subscribe(&mut browser, &books(""));
    // A process with an older gem sends no decision.
    let _silent = sidecar.app();
    let booted_ms = now_ms();
    let _stock = app_that_decides(&sidecar, &[KEY_BASE64], booted_ms - 20);
    sidecar.publisher().publish("cable:books", 1);
    expect_message(&mut browser, &books(""), json!(1));

    // The new app gives no keys, and a process of the old one links after it.
    let _changed = app_that_decides(&sidecar, &[], booted_ms - 10);
    let _again = app_that_decides(&sidecar, &[KEY_BASE64], booted_ms - 20);
    let restart = json!({"type": "disconnect", "reason": "server_restart", "reconnect": true});
    assert_eq!(ending(&mut browser), (restart, 1000));
    let mut browser = welcomed(&sidecar, &cookie("42", "s"));
    reject(&mut browser, &books(""));
    sidecar.logged(&["event=turbo_keys_replaced", "test[1]", "keys=0"]);

    // An app with an invalid key opens nothing either.
    let _broken = app_that_decides(&sidecar, &["?"], booted_ms - 5);
    reject(&mut browser, &books(""));
    sidecar.logged(&["event=turbo_keys_invalid", "test[1]"]);

    // The next app gives the key again.
    let _reverted = app_that_decides(&sidecar, &[KEY_BASE64], booted_ms);
    subscribe(&mut browser, &books(""));
    sidecar.publisher().publish("cable:books", 2);
    expect_message(&mut browser, &books(""), json!(2));
    for line in sidecar.log() {
        assert!(!line.contains(KEY_BASE64), "{line}");
    }
}

#[test]
fn remote_disconnect_ends_connections_whose_cookie_has_the_identifier() {
    let sidecar = with_keys().start();
    let publisher = sidecar.publisher();
    for reconnect in [true, false] {
        let mut browser = welcomed(&sidecar, &cookie("42", "s"));
        let mut other = welcomed(&sidecar, &cookie("43", "s"));
        subscribe(&mut other, &books(""));
        let message = json!({"type": "disconnect", "reconnect": reconnect});
        publisher.publish("cable:action_cable/42", message.clone());
        publisher.publish("cable:action_cable/of-42", message);
        publisher.publish("cable:books", 1);
        let expected = json!({"type": "disconnect", "reason": "remote", "reconnect": reconnect});
        assert_eq!(ending(&mut browser), (expected, 1000));
        expect_message(&mut other, &books(""), json!(1));
        // The cookie stays valid, as a page's session does in Rails.
        welcomed(&sidecar, &cookie("42", "s"));
    }
}
