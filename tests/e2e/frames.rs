//! Invalid WebSocket frames: each closes its own connection with the right code and affects no other one of its shard.

use serde_json::json;

use crate::support::{Browser, RawBrowser, Sidecar, check_property, frame, place};

/// First bytes of final fragments, with the opcodes of RFC 6455 §5.2.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// First bytes of the fragments of a message.
const FIRST_TEXT: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

/// The limit `message_bytes_max` of the welcome.
const MESSAGE_BYTES_MAX: usize = 131_072;

/// A sidecar with one shard, and a well-behaved browser on it.
fn one_shard() -> (Sidecar, Browser) {
    let sidecar = place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a")
        .start();
    let other = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    (sidecar, other)
}

/// Head of a masked frame with a length field of eight bytes, and its mask.
fn long_head(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | 127];
    bytes.extend(length.to_be_bytes());
    bytes.extend([1, 2, 3, 4]);
    bytes
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, u8::try_from(payload.len()).unwrap()];
    bytes.extend(payload);
    bytes
}

#[test]
fn invalid_frame_closes_its_own_connection_with_the_right_code() {
    let close_1_byte = frame(CLOSE, &[3]);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("unmasked text", unmasked(TEXT, b"{}"), 1002),
        ("unmasked close", unmasked(CLOSE, &[3, 232]), 1002),
        ("RSV1", frame(TEXT | 0x40, b"{}"), 1002),
        ("RSV2", frame(TEXT | 0x20, b"{}"), 1002),
        ("RSV3", frame(TEXT | 0x10, b"{}"), 1002),
        ("reserved opcode 3", frame(0x83, b"x"), 1002),
        ("reserved opcode 7", frame(0x87, b"x"), 1002),
        ("reserved control 11", frame(0x8b, b"x"), 1002),
        ("reserved control 15", frame(0x8f, b""), 1002),
        ("fragmented ping", frame(0x09, b"x"), 1002),
        ("fragmented close", frame(0x08, &[3, 232]), 1002),
        ("ping of 126 bytes", frame(PING, &[0; 126]), 1002),
        ("continuation of nothing", frame(LAST, b"x"), 1002),
        (
            "text inside a message",
            [frame(FIRST_TEXT, b"x"), frame(TEXT, b"y")].concat(),
            1002,
        ),
        ("length of 2^63", long_head(TEXT, 1 << 63), 1009),
        ("length of 2^64 - 1", long_head(TEXT, u64::MAX), 1009),
        ("length of 2^32", long_head(TEXT, 1 << 32), 1009),
        (
            "one byte too much",
            frame(TEXT, &[b' '; MESSAGE_BYTES_MAX + 1]),
            1009,
        ),
        ("too much in fragments", too_much_in_fragments(), 1009),
        ("invalid UTF-8", frame(TEXT, b"\"\xff\""), 1007),
        ("half a character", frame(TEXT, b"\"\xc3"), 1007),
        ("a surrogate", frame(TEXT, b"\"\xed\xa0\x80\""), 1007),
        (
            "invalid in fragments",
            [frame(FIRST_TEXT, b"\xc3"), frame(LAST, b"\x28")].concat(),
            1007,
        ),
        ("binary", frame(BINARY, b"{}"), 1003),
        (
            "binary in fragments",
            [frame(0x02, b"{"), frame(LAST, b"}")].concat(),
            1003,
        ),
        ("close of one byte", close_1_byte, 1002),
    ];
    let (sidecar, mut other) = one_shard();
    let publisher = sidecar.publisher();
    for (number, (case, bytes, expected)) in cases.into_iter().enumerate() {
        for connected in [false, true] {
            let mut hostile = sidecar.raw_browser();
            if connected {
                hostile = hostile.connect(json!({}));
            }
            hostile.send(&bytes);
            let (code, texts) = hostile.read_to_end();
            assert_eq!(code, Some(expected), "{case}, connected: {connected}");
            assert_eq!(texts.len(), 1, "{case}: {texts:?}");
            assert_eq!(
                (&texts[0]["type"], &texts[0]["code"]),
                (&json!("disconnect"), &json!(expected))
            );
            assert_eq!(texts[0].get("after_ms"), None, "it asks to reconnect");
        }
        publisher.publish("a", number);
        other.expect_message("a", json!(number));
    }
}

