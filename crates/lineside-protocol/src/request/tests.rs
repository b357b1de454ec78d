use proptest::prelude::*;

use super::*;
use crate::Cursor;

#[test]
fn connect_is_parsed_with_all_fields() {
    let text = r#"{"type":"connect","token":"t","after":"e.1","more":1,"ref":9,
        "subscribe":[{"channel":"a","token":"c","after":"unknown"},{"channel":"b"}]}"#;
    let entry = |channel: &str| Subscribe {
        channel: channel.into(),
        token: None,
        after: None,
    };
    assert_eq!(
        Request::parse(text),
        Ok(Request::Connect(Connect {
            token: Some("t".into()),
            after: Cursor::parse("e.1").map(After::Cursor),
            subscribe: vec![
                Subscribe {
                    token: Some("c".into()),
                    after: Some(After::Unknown),
                    ..entry("a")
                },
                entry("b")
            ],
            reference: Some(Ref(9.into())),
        }))
    );
}

#[test]
fn cursor_of_the_wrong_type_is_unknown() {
    let request = Request::parse(r#"{"type":"connect","after":17}"#);
    assert_eq!(
        request,
        Ok(Request::Connect(Connect {
            after: Some(After::Unknown),
            ..Connect::default()
        }))
    );
}

#[test]
fn lone_surrogate_becomes_a_character_that_no_channel_name_has() {
    let channel = |written: &str| {
        let text = format!(r#"{{"type":"subscribe","channel":"{written}","ref":7}}"#);
        match Request::parse(&text) {
            Ok(Request::Subscribe { entry, reference }) => {
                assert_eq!(reference, Some(Ref(7.into())), "{written}");
                Ok(entry.channel)
            }
            other => Err(format!("{other:?}")),
        }
    };
    for (written, read) in [
        (r"a\ud800b", "a\0b"),
        (r"\uDFFF", "\0"),
        (r"\ud83d\ude00\ud83d", "\u{1f600}\0"),
        (r"\ud83d\ud83d\ude00", "\0\u{1f600}"),
        (r"\\ud800\udc00é\ud800", "\\ud800\0é\0"),
        (r"\ud800\n\u0041", "\0\nA"),
        (r"\\ud800", r"\ud800"),
    ] {
        assert_eq!(channel(written).as_deref(), Ok(read), "{written}");
    }
    for invalid in [r"\ud80", r"\ud800\u12g4", r"\u+123\ud800", "\\"] {
        assert!(channel(invalid).is_err(), "{invalid}");
    }
}

#[test]
fn invalid_request_is_refused_with_its_ref() {
    for (text, code, reference, part) in [
        ("", BAD_REQUEST, None, "not JSON"),
        ("[1]", BAD_REQUEST, None, "not a JSON object"),
        ("{}", BAD_REQUEST, None, "type is missing"),
        (
            r#"{"type":1,"ref":2}"#,
            BAD_REQUEST,
            Some(2),
            "type must be a string",
        ),
        (
            r#"{"type":"dance","ref":3}"#,
            UNKNOWN_TYPE,
            Some(3),
            "\"dance\"",
        ),
        (
            r#"{"type":"subscribe","ref":4}"#,
            BAD_REQUEST,
            Some(4),
            "channel is missing",
        ),
        (
            r#"{"type":"subscribe","channel":{},"ref":5}"#,
            BAD_REQUEST,
            Some(5),
            "channel must be a string",
        ),
        (
            r#"{"type":"subscribe","channel":"a","ref":[]}"#,
            BAD_REQUEST,
            None,
            "ref must be",
        ),
        (
            r#"{"type":"connect","subscribe":{}}"#,
            BAD_REQUEST,
            None,
            "must be an array",
        ),
        (
            r#"{"type":"connect","subscribe":["a"]}"#,
            BAD_REQUEST,
            None,
            "must be an object",
        ),
        (r#"{"type":"pong"} x"#, BAD_REQUEST, None, "not JSON"),
    ] {
        let error = Request::parse(text).expect_err(text);
        assert_eq!(error.code, code, "{text}");
        assert_eq!(
            error.reference,
            reference.map(|number| Ref(number.into())),
            "{text}"
        );
        assert!(error.message.contains(part), "{text}: {}", error.message);
    }
}

#[test]
fn deeply_nested_request_is_refused() {
    let text = format!(
        r#"{{"type":"pong","x":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert_eq!(
        Request::parse(&text).map_err(|error| error.code),
        Err(BAD_REQUEST)
    );
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let answer = Request::parse(&text);
        prop_assert!(answer.is_err() || text.contains("type"));
    }
}
