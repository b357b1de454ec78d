//! Fan-out: every publication reaches exactly the connections that may read its channel, in one order.

use std::collections::BTreeSet;

use lineside_protocol::codes::{LINK_BAD_PAYLOAD, LINK_TOO_LARGE, LinkCode};
use lineside_protocol::frame::{Refusal, ToPublisher};
use lineside_publisher::{NotAccepted, Outcome};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    Browser, check_property, is_after, place, position, publish, sidecar, token_for,
};

#[test]
fn users_receive_their_own_and_shared_channels_only() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "news").start();
    let mut ada = sidecar.browser(json!({"token": token_for("1", &["board"], &[]),
        "subscribe": [{"channel": "news"}]}));
    let mut bob = sidecar.browser(json!({"token": token_for("2", &[], &[]),
        "subscribe": [{"channel": "news"}]}));
    let publisher = sidecar.publisher();
    publisher.publish("user:1", json!({"secret": "ada's"}));
    publisher.publish("user:2", json!({"secret": "bob's"}));
    publisher.publish("board", "for members");
    publisher.publish("user:11", "a longer id");
    publisher.publish("news", "for all");

    ada.expect_message("user:1", json!({"secret": "ada's"}));
    ada.expect_message("board", json!("for members"));
    ada.expect_message("news", json!("for all"));
    bob.expect_message("user:2", json!({"secret": "bob's"}));
    bob.expect_message("news", json!("for all"));
}

#[test]
fn all_connections_of_a_user_receive_the_user_channel() {
    let sidecar = place().with("LINESIDE_SHARDS", 2).start();
    let mut devices: Vec<Browser> = (0..5)
        .map(|_| sidecar.browser(json!({"token": token_for("7", &[], &[])})))
        .collect();
    sidecar.publisher().publish("user:7", 1);
    for device in &mut devices {
        device.expect_message("user:7", json!(1));
    }
}

#[test]
fn all_connections_receive_all_channels_in_one_order() {
    const EACH: u64 = 300;
    let sidecar = place().with("LINESIDE_SHARDS", 2).start();
    let channels = ["a", "b", "c"];
    let connect = json!({"token": token_for("1", &channels, &[])});
    let mut browsers: Vec<Browser> = (0..4).map(|_| sidecar.browser(connect.clone())).collect();
    let mut only_b = sidecar.browser(json!({"token": token_for("1", &["b"], &[])}));
    std::thread::scope(|scope| {
        for channel in channels {
            let publisher = sidecar.publisher();
            scope.spawn(move || {
                (0..EACH).for_each(|number| publisher.enqueue(channel, number));
                publisher.flush();
            });
        }
    });
    let receive = |browser: &mut Browser, count: u64| -> Vec<Value> {
        (0..count).map(|_| browser.next()).collect()
    };
    let first = receive(&mut browsers[0], 3 * EACH);
    for pair in first.windows(2) {
        let [before, after] = pair else {
            unreachable!("windows of two")
        };
        assert!(is_after(cursor(after), cursor(before)));
    }
    for channel in channels {
        let numbers = first.iter().filter(|it| it["channel"] == channel);
        let numbers: Vec<u64> = numbers.map(|it| it["data"].as_u64().unwrap()).collect();
        assert_eq!(
            numbers,
            (0..EACH).collect::<Vec<_>>(),
            "the order of {channel}'s publisher"
        );
    }
    for browser in &mut browsers[1..] {
        assert_eq!(receive(browser, 3 * EACH), first);
    }
    let of_b: Vec<Value> = first
        .into_iter()
        .filter(|it| it["channel"] == "b")
        .collect();
    assert_eq!(receive(&mut only_b, EACH), of_b);
}

fn cursor(envelope: &Value) -> &str {
    envelope["cursor"].as_str().unwrap()
}

#[test]
fn publish_all_is_delivered_without_other_messages_in_between() {
    let sidecar = sidecar();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &["a", "b"], &[])}));
    let all: &[(&str, &[u8])] = &[("a", b"1"), ("b", b"2"), ("user:1", b"3"), ("a", b"4")];
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let publisher = sidecar.publisher();
            scope.spawn(move || {
                for _ in 0..100 {
                    publisher.inner.publish_all(all).unwrap();
                }
                publisher.flush();
            });
        }
    });
    for _ in 0..300 {
        let cursors = [
            browser.expect_message("a", json!(1)),
            browser.expect_message("b", json!(2)),
            browser.expect_message("user:1", json!(3)),
            browser.expect_message("a", json!(4)),
        ];
        let positions = cursors.map(|cursor| position(&cursor));
        assert!(
            positions.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "{positions:?}"
        );
    }
}

