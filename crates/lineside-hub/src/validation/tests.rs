use bytes::{BufMut, BytesMut};
use lineside_protocol::frame::{Frame, PublishHead, ToSidecar, encode_publish};

use super::*;

/// The frame as it comes off the link.
fn frame(once: Option<&[u8]>, publications: &[(&[u8], &[u8])]) -> Publish {
    let mut bytes = Vec::new();
    encode_publish(
        &mut bytes,
        PublishHead {
            sequence: 1,
            wants_receipt: false,
            once,
        },
        [],
    );
    for (channel, payload) in publications {
        bytes.put_u16(channel.len().try_into().unwrap());
        bytes.put_u32(payload.len().try_into().unwrap());
        bytes.put_slice(channel);
        bytes.put_slice(payload);
    }
    let length = u32::try_from(bytes.len() - 4).unwrap();
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    let frame = Frame::split(&mut BytesMut::from(&bytes[..]))
        .unwrap()
        .unwrap();
    let ToSidecar::Publish(publish) = ToSidecar::decode(&frame).unwrap() else {
        panic!("not a publish")
    };
    publish
}

fn refused(publications: &[(&[u8], &[u8])]) -> Refused {
    Checked::inspect(&frame(None, publications), 100)
        .publications
        .unwrap_err()
}

#[test]
fn every_kind_of_json_value_passes() {
    for payload in [
        "{}",
        "[1,2]",
        "\"é\\u00e9\"",
        "-0.5e3",
        "true",
        "null",
        " {\"a\" : {\"b\":[]}} \n",
    ] {
        let checked = Checked::inspect(&frame(None, &[(b"a", payload.as_bytes())]), 100);
        let passed = checked.publications.unwrap();
        assert_eq!(
            (&*passed[0].channel, &*passed[0].payload),
            ("a", payload.as_bytes())
        );
    }
}

#[test]
fn reserved_names_pass_because_publishers_name_channels_in_full() {
    let frame = frame(None, &[(b"user:42", b"1"), (b"cable:Z2lk", b"2")]);
    assert_eq!(Checked::inspect(&frame, 100).publications.unwrap().len(), 2);
}

#[test]
fn what_is_not_one_json_value_in_utf_8_is_refused() {
    let not_json: [&[u8]; 9] = [
        b"",
        b"{",
        b"{} {}",
        b"01",
        b"nul",
        b"'a'",
        b"\"\n\"",
        b"\"\xff\"",
        b"\xef\xbb\xbf{}",
    ];
    for payload in not_json {
        let refused = refused(&[(b"orders", payload)]);
        assert_eq!(refused.code, LINK_BAD_PAYLOAD, "{payload:?}");
        assert!(
            refused
                .message
                .starts_with("the payload for \"orders\" is not JSON: "),
            "{}",
            refused.message
        );
    }
}

#[test]
fn what_nests_too_deep_for_its_readers_is_refused_and_costs_no_stack() {
    let nested = |levels: usize, inner: &str| {
        let open = "[{\"a\":".repeat(levels / 2) + &"[".repeat(levels % 2);
        let close = "]".repeat(levels % 2) + &"}]".repeat(levels / 2);
        open + inner + &close
    };
    let inspect = |json: &str| {
        let frame = frame(None, &[(b"a", json.as_bytes())]);
        Checked::inspect(&frame, json.len()).publications.map(drop)
    };
    assert_eq!(inspect(&nested(100, "1")), Ok(()));
    // Brackets of a text nest nothing, and levels that were closed are over.
    let flat = nested(99, &r#"["[[{{\"[[","\\",1],"#.repeat(60)).replace(",]", "]");
    assert_eq!(inspect(&flat), Ok(()));
    assert_eq!(
        inspect(&flat.replace(",1]", ",{}]")).unwrap_err().code,
        LINK_BAD_PAYLOAD
    );
    for levels in [101, 102, 30_000, 200_000] {
        let refused = inspect(&nested(levels, "1")).unwrap_err();
        assert_eq!(refused.code, LINK_BAD_PAYLOAD);
        assert_eq!(
            refused.message,
            "the payload for \"a\" nests deeper than 100 levels, at which readers of JSON give up; publish it flatter"
        );
    }
}

#[test]
fn a_payload_may_be_as_large_as_the_limit_and_no_larger() {
    let json = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    assert!(
        Checked::inspect(&frame(None, &[(b"a", &json(100))]), 100)
            .publications
            .is_ok()
    );
    let refused = refused(&[(b"a", &json(101))]);
    assert_eq!(refused.code, LINK_TOO_LARGE);
    assert_eq!(
        refused.message,
        "the payload for \"a\" has 101 bytes; at most 100 are taken"
    );
}

#[test]
fn bad_names_are_shown_short_and_on_one_line() {
    let long = "ä".repeat(200);
    let names: [(&[u8], &str); 5] = [
        (
            b"",
            "the channel \"\" is refused: a channel's name must not be empty",
        ),
        (
            b"a\nb\x1b[31m",
            "the channel \"a\\nb\\u{1b}[31m\" is refused: ",
        ),
        (b"a*", "the channel \"a*\" is refused: "),
        (b"a\xff", "the channel \"a\u{fffd}\" is refused: "),
        (long.as_bytes(), "the channel \"ääää"),
    ];
    for (name, begins) in names {
        let refused = refused(&[(name, b"1")]);
        assert_eq!(refused.code, LINK_BAD_CHANNEL);
        assert!(refused.message.starts_with(begins), "{}", refused.message);
        assert!(!refused.message.chars().any(char::is_control));
        assert!(refused.message.len() < 300);
    }
}

#[test]
fn one_bad_publication_refuses_the_frame() {
    assert_eq!(
        refused(&[(b"a", b"1"), (b"b", b"{")]).code,
        LINK_BAD_PAYLOAD
    );
}

#[test]
fn a_once_id_is_limited() {
    let longest = [b'x'; ONCE_ID_BYTES_MAX];
    assert!(
        Checked::inspect(&frame(Some(&longest), &[(b"a", b"1")]), 100)
            .publications
            .is_ok()
    );
    let longer = [b'x'; ONCE_ID_BYTES_MAX + 1];
    let refused = Checked::inspect(&frame(Some(&longer), &[(b"a", b"1")]), 100)
        .publications
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the once id has 256 bytes; at most 255 are taken"
    );
}
