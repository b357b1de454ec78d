//! Requests of connected browsers, and their answers.

use serde_json::{Value, json};

use crate::support::{Sidecar, is_after, place, sidecar, token_for};

fn with_public_channels() -> Sidecar {
    place()
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b,c,n:*")
        .start()
}

#[test]
fn second_connect_is_an_error_and_changes_nothing() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    browser.send(json!({"type": "connect", "token": token_for("1", &[], &[]), "ref": 9}));
    assert_eq!(browser.expect_error("already_connected")["ref"], 9);
    let publisher = sidecar.publisher();
    publisher.publish("user:1", "must not arrive");
    publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn answer_repeats_the_ref_of_its_request() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &[], &[])}));
    for reference in [
        json!(1),
        json!(-7.5),
        json!("a-b"),
        json!(""),
        json!("x".repeat(64)),
    ] {
        let requests = [
            json!({"type": "subscribe", "channel": "a"}),
            json!({"type": "subscribe", "channel": "secret"}),
            json!({"type": "subscribe"}),
            json!({"type": "unsubscribe", "channel": "a"}),
            json!({"type": "unsubscribe"}),
            json!({"type": "refresh", "token": token_for("1", &[], &[])}),
            json!({"type": "refresh", "token": "x"}),
            json!({"type": "dance"}),
            json!({}),
        ];
        for mut request in requests {
            request["ref"] = reference.clone();
            browser.send(request.clone());
            let answer = browser.next();
            assert_eq!(answer["ref"], reference, "{request} {answer}");
        }
    }
    browser.send(json!({"type": "subscribe", "channel": "a"}));
    assert_eq!(browser.next().get("ref"), None, "the request had no ref");
}

#[test]
fn invalid_ref_is_a_bad_request() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({}));
    for reference in [json!({}), json!([1]), json!(true), json!("x".repeat(65))] {
        browser.send(json!({"type": "subscribe", "channel": "a", "ref": reference}));
        assert_eq!(browser.expect_error("bad_request").get("ref"), None);
    }
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_are_errors() {
    let sidecar = with_public_channels();
    let mut browser =
        sidecar.browser(json!({"color": "red", "subscribe": [{"channel": "a", "x": {}}]}));
    assert_eq!(browser.welcome["channels"], json!(["a"]));
    browser.subscribe(json!({"channel": "b", "presence": true}));
    for kind in ["dance", "", "Subscribe", "publish", "message", "\u{1b}[31m"] {
        browser.send(json!({"type": kind, "channel": "c"}));
        browser.expect_error("unknown_type");
    }
    browser.subscribe(json!({"channel": "c"}));
}

#[test]
fn malformed_request_is_an_error_and_the_connection_stays_open() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({}));
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    for text in [
        "",
        " ",
        "null",
        "1",
        "[]",
        "\"text\"",
        "{",
        "{}{}",
        "{\"type\":1}",
        "{\"type\":null}",
        "{\"type\":\"subscribe\"}",
        "{\"type\":\"subscribe\",\"channel\":1}",
        "{\"type\":\"subscribe\",\"channel\":\"a\",\"token\":1}",
        "{\"type\":\"unsubscribe\",\"channel\":[]}",
        "{\"type\":\"refresh\"}",
        &deep,
    ] {
        browser.send_text(text);
        browser.expect_error("bad_request");
    }
    browser.send_text("{\"type\":\"\\ud800\"}");
    browser.expect_error("unknown_type");
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn invalid_channel_name_is_refused() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &[], &["*"])}));
    for name in [
        "",
        "a*",
        "*",
        "n:*",
        "a\nb",
        "\u{0}",
        "user:",
        "user:*",
        &"n".repeat(256),
    ] {
        for kind in ["subscribe", "unsubscribe"] {
            browser.send(json!({"type": kind, "channel": name}));
            browser.expect_error("bad_channel");
        }
    }
    browser.subscribe(json!({"channel": "n".repeat(255)}));
}

#[test]
fn messages_come_only_between_subscribed_and_unsubscribed_under_load() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "b"}]}));
    std::thread::scope(|scope| {
        let publisher = sidecar.publisher();
        scope.spawn(move || {
            for number in 0..4_000 {
                publisher.enqueue("a", number);
                if number % 100 == 0 {
                    publisher.flush();
                }
            }
            publisher.publish("b", "end");
        });
        for round in 0..40 {
            browser.send(json!({"type": "subscribe", "channel": "a", "ref": round}));
            browser.send(json!({"type": "unsubscribe", "channel": "a", "ref": round}));
        }
        let mut is_subscribed = false;
        let mut answers = 0;
        loop {
            let envelope = browser.next();
            match envelope["type"].as_str().unwrap() {
                "subscribed" => is_subscribed = true,
                "unsubscribed" => is_subscribed = false,
                "message" if envelope["channel"] == "b" => break,
                "message" => assert!(is_subscribed, "{envelope}"),
                other => panic!("{other}"),
            }
            answers += u32::from(envelope["type"] != "message");
        }
        assert_eq!(answers, 80);
    });
}

