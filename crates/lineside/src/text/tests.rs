use super::*;

const TOKEN: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

#[test]
fn tokens_are_redacted_by_their_shape() {
    for (text, expected) in [
        ("nothing is at \"/a/@\"", "nothing is at \"/a/[redacted]\""),
        (
            "the origin \"https://@\" is",
            "the origin \"https://[redacted]\" is",
        ),
        ("/x?token=@&a=1", "/x?token=[redacted]&a=1"),
        ("/x?TOKEN=abc%2Fdef+g;b", "/x?TOKEN=[redacted];b"),
        ("access_token=short", "access_token=[redacted]"),
        (
            "lineside-v1, lineside.token.abc",
            "lineside-v1, lineside.token.[redacted]",
        ),
        ("lineside.token.@", "lineside.token.[redacted]"),
        ("a cookie lineside=@; b", "a cookie lineside=[redacted]; b"),
        ("é@é@", "é[redacted]é[redacted]"),
    ] {
        assert_eq!(redact(&text.replace('@', TOKEN)), expected);
    }
}

#[test]
fn other_text_is_not_redacted() {
    for text in [
        "",
        "https://www.shop.example",
        "https://k8s-default-ingress-abcdef1234567890-12345678901.us-east-1.elb.amazonaws.com",
        "127.0.0.1:8090",
        "the token has 9000 bytes",
        "lineside.token.",
        "token=",
        "Z2lkOi8vYXBwL09yZGVyLzc",
        "\u{202e}…",
    ] {
        assert!(
            matches!(redact(text), Cow::Borrowed(same) if same == text),
            "{text}"
        );
    }
}

#[test]
fn unsafe_characters_are_escaped_and_letters_are_not() {
    let hostile = "a\u{1b}[31m\u{9b}\r\n\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}é 中 🚲";
    assert_eq!(
        printable(hostile),
        r"a\u{1b}[31m\u{9b}\u{d}\u{a}\u{202e}\u{2066}\u{200b}\u{feff}\u{e0041}é 中 🚲"
    );
}

#[test]
fn json_keeps_its_value_without_unsafe_characters() {
    let json = "{\r\n\t\"a\u{202e}\": \"\u{7f}\u{e0041} é\"}";
    let line = printable_json(json);
    assert_eq!(line, r#"{   "a\u202e": "\u007f\udb40\udc41 é"}"#);
    let value = |text| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&line), value(json));
}

#[test]
fn names_of_records_are_decoded() {
    let order = "Z2lkOi8vYXBwL09yZGVyLzc";
    assert_eq!(readable_channel(order).unwrap(), "gid://app/Order/7");
    assert_eq!(
        readable_channel(&format!("cable:{order}:lines")).unwrap(),
        "cable:gid://app/Order/7:lines"
    );
    // Not base64url, not UTF-8, and with a character that is not printed.
    for other in ["orders", "user:7", "Z2lkOi8v!", "Z2lkOi8v_w", "Z2lkOi8vGw"] {
        assert_eq!(readable_channel(other), None, "{other}");
    }
    assert_eq!(
        with_record_names(&format!("no right to \"{order}:a\"")),
        format!("no right to \"{order} (gid://app/Order/7):a\"")
    );
}
