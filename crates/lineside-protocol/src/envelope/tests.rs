use serde_json::{Value, json};

use super::*;
use crate::codes;

fn epoch() -> Epoch {
    Epoch::new("e1").unwrap()
}

/// Returns the JSON of a text frame, and checks the length in its head (RFC 6455 §5.2).
fn text(frame: &[u8]) -> Value {
    assert_eq!(frame[0], 0x81);
    let (length, start) = match frame[1] {
        126 => (usize::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
        127 => (
            usize::try_from(u64::from_be_bytes(frame[2..10].try_into().unwrap())).unwrap(),
            10,
        ),
        short => (usize::from(short), 2),
    };
    assert_eq!(frame.len() - start, length);
    serde_json::from_slice(&frame[start..]).unwrap()
}

#[test]
fn message_contains_the_payload_unchanged() {
    let frame = message("a\"b", &epoch(), Position(7), b"{\"x\": 1.50}", false);
    assert!(frame.ends_with(b"\"data\":{\"x\": 1.50}}"));
    assert_eq!(
        text(&frame),
        json!({"type": "message", "channel": "a\"b", "cursor": "e1.7", "data": {"x": 1.5}})
    );
}

#[test]
fn resent_message_is_marked() {
    let frame = message("a", &epoch(), Position(7), b"null", true);
    assert_eq!(text(&frame)["resent"], json!(true));
}

#[test]
fn frame_length_is_right_in_all_three_forms() {
    for bytes in [
        0, 1, 40, 60, 64, 65, 66, 67, 68, 69, 70, 125, 126, 127, 65_460, 65_470, 65_536, 100_000,
    ] {
        let payload = format!("\"{}\"", "x".repeat(bytes));
        let frame = message("a", &epoch(), Position(1), payload.as_bytes(), false);
        assert_eq!(text(&frame)["data"].as_str().map(str::len), Some(bytes));
    }
}

#[test]
fn absent_fields_are_omitted() {
    let channel = "a";
    let cursor = epoch().at(Position(3));
    let subscribed = Envelope::Subscribed {
        channel,
        cursor: cursor.clone(),
        recovered: None,
        reference: None,
    };
    assert_eq!(
        text(&subscribed.frame()),
        json!({"type": "subscribed", "channel": "a", "cursor": "e1.3"})
    );
    let unasked = Envelope::Unsubscribed {
        channel,
        code: Some(codes::EXPIRED),
        reference: None,
    };
    assert_eq!(
        text(&unasked.frame()),
        json!({"type": "unsubscribed", "channel": "a", "code": "expired"})
    );
    let ping = Envelope::Ping { cursor };
    assert_eq!(
        text(&ping.frame()),
        json!({"type": "ping", "cursor": "e1.3"})
    );
}

#[test]
fn close_frame_contains_number_and_name() {
    assert_eq!(
        &websocket_close(codes::CLOSE_TOKEN_EXPIRED)[..],
        b"\x88\x0f\x0f\xa3token_expired"
    );
}

#[test]
fn text_returns_the_body_of_a_frame() {
    for bytes in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        let body = vec![b'x'; bytes];
        let frame = frame(FINAL_TEXT, bytes, |out| out.extend_from_slice(&body));
        assert_eq!(super::text(&frame), body, "{bytes}");
    }
}

#[test]
fn payload_is_the_published_bytes_whatever_the_channel_is_called() {
    let epoch = Epoch::new("e").unwrap();
    for channel in [
        "a",
        "a,\"data\":1",
        "\",\"data\":",
        "data\":",
        ",",
        "\\",
        "é\\\",",
    ] {
        for json in [
            "1",
            "\"\"",
            r#"{"data": [ ],"data":2}"#,
            &format!("\"{}\"", "x".repeat(70_000)),
        ] {
            for resent in [false, true] {
                let frame = message(channel, &epoch, Position(7), json.as_bytes(), resent);
                assert_eq!(payload(&frame), json.as_bytes(), "{channel}");
            }
        }
    }
    assert_eq!(payload(&websocket_ping()), Bytes::new());
}
