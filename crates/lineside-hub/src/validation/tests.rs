use bytes::{BufMut, BytesMut};
use lineside_protocol::frame::{Frame, PublishHead, ToSidecar, encode_publish};

use super::*;

/// A publish frame, encoded and decoded as on the link.
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

/// Publications of a frame, or the reason for rejecting it.
fn validated(
    frame: &Publish,
    payload_bytes_max: usize,
) -> Result<Vec<ValidPublication>, Rejection> {
    match Proposal::publish(frame, payload_bytes_max).change {
        Change::Publish { publications, .. } => Ok(publications),
        Change::Reject(rejection) => Err(rejection),
        change => panic!("{change:?}"),
    }
}

fn rejected(publications: &[(&[u8], &[u8])]) -> Rejection {
    validated(&frame(None, publications), 100).unwrap_err()
}

#[test]
fn every_kind_of_json_value_is_accepted() {
    for payload in [
        "{}",
        "[1,2]",
        "\"é\\u00e9\"",
        "-0.5e3",
        "true",
        "null",
        " {\"a\" : {\"b\":[]}} \n",
    ] {
        let valid = validated(&frame(None, &[(b"a", payload.as_bytes())]), 100).unwrap();
        assert_eq!(
            (&*valid[0].channel, &*valid[0].payload),
            ("a", payload.as_bytes())
        );
    }
}

#[test]
fn reserved_channel_names_are_accepted_from_publishers() {
    let frame = frame(None, &[(b"user:42", b"1"), (b"cable:Z2lk", b"2")]);
    assert_eq!(validated(&frame, 100).unwrap().len(), 2);
}

#[test]
fn payload_that_is_not_one_json_value_in_utf_8_is_rejected() {
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
        let rejection = rejected(&[(b"orders", payload)]);
        assert_eq!(rejection.code, LINK_BAD_PAYLOAD, "{payload:?}");
        assert!(
            rejection
                .message
                .starts_with("the payload for \"orders\" is not JSON: "),
            "{}",
            rejection.message
        );
    }
}

#[test]
fn payload_with_over_100_levels_is_rejected_without_recursion() {
    let nested = |levels: usize, inner: &str| {
        let open = "[{\"a\":".repeat(levels / 2) + &"[".repeat(levels % 2);
        let close = "]".repeat(levels % 2) + &"}]".repeat(levels / 2);
        open + inner + &close
    };
    let validate = |json: &str| {
        let frame = frame(None, &[(b"a", json.as_bytes())]);
        validated(&frame, json.len()).map(drop)
    };
    assert_eq!(validate(&nested(100, "1")), Ok(()));
    // Brackets in strings and closed levels do not count.
    let flat = nested(99, &r#"["[[{{\"[[","\\",1],"#.repeat(60)).replace(",]", "]");
    assert_eq!(validate(&flat), Ok(()));
    assert_eq!(
        validate(&flat.replace(",1]", ",{}]")).unwrap_err().code,
        LINK_BAD_PAYLOAD
    );
    for levels in [101, 102, 30_000, 200_000] {
        let rejection = validate(&nested(levels, "1")).unwrap_err();
        assert_eq!(rejection.code, LINK_BAD_PAYLOAD);
        assert_eq!(
            rejection.message,
            "the payload for \"a\" nests deeper than 100 levels, the limit of common JSON readers; publish flatter data"
        );
    }
}

#[test]
fn payload_larger_than_the_limit_is_rejected() {
    let json = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into_bytes();
    assert!(validated(&frame(None, &[(b"a", &json(100))]), 100).is_ok());
    let rejection = rejected(&[(b"a", &json(101))]);
    assert_eq!(rejection.code, LINK_TOO_LARGE);
    assert_eq!(
        rejection.message,
        "the payload for \"a\" has 101 bytes; the maximum is 100"
    );
}

#[test]
fn invalid_channel_name_is_shown_short_and_escaped() {
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
        let rejection = rejected(&[(name, b"1")]);
        assert_eq!(rejection.code, LINK_BAD_CHANNEL);
        assert!(
            rejection.message.starts_with(begins),
            "{}",
            rejection.message
        );
        assert!(!rejection.message.chars().any(char::is_control));
        assert!(rejection.message.len() < 300);
    }
}

#[test]
fn one_invalid_publication_rejects_the_frame() {
    assert_eq!(
        rejected(&[(b"a", b"1"), (b"b", b"{")]).code,
        LINK_BAD_PAYLOAD
    );
}

#[test]
fn once_id_longer_than_the_limit_is_rejected() {
    let longest = [b'x'; ONCE_ID_BYTES_MAX];
    assert!(validated(&frame(Some(&longest), &[(b"a", b"1")]), 100).is_ok());
    let longer = [b'x'; ONCE_ID_BYTES_MAX + 1];
    let rejection = validated(&frame(Some(&longer), &[(b"a", b"1")]), 100).unwrap_err();
    assert_eq!(
        rejection.message,
        "the once id has 256 bytes; the maximum is 255"
    );
}

#[test]
fn empty_once_id_is_rejected() {
    let rejection = validated(&frame(Some(b""), &[(b"a", b"1")]), 100).unwrap_err();
    assert_eq!(
        (rejection.code, rejection.message.as_str()),
        (
            LINK_BAD_ONCE,
            "the once id is empty; give 1 to 255 bytes, or none"
        )
    );
    assert!(validated(&frame(Some(b"1"), &[(b"a", b"1")]), 100).is_ok());
}
