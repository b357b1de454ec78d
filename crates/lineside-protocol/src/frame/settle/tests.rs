use bytes::BytesMut;

use super::*;

fn split(bytes: &[u8]) -> Frame {
    Frame::split(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

fn frame(kind: u8, body: &str) -> Frame {
    let mut bytes = Vec::new();
    super::super::encode(&mut bytes, (kind, 0), None, |out| {
        out.extend_from_slice(body.as_bytes());
    });
    split(&bytes)
}

#[test]
fn request_and_replies_survive_encoding_and_decoding() {
    let mut bytes = Vec::new();
    let request = SettleRequest { timeout_ms: 5000 };
    request.encode(&mut bytes);
    assert_eq!(SettleRequest::decode(&split(&bytes)), Ok(request));
    let laggard = Laggard {
        connection: "a1b2".into(),
        protocol: "lineside-v1".into(),
        user: Some("42".into()),
        address: "127.0.0.1".into(),
        channels: vec!["user:42".into(), "é".into()],
        reason: "has not answered".into(),
    };
    for expected in [
        SettleReply::Settled(Settled {
            cursor: "e.7".into(),
            connections: 2,
            laggards: vec![laggard],
            more: 3,
        }),
        SettleReply::Fault(Fault {
            code: 113,
            message: "full".into(),
        }),
    ] {
        let mut bytes = Vec::new();
        expected.encode(&mut bytes);
        assert_eq!(SettleReply::decode(&split(&bytes)), Ok(expected));
    }
}

#[test]
fn invalid_requests_and_replies_are_refused() {
    let text = |kind| Err(FrameError::NotJson(kind));
    for body in ["", "{}", r#"{"timeout_ms":-1}"#, r#"{"timeout_ms":"5"}"#] {
        assert_eq!(
            SettleRequest::decode(&frame(SETTLE, body)),
            text("SettleRequest")
        );
    }
    let other = frame(18, r#"{"timeout_ms":5}"#);
    assert_eq!(
        SettleRequest::decode(&other),
        Err(FrameError::UnknownKind(18))
    );
    assert!(SettleReply::decode(&frame(SETTLED, "{}")).is_err());
    assert_eq!(
        SettleReply::decode(&frame(130, "0123456789abcdef")),
        Err(FrameError::UnknownKind(130))
    );
}
