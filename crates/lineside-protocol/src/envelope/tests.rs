use serde_json::{Value, json};

use super::*;
use crate::codes;

fn epoch() -> Epoch {
    Epoch::new("e1").unwrap()
}

/// The JSON of a text frame, after its head was compared with the length (RFC 6455 §5.2).
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
fn a_message_wraps_the_payload_as_it_is() {
    let frame = message("a\"b", &epoch(), Position(7), b"{\"x\": 1.50}", false);
    assert!(frame.ends_with(b"\"data\":{\"x\": 1.50}}"));
    assert_eq!(
        text(&frame),
        json!({"type": "message", "channel": "a\"b", "cursor": "e1.7", "data": {"x": 1.5}})
    );
}

#[test]
fn a_message_sent_again_after_a_crash_says_so() {
    let frame = message("a", &epoch(), Position(7), b"null", true);
    assert_eq!(text(&frame)["resent"], json!(true));
}

#[test]
fn the_length_is_right_at_each_of_its_three_forms() {
    for bytes in [
        0, 1, 40, 60, 64, 65, 66, 67, 68, 69, 70, 125, 126, 127, 65_460, 65_470, 65_536, 100_000,
    ] {
        let payload = format!("\"{}\"", "x".repeat(bytes));
        let frame = message("a", &epoch(), Position(1), payload.as_bytes(), false);
        assert_eq!(text(&frame)["data"].as_str().map(str::len), Some(bytes));
    }
}

#[test]
fn optional_fields_are_absent_not_null() {
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
fn a_close_frame_carries_number_and_name() {
    assert_eq!(
        &websocket_close(codes::CLOSE_TOKEN_EXPIRED)[..],
        b"\x88\x0f\x0f\xa3token_expired"
    );
}

#[test]
fn the_text_of_a_frame_is_what_was_written_into_it() {
    for bytes in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        let body = vec![b'x'; bytes];
        let frame = frame(FINAL_TEXT, bytes, |out| out.extend_from_slice(&body));
        assert_eq!(super::text(&frame), body, "{bytes}");
    }
}
