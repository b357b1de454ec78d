use proptest::prelude::*;

use super::*;

#[test]
fn cursor_survives_formatting_and_parsing() {
    let cursor = Epoch::new("Ab_9-").unwrap().at(Position(POSITION_MAX));
    assert_eq!(cursor.to_string(), "Ab_9-.9007199254740991");
    assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
}

#[test]
fn invalid_cursor_is_unknown() {
    let long = format!("{}.1", "e".repeat(33));
    for text in [
        "",
        ".",
        "e.",
        ".1",
        "e.-1",
        "e.+1",
        "e.01",
        "e.1 ",
        " e.1",
        "e.1.2",
        "e é.1",
        "e.9007199254740992",
        "e.99999999999999999999999",
        "e.1e3",
        "e.٣",
        "unknown",
        &long,
    ] {
        assert_eq!(After::parse(text), After::Unknown, "{text:?}");
    }
    assert!(matches!(After::parse("e.0"), After::Cursor(_)));
}

#[test]
fn epoch_from_random_bytes_is_valid() {
    let epoch = Epoch::from_random([0xAB; 16]);
    assert_eq!(Epoch::new(epoch.as_str()), Ok(epoch));
}

proptest! {
    #[test]
    fn parsed_cursor_formats_as_the_same_text(text in "\\PC{0,40}") {
        if let Some(cursor) = Cursor::parse(&text) {
            prop_assert_eq!(cursor.to_string(), text);
        }
    }
}
