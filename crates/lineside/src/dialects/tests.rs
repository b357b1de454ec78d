use lineside_protocol::codes;
use lineside_token::Keys;
use serde_json::{Value, json};

use super::*;
use crate::settings::tests::read;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn opening(target: &str, origin: &str) -> Result<Opening, HeadError> {
    let text = format!("GET {target} HTTP/1.1\r\nHost: app.example\r\nOrigin: {origin}\r\n\r\n");
    let head = Head::parse(text.as_bytes()).unwrap().unwrap();
    let server = ServerOrigin::OfRequest([192, 0, 2, 1].into());
    Opening::of_request(&head, &server, &read(&[]).unwrap())
}

fn connection() -> Connection {
    let opening = Opening::LinesideV1(lineside_v1::Opening::default());
    Connection::new(opening, [7; 8])
}

fn rules(heartbeat_seconds: u64) -> Rules {
    Rules {
        keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
        public_channels: Vec::new(),
        heartbeat_seconds,
    }
}

#[test]
fn opening_is_refused_by_the_origin_rules_of_its_dialect() {
    let opened = opening("/lineside?token=t", "http://app.example").unwrap();
    assert_eq!(opened.subprotocol(), "lineside-v1");
    let Opening::LinesideV1(opened) = opened else {
        unreachable!("requests open lineside-v1")
    };
    assert_eq!(opened.connect.unwrap().token.as_deref(), Some("t"));
    let refused = opening("/lineside?token=t", "http://evil.example").unwrap_err();
    assert_eq!(refused.status, 403);
    let refused = opening("/lineside?token=%", "http://app.example").unwrap_err();
    assert_eq!(refused.status, 400);
}

#[test]
fn time_outs_are_those_of_the_dialect() {
    let connection = connection();
    assert_eq!(connection.connect_ms_max(), 5_000);
    assert_eq!(connection.silence_ms_max(), 10_000);
    assert_eq!(connection.ping_interval_ms(&rules(25)), 25_000);
    assert_eq!(connection.ping_interval_ms(&rules(1)), 1_000);
}

#[test]
fn closing_frames_are_a_disconnect_and_a_close_frame() {
    let ending = Ending {
        code: codes::CLOSE_DRAIN,
        message: Some("a test".into()),
    };
    let [disconnect, close] = connection().closing_frames(&ending, Some(700));
    // A final text frame with less than 126 bytes (RFC 6455 §5.2).
    assert_eq!(disconnect[0], 0x81);
    let envelope: Value = serde_json::from_slice(&disconnect[2..]).unwrap();
    assert_eq!(
        envelope,
        json!({"type": "disconnect", "code": 4100, "reason": "drain", "message": "a test", "after_ms": 700})
    );
    let [high, low] = codes::CLOSE_DRAIN.number.to_be_bytes();
    assert_eq!(close[..], [&[0x88, 7, high, low][..], b"drain"].concat());

    let [disconnect, _] = connection().closing_frames(&codes::CLOSE_BAD_CONNECT.into(), None);
    let envelope: Value = serde_json::from_slice(&disconnect[2..]).unwrap();
    assert_eq!(envelope["after_ms"], Value::Null);
}
