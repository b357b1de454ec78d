//! Hostile frames: each ends its own connection with the right code, and the others on the same shard go on.

use serde_json::json;

use crate::support::{Browser, RawBrowser, Sidecar, frame, place};

/// Opcodes of RFC 6455 §5.2 under a final fragment.
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// The same, not final.
const FIRST_TEXT: u8 = 0x01;
const MORE: u8 = 0x00;
const LAST: u8 = 0x80;

/// `message_bytes_max` of the welcome.
const MESSAGE_BYTES_MAX: usize = 131_072;

/// One shard, so that whoever is watched shares its thread with whoever is hostile.
fn one_shard() -> (Sidecar, Browser) {
    let sidecar = place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a")
        .start();
    let witness = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    (sidecar, witness)
}

/// The head of a masked frame with a length of eight bytes, and its mask.
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
fn a_frame_that_breaks_rfc_6455_is_answered_with_its_code_and_hurts_nobody_else() {
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
    let (sidecar, mut witness) = one_shard();
    let publisher = sidecar.publisher();
    for (number, (what, bytes, expected)) in cases.into_iter().enumerate() {
        for connected in [false, true] {
            let mut hostile = sidecar.raw_browser();
            if connected {
                hostile = hostile.connected();
            }
            hostile.send(&bytes);
            let (code, texts) = hostile.ended();
            assert_eq!(code, Some(expected), "{what}, connected: {connected}");
            assert_eq!(texts.len(), 1, "{what}: {texts:?}");
            assert_eq!(
                (&texts[0]["type"], &texts[0]["code"]),
                (&json!("disconnect"), &json!(expected))
            );
            assert_eq!(texts[0].get("after_ms"), None, "it is to stop: {texts:?}");
        }
        publisher.publish("a", number);
        witness.expect_message("a", json!(number));
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
fn a_continuation_without_end_is_cut() {
    let (sidecar, mut witness) = one_shard();
    let mut hostile = sidecar.raw_browser().connected();
    hostile.send(&frame(FIRST_TEXT, b"\""));
    let piece = frame(MORE, &[b'x'; 100]);
    // Whoever is cut may see its own writes fail.
    use std::io::Write as _;
    while hostile.stream.write_all(&piece).is_ok() {}
    sidecar.logged(&["event=connection_ended", "reason=too_large"]);
    sidecar.publisher().publish("a", 1);
    witness.expect_message("a", json!(1));
}

#[test]
fn empty_fragments_without_end_are_cut() {
    let (sidecar, mut witness) = one_shard();
    let mut hostile = sidecar.raw_browser().connected();
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
            "a million fragments of one message were taken"
        );
    }
    sidecar.logged(&["event=connection_ended", "reason=too_large"]);
    sidecar.publisher().publish("a", 1);
    witness.expect_message("a", json!(1));
}

