//! Expiry of tokens on open connections. The leeway of 5 s applies to the end of a token as to its beginning.

use serde_json::{Value, json};

use crate::support::{Browser, claims, forge, now_ms, sidecar, token_for};

/// Time that the tokens of these tests are still accepted, within the leeway after their `exp`.
const LEFT_MS: u64 = 2000;
const LEEWAY_MS: u64 = 5000;

/// An `exp` in the past, with which a token is accepted for another `LEFT_MS` to `LEFT_MS` + 1 s.
fn exp() -> u64 {
    (now_ms() + LEFT_MS - LEEWAY_MS).div_ceil(1000)
}

fn expiring(mut changes: Value, exp: u64) -> String {
    changes["iat"] = json!(exp - 60);
    changes["iat_ms"] = json!((exp - 60) * 1000);
    changes["exp"] = json!(exp);
    forge(&claims(changes))
}

#[test]
fn connection_is_closed_when_its_token_expires() {
    let sidecar = sidecar();
    let exp = exp();
    let mut browser = sidecar.browser(json!({"token": expiring(json!({"sub": "1"}), exp)}));
    sidecar.publisher().publish("user:1", 1);
    browser.expect_message("user:1", json!(1));
    let ending = browser.expect_close();
    assert!(now_ms() >= exp * 1000 + LEEWAY_MS, "too early");
    assert_eq!(
        (ending.code, ending.reason.as_str()),
        (4003, "token_expired")
    );
    assert_eq!(ending.before, Vec::<Value>::new());
}

#[test]
fn subscription_ends_when_its_channel_token_expires() {
    let sidecar = sidecar();
    let exp = exp();
    let token = expiring(json!({"channel": "a"}), exp);
    let mut browser = sidecar.browser(json!({
        "token": token_for("1", &[], &[]), "subscribe": [{"channel": "a", "token": token}],
    }));
    let publisher = sidecar.publisher();
    publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
    expect_expired(&mut browser, "a");
    assert!(now_ms() >= exp * 1000 + LEEWAY_MS, "too early");
    publisher.publish("a", "must not arrive");
    publisher.publish("user:1", 2);
    browser.expect_message("user:1", json!(2));
    browser.send(json!({"type": "subscribe", "channel": "a"}));
    browser.expect_error("forbidden");
    browser.send(json!({"type": "subscribe", "channel": "a", "token": token}));
    browser.expect_error("token_expired");
    browser
        .subscribe(json!({"channel": "a", "token": expiring(json!({"channel": "a"}), exp + 60)}));
}

#[track_caller]
fn expect_expired(browser: &mut Browser, channel: &str) {
    browser.expect(json!({"type": "unsubscribed", "channel": channel, "code": "expired"}));
}

#[test]
fn fresh_channel_token_extends_the_subscription() {
    let sidecar = sidecar();
    let exp = exp();
    let short = |channel: &str| expiring(json!({"channel": channel}), exp);
    let mut browser = sidecar.browser(json!({"subscribe": [
        {"channel": "a", "token": short("a")}, {"channel": "b", "token": short("b")},
    ]}));
    browser
        .subscribe(json!({"channel": "a", "token": expiring(json!({"channel": "a"}), exp + 60)}));
    expect_expired(&mut browser, "b");
    let publisher = sidecar.publisher();
    publisher.publish("b", "must not arrive");
    publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn nothing_is_delivered_after_the_token_expired() {
    let sidecar = sidecar();
    let exp = exp();
    let token = expiring(json!({"sub": "1", "channels": ["a"]}), exp);
    let mut browser = sidecar.browser(json!({"token": token}));
    let mut other = sidecar.browser(json!({"token": token_for("2", &["a"], &[])}));
    let publisher = sidecar.publisher();
    let mut number = 0;
    // Continues for a second after the expiry. Sidecar and test read the same clock.
    while now_ms() <= exp * 1000 + LEEWAY_MS + 1000 {
        publisher.publish("a", json!([number, now_ms()]));
        other.next();
        number += 1;
    }
    let ending = browser.expect_close();
    assert_eq!(ending.code, 4003);
    for (expected, message) in ending.before.iter().enumerate() {
        assert_eq!(message["data"][0], json!(expected));
        let at_ms = message["data"][1].as_u64().unwrap();
        assert!(
            at_ms <= exp * 1000 + LEEWAY_MS + 1000,
            "delivered at {at_ms}"
        );
    }
    assert!(ending.before.len() < number, "everything was delivered");
}