fn too_much_in_fragments() -> Vec<u8> {
    let half = [b' '; MESSAGE_BYTES_MAX / 2];
    let mut bytes = frame(FIRST_TEXT, &half);
    bytes.extend(frame(MORE, &half));
    bytes.extend(frame(MORE, b" "));
    bytes
}

#[test]
fn endless_fragmented_message_is_closed() {
    let (sidecar, mut other) = one_shard();
    let mut hostile = sidecar.raw_browser().connect(json!({}));
    hostile.send(&frame(FIRST_TEXT, b"\""));
    let piece = frame(MORE, &[b'x'; 100]);
    // Writes until the connection is closed.
    use std::io::Write as _;
    while hostile.stream.write_all(&piece).is_ok() {}
    sidecar.logged(&["event=connection_ended", "reason=too_large"]);
    sidecar.publisher().publish("a", 1);
    other.expect_message("a", json!(1));
}

#[test]
fn endless_empty_fragments_are_closed() {
    let (sidecar, mut other) = one_shard();
    let mut hostile = sidecar.raw_browser().connect(json!({}));
    hostile.send(&frame(FIRST_TEXT, b""));
    let pieces = frame(MORE, b"").repeat(100);
    use std::io::Write as _;
    let mut sent = 0_u32;
    let is_ended = || {
        sidecar
            .log()
            .iter()
            .any(|line| line.contains("reason=too_large"))
    };
    while hostile.stream.write_all(&pieces).is_ok() && !is_ended() {
        sent += 1;
        assert!(
            sent < 10_000,
            "a million fragments of one message were accepted"
        );
    }
    sidecar.logged(&["event=connection_ended", "reason=too_large"]);
    sidecar.publisher().publish("a", 1);
    other.expect_message("a", json!(1));
}

#[test]
fn message_of_the_maximum_size_is_accepted() {
    let (sidecar, _other) = one_shard();
    let mut browser = sidecar.raw_browser().connect(json!({}));
    let head = br#"{"type":"subscribe","channel":"a","x":""#;
    let mut text = head.to_vec();
    text.resize(MESSAGE_BYTES_MAX - 2, b'x');
    text.extend(b"\"}");
    browser.send(&frame(TEXT, &text));
    expect_subscribed(&mut browser);
}

