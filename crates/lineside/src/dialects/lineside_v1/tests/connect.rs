//! Connects: the welcome, and the reasons for a refusal.

use super::*;

#[test]
fn welcome_names_the_channels_of_the_token() {
    let mut stage = Stage::new();
    let token = stage.token(Some("42"), &["news"], 60);
    let subscribe = json!([{"channel": "chat:1"}, {"channel": "user:43"}, {"channel": "a*"}, {"channel": "public:x"}]);
    let sent = stage
        .request(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
        .unwrap();
    assert_eq!(
        sent,
        [json!({
            "type": "welcome",
            "connection": "0707070707070707",
            "user": "42",
            "channels": ["user:42", "news", "chat:1", "public:x"],
            "refused": [{"channel": "user:43", "code": "forbidden"}, {"channel": "a*", "code": "bad_channel"}],
            "cursor": "e.0",
            "heartbeat": 25,
            "limits": {"message_bytes_max": 131072, "subscriptions_max": 256, "requests_per_second_max": 50},
            "features": [],
        })]
    );
}

#[test]
fn first_request_and_no_later_one_must_be_a_connect() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.request(&json!({"type": "subscribe", "channel": "public:x"})),
        Err(codes::CLOSE_BAD_CONNECT)
    );
    assert_eq!(
        stage.request(&json!("connect")),
        Err(codes::CLOSE_BAD_CONNECT)
    );
    stage.connect();
    let again = stage
        .request(&json!({"type": "connect", "ref": 9}))
        .unwrap();
    assert_eq!(
        (&again[0]["code"], &again[0]["ref"]),
        (&json!("already_connected"), &json!(9))
    );
}

#[test]
fn refused_token_closes_with_the_code_of_its_fault() {
    let mut stage = Stage::new();
    let token = stage.token(None, &[], 60);
    let connect = json!({"type": "connect", "token": token});
    assert_eq!(
        stage.request(&json!({"type": "connect", "token": "x"})),
        Err(codes::CLOSE_TOKEN_INVALID)
    );
    stage.wall_ms += 66_000;
    assert_eq!(stage.request(&connect), Err(codes::CLOSE_TOKEN_EXPIRED));
    stage.wall_ms = START_MS - 6_000;
    assert_eq!(
        stage.request(&connect),
        Err(codes::CLOSE_TOKEN_NOT_YET_VALID)
    );
    stage.wall_ms = START_MS;
    assert!(stage.request(&connect).is_ok());
}

#[test]
fn connect_with_a_cursor_and_no_loss_gets_caught_up() {
    let mut stage = Stage::new();
    let refused = json!([{"channel": "forbidden"}]);
    let sent = stage
        .request(&json!({"type": "connect", "after": "e.0", "subscribe": refused}))
        .unwrap();
    let types: Vec<_> = sent.iter().map(|sent| sent["type"].clone()).collect();
    assert_eq!(types, ["welcome", "caught_up"]);
    assert_eq!(
        (&sent[0]["recovered"], &sent[0]["lost"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn connect_subscribes_channels_up_to_the_limit() {
    let mut stage = Stage::new();
    let subscribe: Vec<_> = (0..=SUBSCRIPTIONS_MAX)
        .map(|number| json!({"channel": format!("public:{number}")}))
        .collect();
    let connect = json!({"type": "connect", "subscribe": subscribe}).to_string();
    stage
        .act(|connection, turn| connection.receive(&connect, turn))
        .unwrap();
    assert_eq!(
        stage.fan_out.subscriptions(stage.id).count(),
        SUBSCRIPTIONS_MAX
    );
}

#[test]
fn close_of_a_refused_connect_explains_the_reason() {
    let mut stage = Stage::new();
    let message = |stage: &mut Stage, text: &str| {
        stage
            .act(|connection, turn| connection.receive(text, turn))
            .unwrap_err()
            .message
            .unwrap()
    };
    assert!(message(&mut stage, r#"{"type":"connect","token":"a.b.c"}"#).contains("base64url"));
    assert!(message(&mut stage, "{").contains("not JSON"));
    assert!(message(&mut stage, r#"{"type":"pong"}"#).contains("must be a connect"));
}
