use super::*;

const AT_MS: u64 = 1_795_792_259_378;

fn line(format: Format, level: Level, fields: &[Field<'_>]) -> String {
    let line = format.line(AT_MS, level, "request_refused", fields);
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn logfmt_has_the_time_in_utc_and_plain_values_without_quotes() {
    let fields: [Field<'_>; 3] = [
        ("bind", &"127.0.0.1:8090"),
        ("user", &"Zoë"),
        ("empty", &""),
    ];
    assert_eq!(
        line(Format::Logfmt, Level::Info, &fields),
        "at=2026-11-27T15:10:59.378Z level=info event=request_refused bind=127.0.0.1:8090 user=Zoë empty=\"\""
    );
}

#[test]
fn json_has_the_same_names_and_strings() {
    let hostile = "a\u{1b}\"\u{202e}";
    let line = line(
        Format::Json,
        Level::Warn,
        &[("status", &403), ("message", &hostile)],
    );
    assert!(!line.contains(is_unsafe), "{line:?}");
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        value,
        serde_json::json!({
            "at": "2026-11-27T15:10:59.378Z",
            "level": "warn",
            "event": "request_refused",
            "status": "403",
            "message": hostile
        })
    );
}

#[test]
fn text_is_short_and_ends_with_the_sentences() {
    let fields: [Field<'_>; 3] = [
        ("message", &"the origin \"x\" is not allowed\r\n"),
        ("peer", &"::1"),
        ("status", &403),
    ];
    assert_eq!(
        line(Format::Text, Level::Warn, &fields),
        r#"15:10:59Z WARN: request refused: peer=::1 status=403: the origin "x" is not allowed\u{d}\u{a}"#
    );
    assert_eq!(
        line(Format::Text, Level::Info, &[]),
        "15:10:59Z request refused"
    );
}

#[test]
fn control_characters_of_a_value_are_escaped() {
    let hostile = "x\r\nlevel=info event=fine \u{1b}[31m \u{202e} \"\\ \u{7f}\u{85}";
    let line = line(Format::Logfmt, Level::Warn, &[("origin", &hostile)]);
    assert!(!line.contains(is_unsafe), "{line}");
    let quoted =
        r#"origin="x\u{d}\u{a}level=info event=fine \u{1b}[31m \u{202e} \"\\ \u{7f}\u{85}""#;
    assert!(line.ends_with(quoted), "{line}");
}

#[test]
fn tokens_are_redacted_and_records_named_in_every_format() {
    let token = format!("eyJhbGciOiJIUzI1NiJ9.e30.{}", "s".repeat(43));
    let path = format!("{}/{token}", "/x".repeat(120));
    for format in [Format::Text, Format::Logfmt, Format::Json] {
        let line = line(
            format,
            Level::Warn,
            &[("message", &path), ("channel", &"Z2lkOi8vYXBwL09yZGVyLzc")],
        );
        assert!(
            !line.contains("eyJ") && line.contains("[redacted]"),
            "{line}"
        );
        assert!(line.contains("gid://app/Order/7"), "{line}");
    }
}

#[test]
fn long_value_is_cut() {
    let line = line(Format::Logfmt, Level::Info, &[("v", &"y".repeat(100_000))]);
    assert!(line.len() < 450 && line.ends_with("…\""), "{line}");
}

#[test]
fn dates_are_those_of_the_calendar() {
    for (days, expected) in [
        (0, (1970, 1, 1)),
        (59, (1970, 3, 1)),
        (11_016, (2000, 2, 29)),
        (11_017, (2000, 3, 1)),
        (20_784, (2026, 11, 27)),
        (47_540, (2100, 2, 28)),
        (47_541, (2100, 3, 1)),
    ] {
        assert_eq!(date(days), expected, "{days}");
    }
}
