use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::{Epoch, Position};

fn split_all(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut buffer = BytesMut::from(bytes);
    std::iter::from_fn(|| Frame::split(&mut buffer).transpose()).collect()
}

fn publish(sequence: u64, publications: &[(&str, &[u8])], once: Option<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    let head = PublishHead {
        sequence,
        wants_receipt: true,
        once,
    };
    encode_publish(&mut out, head, publications.iter().copied());
    out
}

#[test]
fn every_frame_survives_encoding_and_decoding() {
    let epoch = Epoch::new("e").unwrap();
    let to_sidecar = [
        ToSidecar::Hello(Hello {
            version_min: 1,
            version_max: 3,
            publisher: [7; 16],
            done: 9,
            fingerprint: [8; 8],
            name: "puma[1]".into(),
        }),
        ToSidecar::Skip(Skip { through: 12 }),
        ToSidecar::Revoke(Revoke {
            sequence: 13,
            wants_receipt: true,
            revoked_ms: 1_800_000_000_123,
            sub: "42".into(),
            sid: "phone".into(),
        }),
        ToSidecar::Revoke(Revoke {
            sequence: 14,
            wants_receipt: false,
            revoked_ms: 0,
            sub: "42".into(),
            sid: Bytes::new(),
        }),
    ];
    for message in to_sidecar {
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(ToSidecar::decode(&split_all(&out).unwrap()[0]), Ok(message));
    }
    let to_publisher = [
        ToPublisher::Welcome(Welcome {
            version: 1,
            last: 2,
            position: Position(3),
            fingerprint: [4; 8],
            epoch,
        }),
        ToPublisher::Ack(Ack {
            sequence: 1,
            position: Position(2),
        }),
        ToPublisher::Receipt(Receipt {
            sequence: 1,
            position: Position(2),
            duplicate: true,
        }),
        ToPublisher::Refusal(Refusal {
            sequence: 1,
            code: 2,
            message: "no".into(),
        }),
        ToPublisher::Moved(Moved {
            position: Position(2),
        }),
        ToPublisher::Fault(Fault {
            code: 2,
            message: "no".into(),
        }),
    ];
    for message in to_publisher {
        let mut out = Vec::new();
        message.encode(&mut out);
        assert_eq!(
            ToPublisher::decode(&split_all(&out).unwrap()[0]),
            Ok(message)
        );
    }
}

#[test]
fn publish_has_the_documented_bytes() {
    let bytes = publish(258, &[("ab", b"17")], Some(b"id"));
    let drawn: &[u8] = &[
        0, 0, 0, 28, 2, 1, 0, 6, // bytes, kind, flags (wants_receipt), options_bytes
        0x80, 0x01, 0, 2, b'i', b'd', // the critical option `once`
        0, 0, 0, 0, 0, 0, 1, 2, // sequence
        0, 2, 0, 0, 0, 2, b'a', b'b', b'1',
        b'7', // channel_bytes, payload_bytes, channel, payload
    ];
    assert_eq!(bytes, drawn);
}

#[test]
fn publications_share_the_buffer_that_was_read() {
    let bytes = publish(1, &[("a", b"1"), ("b", b"22")], Some(b"x"));
    let ToSidecar::Publish(publish) = ToSidecar::decode(&split_all(&bytes).unwrap()[0]).unwrap()
    else {
        panic!("a publish");
    };
    assert!(publish.wants_receipt && !publish.resent);
    assert_eq!(publish.once, Some(Bytes::from_static(b"x")));
    let pairs: Vec<_> = publish.publications.iter().collect();
    assert_eq!(pairs, [("a".into(), "1".into()), ("b".into(), "22".into())]);
}

#[test]
fn mark_resent_changes_only_publish_frames() {
    let mut bytes = publish(1, &[("a", b"1")], None);
    Publish::mark_resent(&mut bytes);
    let ToSidecar::Publish(publish) = ToSidecar::decode(&split_all(&bytes).unwrap()[0]).unwrap()
    else {
        panic!("a publish");
    };
    assert!(publish.resent && publish.wants_receipt);
    let mut out = Vec::new();
    ToSidecar::Publish(publish).encode(&mut out);
    assert_eq!(out, bytes);
    let mut skip = Vec::new();
    ToSidecar::Skip(Skip { through: 1 }).encode(&mut skip);
    let before = skip.clone();
    Publish::mark_resent(&mut skip);
    assert_eq!(skip, before);
}

