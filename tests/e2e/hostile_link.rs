//! Publishers that send invalid frames or flood the link, and do no harm to other publishers and to browsers.

use bytes::Bytes;
use lineside_protocol::codes::{LINK_BAD_FRAME, LINK_UNKNOWN_KIND, LINK_UNKNOWN_OPTION};
use lineside_protocol::frame::{FRAME_BYTES_MAX, ToPublisher, ToSidecar};
use serde_json::json;

use crate::support::{
    PUBLISH, check_property, hello, option, publication, publish, raw_frame, sidecar,
};

#[test]
fn invalid_frame_ends_its_own_link_with_a_fault() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let other = sidecar.publisher();
    let too_long = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes();
    let cases: [(&str, Vec<u8>, u16); 12] = [
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            LINK_BAD_FRAME.number,
        ),
        ("length 0", vec![0; 8], LINK_BAD_FRAME.number),
        (
            "length 3",
            [&3_u32.to_be_bytes()[..], &[2, 0, 0]].concat(),
            LINK_BAD_FRAME.number,
        ),
        (
            "length over the limit",
            too_long.to_vec(),
            LINK_BAD_FRAME.number,
        ),
        ("length 2^32 - 1", vec![0xff; 16], LINK_BAD_FRAME.number),
        (
            "options longer than the frame",
            vec![0, 0, 0, 4, 2, 0, 0, 9],
            LINK_BAD_FRAME.number,
        ),
        (
            "half an option",
            raw_frame(PUBLISH, 0, &[0, 1, 0], &publication(1, "1")),
            LINK_BAD_FRAME.number,
        ),
        (
            "unknown kind",
            raw_frame(99, 0, &[], b"x"),
            LINK_UNKNOWN_KIND.number,
        ),
        (
            "kind of a frame to publishers",
            raw_frame(129, 0, &[], b"x"),
            LINK_UNKNOWN_KIND.number,
        ),
        (
            "no publication",
            raw_frame(PUBLISH, 0, &[], &1_u64.to_be_bytes()),
            LINK_BAD_FRAME.number,
        ),
        (
            "half a publication",
            raw_frame(PUBLISH, 0, &[], &publication(1, "12")[..12]),
            LINK_BAD_FRAME.number,
        ),
        (
            "half a sequence",
            raw_frame(PUBLISH, 0, &[], &[0; 7]),
            LINK_BAD_FRAME.number,
        ),
    ];
    for (number, (case, bytes, expected)) in (1..).zip(cases) {
        let mut link = sidecar.raw_publisher(number);
        // Frames before the invalid one are delivered.
        link.send(&publish(1, "a", "1"));
        link.send(&bytes);
        let (code, message) = link.expect_fault();
        assert_eq!(code, expected, "{case}: {message}");
        assert!(
            !message.is_empty() && !message.contains(char::is_control),
            "{message:?}"
        );
        browser.expect_message("a", json!(1));
        other.publish("a", case);
        browser.expect_message("a", json!(case));
    }
    sidecar.logged(&[
        "level=error",
        "event=link_fault",
        "publisher=raw[8]",
        "code=unknown_kind",
    ]);
}

#[test]
fn link_without_a_valid_first_hello_is_ended() {
    let sidecar = sidecar();
    let mut wrong_magic = Vec::new();
    ToSidecar::Hello(hello(1)).encode(&mut wrong_magic);
    wrong_magic[8] = b'X';
    for bytes in [
        publish(1, "a", "1"),
        wrong_magic,
        raw_frame(1, 0, &[], b"LNSD\x01"),
        b"\0\0\0\0".to_vec(),
    ] {
        let mut link = sidecar.raw_link();
        link.send(&bytes);
        assert_eq!(link.expect_fault().0, LINK_BAD_FRAME.number);
    }
    let mut twice = sidecar.raw_publisher(1);
    let mut again = Vec::new();
    ToSidecar::Hello(hello(1)).encode(&mut again);
    twice.send(&again);
    assert_eq!(twice.expect_fault().0, LINK_BAD_FRAME.number);
    assert_eq!(
        sidecar.raw_link().expect_fault().0,
        LINK_BAD_FRAME.number,
        "no hello within 5 s"
    );
}

