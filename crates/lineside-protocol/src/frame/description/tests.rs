use bytes::{Bytes, BytesMut};

use super::*;

fn split(bytes: &[u8]) -> Frame {
    Frame::split(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

fn reply(kind: u8, body: &'static [u8]) -> Result<DescriptionReply, FrameError> {
    DescriptionReply::decode(&Frame {
        kind,
        flags: 0,
        options: Bytes::new(),
        body: Bytes::from_static(body),
    })
}

#[test]
fn description_survives_encoding_and_decoding() {
    let mut bytes = Vec::new();
    DescriptionRequest.encode(&mut bytes);
    assert_eq!(split(&bytes).kind, DESCRIPTION);
    for expected in [
        DescriptionReply::Described(Description {
            version: "0.1.0".into(),
            bind: "127.0.0.1:8090".into(),
            admin: "none".into(),
            path: "/live\"".into(),
            cable_path: "/cable".into(),
            cable_identity: "required".into(),
            turbo_keys: 2,
            fingerprints: vec![[7; 8], [0; 8]],
        }),
        DescriptionReply::Fault(Fault {
            code: 101,
            message: "unknown".into(),
        }),
    ] {
        let mut bytes = Vec::new();
        expected.encode(&mut bytes);
        assert_eq!(DescriptionReply::decode(&split(&bytes)), Ok(expected));
    }
}

#[test]
fn invalid_descriptions_are_refused_and_new_fields_are_not() {
    let text = FrameError::NotText("the description");
    assert_eq!(reply(DESCRIBED, b""), Err(text.clone()));
    assert_eq!(reply(DESCRIBED, b"{\"version\":\"1\"}"), Err(text));
    assert_eq!(reply(130, &[0; 16]), Err(FrameError::UnknownKind(130)));
    let newer = br#"{"version":"9","bind":"","admin":"","path":"","fingerprints":[],"new":1}"#;
    assert!(matches!(
        reply(DESCRIBED, newer),
        Ok(DescriptionReply::Described(_))
    ));
}