#[track_caller]
fn expect_subscribed(browser: &mut RawBrowser) {
    loop {
        let (opcode, payload) = browser.next().expect("the connection is open");
        if opcode == 1 {
            let text = String::from_utf8(payload).unwrap();
            assert!(text.starts_with(r#"{"type":"subscribed""#), "{text}");
            return;
        }
    }
}

#[test]
fn fragments_of_one_byte_with_pings_in_between_are_joined() {
    let (sidecar, mut other) = one_shard();
    let mut browser = sidecar.raw_browser().connect(json!({}));
    let text = r#"{"type":"subscribe","channel":"a","é":"ü"}"#.as_bytes();
    let last = text.len() - 1;
    for (at, byte) in text.iter().enumerate() {
        let opcode = if at == 0 { FIRST_TEXT } else { MORE };
        let bytes = frame(if at == last { LAST } else { opcode }, &[*byte]);
        // One byte per write.
        for piece in bytes.chunks(1) {
            browser.send(piece);
        }
        if at % 10 == 5 {
            browser.send(&frame(PING, &[*byte]));
            assert_eq!(
                browser.next(),
                Some((10, vec![*byte])),
                "a pong with the payload of the ping"
            );
        }
    }
    expect_subscribed(&mut browser);
    sidecar.publisher().publish("a", 1);
    other.expect_message("a", json!(1));
    assert!(browser.next().is_some_and(|(opcode, _)| opcode == 1));
}

#[test]
fn ping_is_answered_and_unsolicited_pong_is_not() {
    let (sidecar, _other) = one_shard();
    let mut browser = sidecar.raw_browser().connect(json!({}));
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        browser.send(&frame(PONG, payload));
        browser.send(&frame(PING, payload));
        assert_eq!(browser.next(), Some((10, payload.to_vec())));
    }
}

#[test]
fn close_frame_is_answered_with_its_code() {
    let (sidecar, mut other) = one_shard();
    for (sent, answered) in [
        (vec![], None),
        (1000_u16.to_be_bytes().to_vec(), Some(1000)),
        (
            [&1001_u16.to_be_bytes()[..], b"going away"].concat(),
            Some(1001),
        ),
        (4999_u16.to_be_bytes().to_vec(), Some(4999)),
    ] {
        let mut browser = sidecar.raw_browser().connect(json!({}));
        browser.send(&frame(CLOSE, &sent));
        let (code, texts) = browser.read_to_end();
        assert_eq!((code, texts), (answered, vec![]));
    }
    for code in [0_u16, 999, 1005, 1006, 1015, 1016, 2000, 5000, 65_535] {
        let mut browser = sidecar.raw_browser().connect(json!({}));
        browser.send(&frame(CLOSE, &code.to_be_bytes()));
        assert_eq!(
            browser.read_to_end().0,
            Some(1002),
            "{code} is not allowed in a close frame"
        );
    }
    sidecar.publisher().publish("a", 1);
    other.expect_message("a", json!(1));
}

#[test]
fn requests_before_a_close_frame_are_answered_and_later_ones_ignored() {
    let (sidecar, _other) = one_shard();
    let mut browser = sidecar.raw_browser().connect(json!({}));
    let subscribe = frame(TEXT, br#"{"type":"subscribe","channel":"a"}"#);
    let bytes = [
        subscribe.clone(),
        frame(CLOSE, &1000_u16.to_be_bytes()),
        subscribe,
    ]
    .concat();
    browser.send(&bytes);
    let (code, texts) = browser.read_to_end();
    assert_eq!(code, Some(1000));
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[test]
fn request_flood_is_closed_with_4501() {
    let (sidecar, mut other) = one_shard();
    let publisher = sidecar.publisher();
    let floods: [(&str, Vec<u8>); 5] = [
        ("pings", frame(PING, b"")),
        ("pongs", frame(PONG, b"")),
        (
            "requests",
            frame(TEXT, br#"{"type":"subscribe","channel":"a"}"#),
        ),
        ("nonsense", frame(TEXT, b"x")),
        ("application pongs", frame(TEXT, br#"{"type":"pong"}"#)),
    ];
    for (number, (kind, one)) in floods.into_iter().enumerate() {
        let mut hostile = sidecar.raw_browser().connect(json!({}));
        // Twice the burst that the limit allows.
        hostile.send(&one.repeat(1001));
        let (code, texts) = hostile.read_to_end();
        assert_eq!(code, Some(4501), "{kind}");
        let last = texts.last().unwrap();
        assert_eq!(
            (&last["type"], &last["code"], &last["reason"]),
            (
                &json!("disconnect"),
                &json!(4501),
                &json!("too_many_requests")
            )
        );
        publisher.publish("a", number);
        other.expect_message("a", json!(number));
    }
}

#[test]
fn random_bytes_end_only_their_own_connection() {
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};
    let (sidecar, other) = one_shard();
    let other = std::cell::RefCell::new(other);
    let publisher = sidecar.publisher();
    // Well-formed frames with random contents, which get past the first byte.
    let like_a_frame = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(first, payload)| frame(first, &payload));
    let strategy = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300),
        prop::collection::vec(like_a_frame, 1..8).prop_map(|frames| frames.concat()),
    ];
    check_property(3, 300, &strategy, |bytes| {
        let mut hostile = sidecar.raw_browser().connect(json!({}));
        hostile.stream.write_all(&bytes).unwrap();
        hostile.stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Fails with a reset if the sidecar left bytes unread.
        let _ended = hostile.stream.read_to_end(&mut Vec::new());
        publisher.publish("a", 1);
        other.borrow_mut().expect_message("a", json!(1));
        Ok(())
    });
    assert!(!sidecar.log().iter().any(|line| line.contains("panicked")));
}
