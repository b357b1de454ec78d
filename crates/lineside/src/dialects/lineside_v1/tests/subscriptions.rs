//! Subscriptions: names of channels, and limits.

use super::*;
use crate::dialects::allowance::BURST_SECONDS;

#[test]
fn no_message_follows_the_unsubscribed_of_its_channel() {
    let mut stage = Stage::new();
    stage.connect();
    let sent = stage
        .request(&json!({"type": "unsubscribe", "channel": "news", "ref": 3}))
        .unwrap();
    assert_eq!(
        sent,
        [json!({"type": "unsubscribed", "channel": "news", "ref": 3})]
    );
    stage.deliver("news");
    stage.deliver("user:42");
    let sent = stage.sent();
    assert_eq!((sent.len(), &sent[0]["channel"]), (1, &json!("user:42")));
}

#[test]
fn name_with_half_a_surrogate_pair_is_refused_by_itself() {
    let mut stage = Stage::new();
    let connect =
        r#"{"type":"connect","subscribe":[{"channel":"a\ud800"},{"channel":"public:x"}]}"#;
    let welcome = &stage.text(connect).unwrap()[0];
    assert_eq!(welcome["channels"], json!(["public:x"]));
    assert_eq!(
        welcome["refused"],
        json!([{"channel": "a\0", "code": "bad_channel"}])
    );
    let sent = stage
        .text(r#"{"type":"subscribe","channel":"public:\udfff","ref":1}"#)
        .unwrap();
    assert_eq!(
        [&sent[0]["code"], &sent[0]["ref"]],
        [&json!("bad_channel"), &json!(1)]
    );
}

#[test]
fn reserved_channels_are_refused_except_the_own_user_channel() {
    let mut stage = Stage::new();
    stage.connect();
    for (channel, code) in [
        ("user:43", "forbidden"),
        ("cable:x", "forbidden"),
        ("user:", "bad_channel"),
        ("user:*", "bad_channel"),
    ] {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": channel}))
            .unwrap();
        assert_eq!(sent[0]["code"], code, "{channel}");
    }
    let own = stage
        .request(&json!({"type": "subscribe", "channel": "user:42"}))
        .unwrap();
    assert_eq!(own[0]["type"], "subscribed");
}

#[test]
fn subscriptions_and_requests_are_limited() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
        let fits = number + 2 < SUBSCRIPTIONS_MAX;
        assert_eq!(sent[0]["type"] == "subscribed", fits, "{number}: {sent:?}");
    }
    let held = stage
        .request(&json!({"type": "subscribe", "channel": "public:1"}))
        .unwrap();
    assert_eq!(held[0]["type"], "subscribed");

    let mut connection = Connection::new(Opening::default(), [0; 8]);
    let burst = MESSAGES_PER_SECOND_MAX * BURST_SECONDS;
    assert!((0..burst).all(|_| connection.count_message(0).is_ok()));
    assert_eq!(
        connection.count_message(0),
        Err(codes::CLOSE_TOO_MANY_REQUESTS.into())
    );
    assert!((0..MESSAGES_PER_SECOND_MAX).all(|_| connection.count_message(1).is_ok()));
    assert!(connection.count_message(1).is_err());
    // An hour without requests allows no more than one burst.
    assert!((0..burst).all(|_| connection.count_message(3600).is_ok()));
    assert!(connection.count_message(3600).is_err());
}

#[test]
fn refresh_subscribes_no_more_channels_than_the_limit() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX - 3 {
        stage
            .request(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
    }
    let token = stage.token(Some("42"), &["news", "first", "second"], 60);
    let sent = stage
        .request(&json!({"type": "refresh", "token": token}))
        .unwrap();
    let channels = sent[0]["channels"].as_array().unwrap();
    assert_eq!(channels.len(), SUBSCRIPTIONS_MAX);
    assert!(channels.contains(&json!("first")) && !channels.contains(&json!("second")));
}
