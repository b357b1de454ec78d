//! `refresh`: a new token for an open connection, with more or fewer grants.

use lineside_token::ConnectionDraft;
use serde_json::{Value, json};

use crate::support::{
    Browser, channel_token, claims, forge, now_ms, place, sidecar, sign, signed_at, token_for,
};

fn refresh(browser: &mut Browser, token: &str) -> Value {
    browser.send(json!({"type": "refresh", "token": token, "ref": 9}));
    browser.next()
}

#[test]
fn refresh_with_more_grants_opens_more_channels() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let exp = now_ms() / 1000 + 600;
    let wider = claims(json!({"sub": "1", "channels": ["a", "b"], "allow": ["n:*"], "exp": exp}));
    let answer = refresh(&mut browser, &forge(&wider));
    assert_eq!(
        answer,
        json!({"type": "refreshed", "exp": exp, "channels": ["user:1", "a", "b"], "ref": 9})
    );
    browser.subscribe(json!({"channel": "n:1"}));
    let publisher = sidecar.publisher();
    for channel in ["a", "b", "n:1", "user:1"] {
        publisher.publish(channel, channel);
        browser.expect_message(channel, json!(channel));
    }
}

#[test]
fn refresh_with_fewer_grants_ends_subscriptions_at_once() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "news").start();
    let mut browser = sidecar.browser(json!({
        "token": token_for("1", &["a", "b"], &["n:*"]),
        "subscribe": [{"channel": "n:1"}, {"channel": "news"}, {"channel": "k", "token": channel_token("k", None, 60)}],
    }));
    browser.send(json!({"type": "refresh", "token": token_for("1", &["a"], &[])}));
    let mut ended = Vec::new();
    let answer = loop {
        let envelope = browser.next();
        match envelope["type"].as_str().unwrap() {
            "unsubscribed" => {
                assert_eq!(envelope["code"], "expired");
                ended.push(envelope["channel"].as_str().unwrap().to_owned());
            }
            _ => break envelope,
        }
    };
    ended.sort();
    assert_eq!(ended, ["b", "n:1"]);
    assert_eq!(answer["type"], "refreshed");
    assert_eq!(answer["channels"], json!(["user:1", "a", "news", "k"]));
    let publisher = sidecar.publisher();
    ["b", "n:1"]
        .iter()
        .for_each(|channel| publisher.enqueue(channel, "secret"));
    for channel in ["a", "news", "k", "user:1"] {
        publisher.publish(channel, channel);
        browser.expect_message(channel, json!(channel));
    }
    browser.send(json!({"type": "subscribe", "channel": "n:1"}));
    browser.expect_error("forbidden");
}

#[test]
fn failed_refresh_changes_nothing() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let anonymous = sign(ConnectionDraft {
        channels: vec!["b".into()],
        ..ConnectionDraft::default()
    });
    for (token, code) in [
        (token_for("2", &["b"], &[]), "other_user"),
        (anonymous, "other_user"),
        ("x".into(), "token_invalid"),
        (signed_at(now_ms() - 7_200_000, 3600), "token_expired"),
        (signed_at(now_ms() + 600_000, 3600), "token_not_yet_valid"),
        (channel_token("b", None, 60), "token_invalid"),
    ] {
        let answer = refresh(&mut browser, &token);
        assert_eq!(
            (&answer["type"], &answer["code"], &answer["ref"]),
            (&json!("error"), &json!(code), &json!(9))
        );
    }
    let mut anonymous = sidecar.browser(json!({}));
    let answer = refresh(&mut anonymous, &token_for("1", &[], &[]));
    assert_eq!(
        answer["code"], "other_user",
        "an anonymous connection stays anonymous"
    );
    let publisher = sidecar.publisher();
    ["b", "user:2"]
        .iter()
        .for_each(|channel| publisher.enqueue(channel, "secret"));
    publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
}