#[test]
fn unknown_critical_option_is_refused_and_other_options_are_ignored() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    link.send(&raw_frame(
        PUBLISH,
        0,
        &option(0x8fff, b"x"),
        &publication(1, "1"),
    ));
    link.send(&raw_frame(
        PUBLISH,
        0,
        &option(0x0fff, b"x"),
        &publication(2, "2"),
    ));
    // Unknown flags are ignored too.
    link.send(&raw_frame(
        PUBLISH,
        0xf0,
        &[option(1, b""), option(2, &[0; 300])].concat(),
        &publication(3, "3"),
    ));
    let answers = link.read_until_ack(3);
    let [ToPublisher::Refusal(refusal)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(
        (refusal.sequence, refusal.code),
        (1, LINK_UNKNOWN_OPTION.number)
    );
    assert!(refusal.message.contains("0x8fff"), "{}", refusal.message);
    browser.expect_message("a", json!(2));
    browser.expect_message("a", json!(3));
}

#[test]
fn publisher_that_reads_nothing_delays_no_other_publisher() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let mut stalled = sidecar.raw_publisher(1);
    stalled
        .stream
        .set_write_timeout(Some(std::time::Duration::from_millis(200)))
        .unwrap();
    // Each refusal is larger than its frame, so that the buffer for answers fills first.
    let bad = publish(1, &"*".repeat(200), "x");
    let many: Vec<u8> = bad.repeat(100);
    use std::io::Write as _;
    for _ in 0..2_000 {
        if stalled.stream.write_all(&many).is_err() {
            break;
        }
    }
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn flooding_publishers_do_not_starve_others() {
    let sidecar = sidecar();
    let floods = [sidecar.flood(1), sidecar.flood(2)];
    let mut browser = sidecar.subscriber();
    let publisher = sidecar.publisher();
    for number in 0..10 {
        publisher.publish("a", number);
        browser.expect_message("a", json!(number));
    }
    drop(floods);
}

#[test]
fn flood_of_links_waits_before_it_takes_all_file_descriptors() {
    /// `LINKS_MAX` in `lineside/src/serve.rs`.
    const LINKS_MAX: usize = 5_120;
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let folder = format!("/proc/{}/fd", sidecar.pid());
    let descriptors = || std::fs::read_dir(&folder).unwrap().count();
    let others = descriptors();
    let mut most = 0;
    let mut links = Vec::new();
    for number in 0..LINKS_MAX + 500 {
        links.push(sidecar.raw_link());
        if number % 100 == 0 {
            most = most.max(descriptors());
        }
    }
    assert!(most > LINKS_MAX / 2, "{most}");
    assert!(most <= LINKS_MAX + others, "{most}");
    drop(links);
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn random_bytes_end_only_their_own_link() {
    use proptest::prelude::*;
    use std::io::{Read as _, Write as _};
    let sidecar = sidecar();
    let browser = std::cell::RefCell::new(sidecar.subscriber());
    let publisher = sidecar.publisher();
    let bytes = || prop::collection::vec(any::<u8>(), 0..60);
    let like_a_frame = (
        0..5_u8,
        any::<u8>(),
        prop_oneof![Just(Vec::new()), bytes()],
        bytes(),
    )
        .prop_map(|(kind, flags, options, body)| raw_frame(kind, flags, &options, &body));
    let frames = prop::collection::vec(prop_oneof![3 => like_a_frame, 1 => bytes()], 1..6);
    let strategy = (
        any::<bool>(),
        frames.prop_map(|frames| Bytes::from(frames.concat())),
    );
    check_property(5, 300, &strategy, |(has_hello, bytes)| {
        let mut hostile = sidecar.raw_link();
        if has_hello {
            hostile.handshake(hello(200));
        }
        hostile.stream.write_all(&bytes).unwrap();
        hostile.stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Fails with a reset if the sidecar left bytes unread.
        let _ended = hostile.stream.read_to_end(&mut Vec::new());
        publisher.publish("user:1", 1);
        browser.borrow_mut().expect_message("user:1", json!(1));
        Ok(())
    });
    assert!(!sidecar.log().iter().any(|line| line.contains("panicked")));
}
