use bytes::BytesMut;

use super::*;

fn hand_off() -> HandOff {
    HandOff {
        peer: "203.0.113.7".into(),
        origin: "https://shop.example.org".into(),
        request: Bytes::from_static(b"GET /lineside HTTP/1.1\r\n\r\nbehind"),
        cable: None,
    }
}

fn split(bytes: &[u8]) -> Frame {
    Frame::split(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

#[test]
fn frames_survive_encoding_and_decoding() {
    let mut bytes = Vec::new();
    hand_off().encode(&mut bytes);
    assert_eq!(bytes[4], HAND_OFF);
    assert_eq!(HandOff::decode(&split(&bytes)), Ok(hand_off()));

    let mut bytes = Vec::new();
    let cable = HandOff {
        cable: Some(Bytes::from_static(b"{}")),
        ..hand_off()
    };
    cable.encode(&mut bytes);
    assert_eq!(bytes[6..14], [0, 6, 0x80, 2, 0, 2, b'{', b'}']);
    assert_eq!(HandOff::decode(&split(&bytes)), Ok(cable));

    let mut bytes = Vec::new();
    Taken.encode(&mut bytes);
    assert_eq!(bytes, [0, 0, 0, 4, 144, 0, 0, 0]);
    assert!(Taken::is(&split(&bytes)));
}

#[test]
fn truncated_frame_is_refused_with_the_field() {
    let mut whole = Vec::new();
    hand_off().encode(&mut whole);
    for (kept, field) in [
        (0, "peer_bytes"),
        (3, "origin_bytes"),
        (14, "peer"),
        (38, "origin"),
    ] {
        let mut bytes = whole[..8 + kept].to_vec();
        bytes[3] = u8::try_from(bytes.len() - 4).unwrap();
        let truncated = FrameError::Truncated {
            kind: HAND_OFF,
            field,
        };
        assert_eq!(HandOff::decode(&split(&bytes)), Err(truncated), "{kept}");
    }
}

#[test]
fn other_kinds_and_invalid_utf_8_are_refused() {
    assert_eq!(
        HandOff::decode(&split(&[0, 0, 0, 4, 2, 0, 0, 0])),
        Err(FrameError::UnknownKind(2))
    );
    assert_eq!(
        HandOff::decode(&split(&[0, 0, 0, 9, 16, 0, 0, 0, 0, 1, 0, 0, 0xff])),
        Err(FrameError::NotText("peer"))
    );
}