#[test]
fn unsubscribe_without_a_subscription_is_confirmed() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({}));
    browser.send(json!({"type": "unsubscribe", "channel": "secret", "ref": 1}));
    browser.expect(json!({"type": "unsubscribed", "channel": "secret", "ref": 1}));
}

#[test]
fn repeated_subscribe_delivers_each_message_once() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}, {"channel": "a"}]}));
    assert_eq!(browser.welcome["channels"], json!(["a"]));
    browser.subscribe(json!({"channel": "a"}));
    let publisher = sidecar.publisher();
    publisher.publish("a", 1);
    publisher.publish("a", 2);
    browser.expect_message("a", json!(1));
    browser.expect_message("a", json!(2));
}

#[test]
fn cursor_of_subscribed_is_between_earlier_and_later_messages() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "b"}]}));
    let publisher = sidecar.publisher();
    let before = publisher.publish("a", 1);
    // Shows that the shard has dispatched the earlier message.
    publisher.publish("b", 1);
    browser.expect_message("b", json!(1));
    let answer = browser.subscribe(json!({"channel": "a"}));
    let after = publisher.publish("a", 2);
    let cursor = answer["cursor"].as_str().unwrap();
    assert!(
        !is_after(&before, cursor) && is_after(&after, cursor),
        "{answer}"
    );
}

#[test]
fn subscription_limit_is_enforced_and_unsubscribe_frees_one() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({}));
    let max = browser.welcome["limits"]["subscriptions_max"]
        .as_u64()
        .unwrap();
    for number in 0..max {
        browser.subscribe(json!({"channel": format!("n:{number}")}));
    }
    browser.send(json!({"type": "subscribe", "channel": "a", "ref": 1}));
    let error = browser.expect_error("too_many_subscriptions");
    assert_eq!((&error["channel"], &error["ref"]), (&json!("a"), &json!(1)));
    // A held channel can be subscribed to again, and an unsubscribed one frees its slot.
    browser.subscribe(json!({"channel": "n:0"}));
    browser.send(json!({"type": "unsubscribe", "channel": "n:1"}));
    browser.expect(json!({"type": "unsubscribed", "channel": "n:1"}));
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn connect_resumes_as_many_channels_as_the_limit_allows() {
    let sidecar = with_public_channels();
    let publisher = sidecar.publisher();
    let start = publisher.publish("n:0", "before");
    publisher.publish("n:255", "missed");
    let entries: Vec<Value> = (0..256)
        .map(|number| json!({"channel": format!("n:{number}"), "after": start, "token": "x".repeat(300)}))
        .collect();
    let mut browser = sidecar.browser(json!({"subscribe": entries}));
    assert_eq!(browser.welcome["channels"].as_array().unwrap().len(), 256);
    assert_eq!(browser.welcome["refused"], json!([]));
    browser.expect_message("n:255", json!("missed"));
}

#[test]
fn connect_refuses_the_channels_above_the_limit() {
    let sidecar = with_public_channels();
    // A token subscribes to at most 129 channels (128 and the user's own), and a connection to 256.
    let channels: Vec<String> = (0..128).map(|number| format!("t:{number}")).collect();
    let names: Vec<&str> = channels.iter().map(String::as_str).collect();
    let entries: Vec<Value> = (0..129)
        .map(|number| json!({"channel": format!("n:{number}")}))
        .collect();
    let token = token_for("1", &names, &[]);
    let browser = sidecar.browser(json!({"token": token, "subscribe": entries}));
    assert_eq!(browser.welcome["channels"].as_array().unwrap().len(), 256);
    let refused =
        |number: u32| json!({"channel": format!("n:{number}"), "code": "too_many_subscriptions"});
    assert_eq!(
        browser.welcome["refused"],
        json!([refused(127), refused(128)])
    );
}

#[test]
fn pong_is_not_answered() {
    let sidecar = with_public_channels();
    let mut browser = sidecar.browser(json!({}));
    browser.send(json!({"type": "pong"}));
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn requests_are_answered_in_order() {
    let sidecar = sidecar();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &["a"], &["n:*"])}));
    for number in 0..60 {
        browser.send(match number % 4 {
            0 => json!({"type": "subscribe", "channel": format!("n:{number}"), "ref": number}),
            1 => {
                json!({"type": "subscribe", "channel": "a", "after": browser.cursor, "ref": number})
            }
            2 => json!({"type": "dance", "ref": number}),
            _ => json!({"type": "unsubscribe", "channel": format!("n:{number}"), "ref": number}),
        });
    }
    let mut references = Vec::new();
    while references.len() < 60 {
        let envelope = browser.next();
        if envelope["type"] != "caught_up" {
            references.push(envelope["ref"].as_u64().unwrap());
        }
    }
    assert_eq!(references, (0..60).collect::<Vec<_>>());
}
