//! Resumes: replays, lost channels, and cursors.

use super::*;

#[test]
fn replay_is_between_its_reply_and_live_publications() {
    let mut stage = Stage::new();
    stage.deliver("news");
    stage.deliver("other");
    stage.deliver("news");
    let token = stage.token(Some("42"), &["news"], 60);
    stage
        .act(|connection, turn| {
            let connect = Connect {
                token: Some(token),
                after: Some(lineside_protocol::After::parse("e.0")),
                subscribe: vec![],
                reference: None,
            };
            connection.connect(connect, turn)
        })
        .unwrap();
    stage.deliver("news");
    let sent = stage.sent();
    let types: Vec<_> = sent
        .iter()
        .map(|sent| {
            (
                sent["type"].as_str().unwrap(),
                sent["cursor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        types,
        [
            ("welcome", "e.0"),
            ("message", "e.1"),
            ("message", "e.3"),
            ("caught_up", "e.3"),
            ("message", "e.4")
        ]
    );
    assert_eq!(
        (&sent[0]["recovered"], &sent[0]["lost"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn cursor_ahead_of_the_shard_is_answered_once_the_shard_has_caught_up() {
    let mut stage = Stage::new();
    let waiting = stage.publish("news");
    let token = stage.token(Some("42"), &["news"], 60);
    assert_eq!(
        stage.request(&json!({"type": "connect", "token": token, "after": "e.1"})),
        Ok(vec![])
    );
    assert!(stage.connection.is_busy());
    assert_eq!(stage.fan_out.next_ready(), None);
    stage.fan_out.dispatch(&waiting);
    let (id, request) = stage.fan_out.next_ready().unwrap();
    let answer = stage.broker.replay(&request);
    let resumed = stage.fan_out.complete(id, request, answer);
    stage.act(|connection, turn| connection.resumed(resumed, turn));
    let sent = stage.sent();
    assert_eq!(
        (&sent[0]["type"], &sent[0]["cursor"], &sent[0]["recovered"]),
        (&json!("welcome"), &json!("e.1"), &json!(true))
    );
    assert_eq!((&sent[1]["type"], sent.len()), (&json!("caught_up"), 2));
}

#[test]
fn unknown_cursor_is_lost_and_no_error() {
    let mut stage = Stage::new();
    stage.connect();
    stage.deliver("chat:1");
    for after in [
        json!("unknown"),
        json!("x.1"),
        json!("e.99"),
        json!(7),
        json!(""),
    ] {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": "chat:1", "after": after, "ref": "r"}))
            .unwrap();
        let expected = json!({"type": "subscribed", "channel": "chat:1", "cursor": "e.1", "recovered": false, "ref": "r"});
        assert_eq!(sent, [expected], "{after}");
    }
}

#[test]
fn channel_named_twice_continues_after_the_lower_cursor() {
    for (subscribe, first) in [
        (
            json!([{"channel": "chat:1", "after": "e.1"}, {"channel": "chat:1"}]),
            "e.2",
        ),
        (
            json!([{"channel": "chat:1"}, {"channel": "chat:1", "after": "e.1"}]),
            "e.2",
        ),
        (
            json!([{"channel": "chat:1", "after": "e.0"}, {"channel": "chat:1", "after": "e.2"}]),
            "e.1",
        ),
        (
            json!([{"channel": "news", "after": "e.0"}, {"channel": "chat:1", "after": "e.2"}]),
            "e.3",
        ),
    ] {
        let mut stage = Stage::new();
        (0..3).for_each(|_| stage.deliver("chat:1"));
        let token = stage.token(Some("42"), &["news"], 60);
        let sent = stage
            .request(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
            .unwrap();
        assert_eq!(sent[1]["cursor"], first, "{subscribe}");
        assert_eq!(
            sent.last().map(|sent| &sent["type"]),
            Some(&json!("caught_up"))
        );
    }
    let mut stage = Stage::new();
    stage.deliver("chat:1");
    let subscribe =
        json!([{"channel": "chat:1", "after": "e.0"}, {"channel": "chat:1", "after": "unknown"}]);
    let sent = stage.request(&json!({"type": "connect", "token": stage.token(None, &[], 60), "subscribe": subscribe})).unwrap();
    assert_eq!((&sent[0]["lost"], sent.len()), (&json!(["chat:1"]), 1));
}

#[test]
fn channel_of_the_token_named_twice_continues_after_the_lower_cursor() {
    let mut stage = Stage::new();
    (0..3).for_each(|_| stage.deliver("news"));
    let subscribe =
        json!([{"channel": "news", "after": "e.1"}, {"channel": "news", "after": "e.2"}]);
    let token = stage.token(Some("42"), &["news", "sports"], 60);
    let connect =
        json!({"type": "connect", "token": token, "after": "e.3", "subscribe": subscribe});
    let sent = stage.request(&connect).unwrap();
    let received: Vec<_> = sent[1..].iter().map(|sent| &sent["cursor"]).collect();
    assert_eq!(
        received,
        ["e.2", "e.3", "e.3"],
        "two messages, and caught_up"
    );
}

/// A ping with the position of the shard would move the cursor of the page past publications that it has not received.
#[test]
fn ping_has_no_cursor_while_a_resume_waits() {
    const WEBSOCKET_PING: u8 = 0x89;
    let mut stage = Stage::new();
    stage.deliver("public:a");
    let ahead = stage.publish("public:b");
    let subscribe =
        json!([{"channel": "public:a", "after": "e.0"}, {"channel": "public:b", "after": "e.2"}]);
    let connect = json!({"type": "connect", "subscribe": subscribe});
    assert_eq!(stage.request(&connect), Ok(vec![]));
    stage.act(|connection, turn| connection.ping(turn));
    assert_eq!(stage.frames(), [(WEBSOCKET_PING, vec![])]);
    stage.fan_out.dispatch(&ahead);
    let (id, request) = stage.fan_out.next_ready().unwrap();
    let answer = stage.broker.replay(&request);
    let resumed = stage.fan_out.complete(id, request, answer);
    stage.act(|connection, turn| connection.resumed(resumed, turn));
    stage.act(|connection, turn| connection.ping(turn));
    let frames = stage.frames();
    let ping: Value = serde_json::from_slice(&frames.last().unwrap().1).unwrap();
    assert_eq!(ping, json!({"type": "ping", "cursor": "e.2"}));
}
