use super::*;
use crate::{Epoch, Position, codes};

fn text(frame: &Bytes) -> String {
    String::from_utf8(envelope::text(frame).to_vec()).unwrap()
}

#[test]
fn identifier_comes_back_byte_for_byte() {
    let raw = r#""{ \"b\":1,\"channel\":\"A\\u003c\",\"a\":\"\u00e9\"}""#;
    let command = format!(r#"{{"identifier":{raw},"command":"subscribe","extra":[]}}"#);
    let command = Command::parse(&command).unwrap();
    assert_eq!(command.kind, CommandKind::Subscribe);
    assert_eq!(command.identifier.raw.get(), raw);
    let expected = format!(r#"{{"type":"confirm_subscription","identifier":{raw}}}"#);
    let reply = Reply::ConfirmSubscription {
        identifier: &command.identifier.raw,
        cursor: None,
    };
    assert_eq!(text(&reply.frame()), expected);
}

#[test]
fn message_ends_with_the_payload_of_the_stored_frame() {
    let epoch = Epoch::new("ours").unwrap();
    let hostile = r#"cable:a","data":"b"#;
    for payload in [
        "1",
        &format!("\"{}\"", "<".repeat(200)),
        r#"{","data":":1}"#,
    ] {
        for resent in [false, true] {
            let body = envelope::message(hostile, &epoch, Position(7), payload.as_bytes(), resent);
            let (head, from) = message_head(&message_prefix(r#""{}""#), &body);
            let frame = Bytes::from([&head[..], &body[from..]].concat());
            let expected = format!(r#"{{"identifier":"{{}}","message":{payload}}}"#);
            assert_eq!(text(&frame), expected);
            let (head, from) = message_head_with_cursor(&message_prefix(r#""{}""#), &body);
            let with = Bytes::from([&head[..], &body[from..]].concat());
            let cursor =
                format!(r#"{{"identifier":"{{}}","cursor":"ours.7","message":{payload}}}"#);
            assert_eq!(text(&with), cursor);
            let short = expected.len() < 126;
            let length = if short {
                frame[1].into()
            } else {
                usize::from(frame[2]) * 256 + usize::from(frame[3])
            };
            assert_eq!(length, expected.len());
        }
    }
}

#[test]
fn what_rails_ignores_is_no_command() {
    for text in [
        "",
        "no JSON",
        "[]",
        "{}",
        r#"{"command":"subscribe"}"#,
        r#"{"command":"whisper","identifier":"{}"}"#,
        r#"{"command":"subscribe","identifier":{}}"#,
    ] {
        assert!(Command::parse(text).is_none(), "{text}");
    }
    let command = Command::parse(r#"{"command":"message","identifier":"x","data":"{}"}"#).unwrap();
    assert_eq!(command.data.as_deref(), Some("{}"));
    assert_eq!(command.identifier.parameters(), None);
    let command = Command::parse(r#"{"command":"message","identifier":"x","data":{}}"#).unwrap();
    assert_eq!(command.data, None);
}

#[test]
fn module_asks_for_cursors_and_sends_its_own() {
    assert!(Command::asks_for_cursors(
        r#"{"command":"lineside","version":1}"#
    ));
    for text in ["", "[]", r#"{"command":"subscribe"}"#, r#"{"command":1}"#] {
        assert!(!Command::asks_for_cursors(text), "{text}");
    }
    let text = r#"{"command":"subscribe","identifier":"{}","lineside_after":"e.1"}"#;
    assert_eq!(Command::parse(text).unwrap().after.as_deref(), Some("e.1"));
}

#[test]
fn parameters_of_turbo_are_read_beside_others() {
    let identifier = r#""{\"channel\":\"Turbo::StreamsChannel\",\"signed_stream_name\":\"n\",\"lineside_after\":\"e.1\",\"x\":[1]}""#;
    let text = format!(r#"{{"command":"unsubscribe","identifier":{identifier}}}"#);
    let parameters = Command::parse(&text).unwrap().identifier.parameters();
    let expected = Parameters {
        channel: "Turbo::StreamsChannel".into(),
        signed_stream_name: Some("n".into()),
        token: None,
        after: Some("e.1".into()),
        page: None,
    };
    assert_eq!(parameters, Some(expected));
}

#[test]
fn replies_have_the_form_of_rails() {
    let disconnect = Reply::Disconnect {
        reason: "remote",
        reconnect: false,
    };
    assert_eq!(text(&Reply::Welcome.frame()), r#"{"type":"welcome"}"#);
    assert_eq!(
        text(&Reply::Ping { message: 7 }.frame()),
        r#"{"type":"ping","message":7}"#
    );
    assert_eq!(
        text(&disconnect.frame()),
        r#"{"type":"disconnect","reason":"remote","reconnect":false}"#
    );
    assert_eq!(close(codes::CLOSE_DRAIN)[..], [0x88, 2, 0x03, 0xe8]);
    assert_eq!(
        close(codes::CLOSE_PROTOCOL_ERROR)[..],
        [0x88, 2, 0x03, 0xea]
    );
}