/// Encodes a publish with one option of that tag.
fn with_option(tag: u16) -> Vec<u8> {
    let mut bytes = publish(5, &[("a", b"1")], None);
    bytes.splice(
        8..8,
        [tag.to_be_bytes(), [0, 1]]
            .concat()
            .into_iter()
            .chain([b'?']),
    );
    bytes[3] += 5;
    bytes[7] = 5;
    bytes
}

#[test]
fn unknown_critical_option_is_refused_and_any_other_skipped() {
    let critical = ToSidecar::decode(&split_all(&with_option(0x8777)).unwrap()[0]);
    assert_eq!(
        critical,
        Err(FrameError::UnknownOption {
            tag: 0x8777,
            sequence: Some(5)
        })
    );
    let other = ToSidecar::decode(&split_all(&with_option(0x0777)).unwrap()[0]);
    assert!(matches!(
        other,
        Ok(ToSidecar::Publish(Publish { sequence: 5, .. }))
    ));
}

#[test]
fn invalid_frames_are_refused() {
    assert_eq!(
        split_all(&[0, 0, 0, 3, 1, 0, 0]),
        Err(FrameError::Length(3))
    );
    assert_eq!(
        split_all(&[255, 0, 0, 0]),
        Err(FrameError::Length(0xFF00_0000))
    );
    let options = split_all(&[0, 0, 0, 4, 2, 0, 0, 1]);
    assert_eq!(
        options,
        Err(FrameError::Truncated {
            kind: 2,
            field: "options"
        })
    );
    for (bytes, error) in [
        (&[0, 0, 0, 4, 99, 0, 0, 0][..], FrameError::UnknownKind(99)),
        (
            &[0, 0, 0, 5, 3, 0, 0, 0, 1],
            FrameError::Truncated {
                kind: 3,
                field: "through",
            },
        ),
        (
            &[0, 0, 0, 8, 1, 0, 0, 0, b'H', b'T', b'T', b'P'],
            FrameError::Magic,
        ),
        (
            &[0, 0, 0, 5, 2, 0, 0, 1, 0],
            FrameError::Truncated {
                kind: 2,
                field: "sequence",
            },
        ),
    ] {
        assert_eq!(ToSidecar::decode(&split_all(bytes).unwrap()[0]), Err(error));
    }
    let mut cut = publish(1, &[("a", b"1")], None);
    cut.truncate(cut.len() - 1);
    cut[3] -= 1;
    let cut = ToSidecar::decode(&split_all(&cut).unwrap()[0]);
    assert_eq!(
        cut,
        Err(FrameError::Truncated {
            kind: 2,
            field: "a publication"
        })
    );
}

#[test]
fn incomplete_frame_waits_for_the_rest() {
    let bytes = publish(1, &[("a", b"1")], None);
    for cut in 0..bytes.len() {
        let mut buffer = BytesMut::from(&bytes[..cut]);
        assert_eq!(Frame::split(&mut buffer), Ok(None));
        assert_eq!(buffer.len(), cut);
        buffer.extend_from_slice(&bytes[cut..]);
        assert!(matches!(Frame::split(&mut buffer), Ok(Some(_))));
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in any::<u8>()) {
        if let Ok(frames) = split_all(&bytes) {
            for frame in frames {
                let known = Frame { kind, ..frame };
                if let Ok(message) = ToSidecar::decode(&known) {
                    let mut out = Vec::new();
                    message.encode(&mut out);
                    prop_assert!(ToSidecar::decode(&split_all(&out).unwrap()[0]).is_ok());
                }
                if let Ok(message) = ToPublisher::decode(&known) {
                    let mut out = Vec::new();
                    message.encode(&mut out);
                    prop_assert_eq!(ToPublisher::decode(&split_all(&out).unwrap()[0]), Ok(message));
                }
            }
        }
    }
}