#[test]
fn payload_of_the_maximum_size_is_delivered_and_a_larger_one_refused() {
    const LARGEST: usize = 64 * 1024;
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let publisher = sidecar.publisher();
    let text = "é".repeat((LARGEST - 2) / 2);
    publisher.publish("a", text.clone());
    browser.expect_message("a", json!(text));

    let larger = format!("\"{}\"", "x".repeat(LARGEST - 1));
    let refused = publisher
        .inner
        .publish("a", larger.as_bytes(), Default::default());
    assert!(
        matches!(refused, Err(NotAccepted::TooLarge { bytes, max, .. }) if bytes == LARGEST + 1 && max == LARGEST),
        "{refused:?}"
    );
    // A publisher without that limit: the sidecar refuses.
    let mut link = sidecar.raw_publisher(1);
    link.send(&publish(1, "a", &larger));
    link.send(&publish(2, "a", "\"next\""));
    expect_refusal(
        &link.read_until_ack(2),
        1,
        LINK_TOO_LARGE,
        &["65537", "65536"],
    );
    browser.expect_message("a", json!("next"));
}

#[track_caller]
fn expect_refusal(answers: &[ToPublisher], sequence: u64, code: LinkCode, parts: &[&str]) {
    let [ToPublisher::Refusal(refusal)] = answers else {
        panic!("expected one refusal, received {answers:?}")
    };
    let Refusal { message, .. } = refusal;
    assert_eq!(
        (refusal.sequence, refusal.code),
        (sequence, code.number),
        "{message}"
    );
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn invalid_json_is_refused_and_the_next_payload_is_delivered() {
    let payloads: &[&[u8]] = &[
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"nul",
        b"NaN",
        b"'a'",
        b"[1,]",
        b"{\"a\":1,}",
        b"01",
        b"1e",
        b"\"\xff\"",
        b"\xef\xbb\xbf1",
        b"\x00",
        b"\"\n\"",
        b"\"\\ud800",
        b"// a\n1",
        b"\x80\x81\x82",
    ];
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let publisher = sidecar.publisher();
    for (number, payload) in payloads.iter().enumerate() {
        match publisher.try_publish("a", payload, None) {
            Outcome::Refused { code, message } => {
                assert_eq!(code, LINK_BAD_PAYLOAD.number, "{payload:?}: {message}");
                assert!(
                    message.contains("\"a\"") && !message.contains('\n'),
                    "{message}"
                );
            }
            other => panic!("{payload:?}: {other:?}"),
        }
        publisher.publish("a", number);
        browser.expect_message("a", json!(number));
    }
}

#[test]
fn no_connection_receives_channels_its_token_does_not_open() {
    const CHANNELS: [&str; 8] = [
        "a", "b", "c:1", "c:2", "user:1", "user:2", "user:3", "cable:a",
    ];
    let sidecar = sidecar();
    let publisher = sidecar.publisher();
    let grants = prop::sample::subsequence(
        vec!["a", "b", "c:*", "c:1", "*", "user:*", "cable:*", "user:2"],
        0..=8,
    );
    let browser = (
        1..=3_u8,
        grants,
        prop::sample::subsequence(&CHANNELS[..], 0..=8),
    );
    let browsers = prop::collection::vec(browser, 1..8);
    check_property(7, 60, &browsers, |browsers| {
        let mut open: Vec<(Browser, BTreeSet<&str>)> = Vec::new();
        for (user, allow, wanted) in &browsers {
            let entries: Vec<Value> = wanted.iter().map(|name| json!({"channel": name})).collect();
            let token = token_for(&user.to_string(), &[], allow);
            let browser = sidecar.browser(json!({"token": token, "subscribe": entries}));
            let own = format!("user:{user}");
            let is_granted = |name: &&str| {
                let granted = allow.iter().any(|grant| match grant.strip_suffix('*') {
                    Some(prefix) => name.starts_with(prefix),
                    None => name == grant,
                });
                granted && !name.starts_with("user:") && !name.starts_with("cable:")
            };
            let expected = CHANNELS
                .into_iter()
                .filter(|name| *name == own || wanted.contains(name) && is_granted(name));
            open.push((browser, expected.collect()));
        }
        CHANNELS
            .iter()
            .for_each(|name| publisher.enqueue(name, *name));
        (1..=3).for_each(|user| publisher.enqueue(&format!("user:{user}"), "last"));
        publisher.flush();
        for (browser, expected) in &mut open {
            let mut received = BTreeSet::new();
            loop {
                let envelope = browser.next();
                if envelope["data"] == "last" {
                    break;
                }
                prop_assert_eq!(&envelope["channel"], &envelope["data"]);
                received.insert(envelope["data"].as_str().unwrap().to_owned());
            }
            prop_assert!(
                received
                    .iter()
                    .map(String::as_str)
                    .eq(expected.iter().copied())
            );
        }
        Ok(())
    });
}
