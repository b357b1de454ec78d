use bytes::BytesMut;

use super::*;
use crate::codes;

fn split(bytes: &[u8]) -> Frame {
    Frame::split(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

#[test]
fn frames_survive_encoding_and_decoding() {
    let watch = TailRequest {
        wanted: "scores:*".into(),
    };
    let mut bytes = Vec::new();
    watch.encode(&mut bytes);
    assert_eq!(bytes[4], TAIL);
    assert_eq!(TailRequest::decode(&split(&bytes)), Ok(watch));
    for frame in [
        TailReply::Opened(Cursor::parse("e.7").unwrap()),
        TailReply::Seen(Seen {
            at_ms: 1_795_383_812_110,
            message: Bytes::from_static(b"{}"),
        }),
        TailReply::Missed(12),
        TailReply::Fault(Fault {
            code: codes::LINK_DRAIN.number,
            message: "stops".into(),
        }),
    ] {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        assert_eq!(TailReply::decode(&split(&bytes)), Ok(frame));
    }
}

#[test]
fn invalid_frames_are_refused() {
    let body = |kind, body: &[u8]| Frame {
        kind,
        flags: 0,
        options: Bytes::new(),
        body: Bytes::copy_from_slice(body),
    };
    assert_eq!(
        TailRequest::decode(&body(TAIL, b"\xff")),
        Err(FrameError::NotText("wanted"))
    );
    assert_eq!(
        TailRequest::decode(&body(1, b"a")),
        Err(FrameError::UnknownKind(1))
    );
    for (kind, bytes, error) in [
        (WATCHING, &b"nonsense"[..], FrameError::Epoch),
        (
            SEEN,
            b"1234567",
            FrameError::Truncated {
                kind: SEEN,
                field: "at_ms",
            },
        ),
        (
            MISSED,
            b"",
            FrameError::Truncated {
                kind: MISSED,
                field: "count",
            },
        ),
        (130, &[0; 16], FrameError::UnknownKind(130)),
        (99, b"", FrameError::UnknownKind(99)),
    ] {
        assert_eq!(TailReply::decode(&body(kind, bytes)), Err(error));
    }
}
