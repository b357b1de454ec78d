use bytes::BytesMut;

use super::*;
use crate::codes;

fn split(bytes: &[u8]) -> Frame {
    Frame::split(&mut BytesMut::from(bytes)).unwrap().unwrap()
}

fn frame(kind: u8, body: &[u8]) -> Frame {
    Frame {
        kind,
        flags: 0,
        options: Bytes::new(),
        body: Bytes::copy_from_slice(body),
    }
}

#[test]
fn frames_of_the_app_survive_encoding_and_decoding() {
    for (kind, request) in [
        (
            48,
            FromApp::Hello(AppHello {
                version: 1,
                process: "puma[4711]".into(),
                runner: false,
                by_route: None,
            }),
        ),
        (
            48,
            FromApp::Hello(AppHello {
                version: 1,
                process: "puma[4711]".into(),
                runner: true,
                by_route: Some(ByRoute {
                    turbo_keys: vec!["aw==".into()],
                    decided_ms: 7,
                }),
            }),
        ),
        (
            49,
            FromApp::Follow(Follow {
                streams: vec![
                    FollowedAfter {
                        name: "cable:chat".into(),
                        after: Some("e.7".into()),
                    },
                    FollowedAfter {
                        name: "cable:\"é\"".into(),
                        after: None,
                    },
                ],
            }),
        ),
        (
            50,
            FromApp::Unfollow(Unfollow {
                streams: vec!["cable:chat".into()],
            }),
        ),
    ] {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        assert_eq!(bytes[4], kind);
        assert_eq!(FromApp::decode(&split(&bytes)), Ok(request));
    }
}

#[test]
fn frames_of_the_sidecar_survive_encoding_and_decoding() {
    for (kind, reply) in [
        (
            176,
            ToApp::Welcome(AppWelcome {
                version: 1,
                cursor: "e.7".into(),
            }),
        ),
        (
            177,
            ToApp::Followed(Followed {
                streams: vec![FollowedFrom {
                    name: "cable:chat".into(),
                    cursor: "e.7".into(),
                    lost: true,
                }],
            }),
        ),
        (
            178,
            ToApp::Published(Published {
                stream: "cable:é".into(),
                cursor: "e.8".into(),
                payload: Bytes::from_static(b"{\"a\": 1}"),
            }),
        ),
        (
            179,
            ToApp::Reached(Reached {
                cursor: "e.9".into(),
            }),
        ),
        (
            134,
            ToApp::Fault(Fault {
                code: codes::LINK_DRAIN.number,
                message: "stops".into(),
            }),
        ),
    ] {
        let mut bytes = Vec::new();
        reply.encode(&mut bytes);
        assert_eq!(bytes[4], kind);
        assert_eq!(ToApp::decode(&split(&bytes)), Ok(reply));
    }
}

#[test]
fn published_has_the_documented_bytes() {
    let mut bytes = Vec::new();
    encode_published(&mut bytes, "cable:a", "e.1", b"17");
    assert_eq!(bytes, b"\0\0\0\x13\xb2\0\0\0\0\x07\x03cable:ae.117");
}

#[test]
fn unknown_fields_are_ignored() {
    let hello = frame(48, br#"{"version":2,"process":"a","commands":true}"#);
    let expected = AppHello {
        version: 2,
        process: "a".into(),
        runner: false,
        by_route: None,
    };
    assert_eq!(FromApp::decode(&hello), Ok(FromApp::Hello(expected)));
}

#[test]
fn keys_are_not_shown() {
    let decision = ByRoute {
        turbo_keys: vec!["aw==".into()],
        decided_ms: 7,
    };
    let shown = format!("{decision:?}");
    assert_eq!(shown, "ByRoute { turbo_keys: 1, decided_ms: 7 }");
}

#[test]
fn invalid_frames_are_refused() {
    for (kind, name) in [(48, "AppHello"), (49, "Follow"), (50, "Unfollow")] {
        for body in ["", "{}", "[]", r#"{"streams":[1]}"#, "\u{fffd}"] {
            assert_eq!(
                FromApp::decode(&frame(kind, body.as_bytes())),
                Err(FrameError::NotJson(name))
            );
        }
    }
    assert_eq!(
        FromApp::decode(&frame(60, b"{}")),
        Err(FrameError::UnknownKind(60))
    );
    for (body, field) in [
        (&b"\0"[..], "stream_bytes"),
        (b"\0\x02", "cursor_bytes"),
        (b"\0\x02\x03a", "stream"),
        (b"\0\x02\x03abe.", "cursor"),
    ] {
        let error = FrameError::Truncated { kind: 178, field };
        assert_eq!(ToApp::decode(&frame(178, body)), Err(error));
    }
    assert_eq!(
        ToApp::decode(&frame(178, b"\0\x01\x01\xffe1")),
        Err(FrameError::NotText("stream"))
    );
}
