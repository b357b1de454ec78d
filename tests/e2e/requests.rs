//! What a connected browser may ask for, and the answers.

use serde_json::{Value, json};

use crate::support::{Sidecar, is_ahead, place, sidecar, token_for};

fn public() -> Sidecar {
    place()
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b,c,n:*")
        .start()
}

#[test]
fn a_second_connect_is_an_error_and_the_connection_lives() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    browser.send(json!({"type": "connect", "token": token_for("1", &[], &[]), "ref": 9}));
    assert_eq!(browser.expect_error("already_connected")["ref"], 9);
    let publisher = sidecar.publisher();
    publisher.publish("user:1", "not for it");
    publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn every_answer_repeats_the_ref_of_its_request() {
    let sidecar = public();
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
    assert_eq!(browser.next().get("ref"), None, "without one there is none");
}

#[test]
fn a_ref_that_cannot_be_echoed_is_a_bad_request() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({}));
    for reference in [json!({}), json!([1]), json!(true), json!("x".repeat(65))] {
        browser.send(json!({"type": "subscribe", "channel": "a", "ref": reference}));
        assert_eq!(browser.expect_error("bad_request").get("ref"), None);
    }
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn unknown_fields_are_ignored_and_unknown_types_answered() {
    let sidecar = public();
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
fn what_is_no_request_is_answered_and_the_connection_lives() {
    let sidecar = public();
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
        "{\"type\":\"\\ud800\"}",
        &deep,
    ] {
        browser.send_text(text);
        browser.expect_error("bad_request");
    }
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn a_channel_that_is_no_channels_name_is_refused() {
    let sidecar = public();
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
fn under_load_no_message_precedes_subscribed_or_follows_unsubscribed() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "b"}]}));
    std::thread::scope(|scope| {
        let publisher = sidecar.publisher();
        scope.spawn(move || {
            for number in 0..4_000 {
                publisher.cast("a", number);
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
fn leaving_what_was_never_joined_is_no_fault() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({}));
    browser.send(json!({"type": "unsubscribe", "channel": "secret", "ref": 1}));
    browser.expect(json!({"type": "unsubscribed", "channel": "secret", "ref": 1}));
}

#[test]
fn subscribing_twice_delivers_once() {
    let sidecar = public();
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
fn subscribed_carries_a_cursor_from_which_nothing_is_missed() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({}));
    let publisher = sidecar.publisher();
    let before = publisher.publish("a", 1);
    let answer = browser.subscribe(json!({"channel": "a"}));
    let after = publisher.publish("a", 2);
    let cursor = answer["cursor"].as_str().unwrap();
    assert!(
        !is_ahead(&before, cursor) && is_ahead(&after, cursor),
        "{answer}"
    );
}

#[test]
fn channels_are_bounded_and_the_bound_is_told() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({}));
    let most = browser.welcome["limits"]["subscriptions_max"]
        .as_u64()
        .unwrap();
    for number in 0..most {
        browser.subscribe(json!({"channel": format!("n:{number}")}));
    }
    browser.send(json!({"type": "subscribe", "channel": "a", "ref": 1}));
    let error = browser.expect_error("too_many_subscriptions");
    assert_eq!((&error["channel"], &error["ref"]), (&json!("a"), &json!(1)));
    // What it has can be had again, and what it leaves makes room.
    browser.subscribe(json!({"channel": "n:0"}));
    browser.send(json!({"type": "unsubscribe", "channel": "n:1"}));
    browser.expect(json!({"type": "unsubscribed", "channel": "n:1"}));
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn all_channels_that_a_connection_may_hold_are_resumed_in_one_connect() {
    let sidecar = public();
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
fn a_connect_that_asks_for_too_much_is_refused_in_part() {
    let sidecar = public();
    // A token brings up to 129 channels, and a connection holds 256.
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
fn pongs_are_not_answered() {
    let sidecar = public();
    let mut browser = sidecar.browser(json!({}));
    browser.send(json!({"type": "pong"}));
    browser.subscribe(json!({"channel": "a"}));
}

#[test]
fn requests_are_answered_in_their_order() {
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