#[test]
fn the_largest_message_is_taken() {
    let (sidecar, _witness) = one_shard();
    let mut browser = sidecar.raw_browser().connected();
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
        let (opcode, payload) = browser.next().expect("the connection lives");
        if opcode == 1 {
            let text = String::from_utf8(payload).unwrap();
            assert!(text.starts_with(r#"{"type":"subscribed""#), "{text}");
            return;
        }
    }
}

#[test]
fn fragments_of_one_byte_with_pings_between_them_make_a_message() {
    let (sidecar, mut witness) = one_shard();
    let mut browser = sidecar.raw_browser().connected();
    let text = r#"{"type":"subscribe","channel":"a","é":"ü"}"#.as_bytes();
    let last = text.len() - 1;
    for (at, byte) in text.iter().enumerate() {
        let opcode = if at == 0 { FIRST_TEXT } else { MORE };
        let bytes = frame(if at == last { LAST } else { opcode }, &[*byte]);
        // Every byte of every frame by itself.
        for piece in bytes.chunks(1) {
            browser.send(piece);
        }
        if at % 10 == 5 {
            browser.send(&frame(PING, &[*byte]));
            assert_eq!(
                browser.next(),
                Some((10, vec![*byte])),
                "the pong repeats the ping"
            );
        }
    }
    expect_subscribed(&mut browser);
    sidecar.publisher().publish("a", 1);
    witness.expect_message("a", json!(1));
    assert!(browser.next().is_some_and(|(opcode, _)| opcode == 1));
}

#[test]
fn a_ping_is_answered_and_an_unasked_pong_is_not() {
    let (sidecar, _witness) = one_shard();
    let mut browser = sidecar.raw_browser().connected();
    for payload in [&b""[..], b"x", &[0xff; 125]] {
        browser.send(&frame(PONG, payload));
        browser.send(&frame(PING, payload));
        assert_eq!(browser.next(), Some((10, payload.to_vec())));
    }
}

#[test]
fn a_close_is_answered_alike_and_the_socket_ends() {
    let (sidecar, mut witness) = one_shard();
    for (sent, answered) in [
        (vec![], None),
        (1000_u16.to_be_bytes().to_vec(), Some(1000)),
        (
            [&1001_u16.to_be_bytes()[..], b"going away"].concat(),
            Some(1001),
        ),
        (4999_u16.to_be_bytes().to_vec(), Some(4999)),
    ] {
        let mut browser = sidecar.raw_browser().connected();
        browser.send(&frame(CLOSE, &sent));
        let (code, texts) = browser.ended();
        assert_eq!((code, texts), (answered, vec![]));
    }
    for code in [0_u16, 999, 1005, 1006, 1015, 1016, 2000, 5000, 65_535] {
        let mut browser = sidecar.raw_browser().connected();
        browser.send(&frame(CLOSE, &code.to_be_bytes()));
        assert_eq!(
            browser.ended().0,
            Some(1002),
            "{code} stands in no close frame"
        );
    }
    sidecar.publisher().publish("a", 1);
    witness.expect_message("a", json!(1));
}

#[test]
fn what_was_asked_before_a_close_is_still_answered_and_what_comes_behind_it_is_not() {
    let (sidecar, _witness) = one_shard();
    let mut browser = sidecar.raw_browser().connected();
    let subscribe = frame(TEXT, br#"{"type":"subscribe","channel":"a"}"#);
    let bytes = [
        subscribe.clone(),
        frame(CLOSE, &1000_u16.to_be_bytes()),
        subscribe,
    ]
    .concat();
    browser.send(&bytes);
    let (code, texts) = browser.ended();
    assert_eq!(code, Some(1000));
    assert_eq!(texts.len(), 1, "{texts:?}");
}

#[test]
fn more_requests_than_the_limit_end_with_4501_and_others_are_served() {
    let (sidecar, mut witness) = one_shard();
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
    for (number, (what, one)) in floods.into_iter().enumerate() {
        let mut hostile = sidecar.raw_browser().connected();
        // Ten seconds' worth may come at once; this is twice that.
        hostile.send(&one.repeat(1001));
        let (code, texts) = hostile.ended();
        assert_eq!(code, Some(4501), "{what}");
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
        witness.expect_message("a", json!(number));
    }
}

#[test]
fn any_bytes_at_all_end_one_connection_at_most() {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
    use std::io::{Read as _, Write as _};
    let (sidecar, witness) = one_shard();
    let witness = std::cell::RefCell::new(witness);
    let publisher = sidecar.publisher();
    // Frames that look like some, so that more than the first byte is ever read.
    let like_a_frame = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(first, payload)| frame(first, &payload));
    let strategy = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..300),
        prop::collection::vec(like_a_frame, 1..8).prop_map(|frames| frames.concat()),
    ];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
        .run(&strategy, |bytes| {
            let mut hostile = sidecar.raw_browser().connected();
            hostile.stream.write_all(&bytes).unwrap();
            hostile.stream.shutdown(std::net::Shutdown::Write).unwrap();
            // A reset is an end too: not all that was sent was read.
            let _ended = hostile.stream.read_to_end(&mut Vec::new());
            publisher.publish("a", 1);
            witness.borrow_mut().expect_message("a", json!(1));
            Ok(())
        })
        .unwrap();
    assert!(!sidecar.log().iter().any(|line| line.contains("panicked")));
}
