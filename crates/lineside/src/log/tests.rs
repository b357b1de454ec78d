use super::*;

#[test]
fn plain_values_are_written_without_quotes() {
    let line = text(
        Level::Info,
        "listening",
        &[("bind", &"127.0.0.1:8090"), ("user", &"Zoë")],
    );
    assert_eq!(
        line,
        "level=info event=listening bind=127.0.0.1:8090 user=Zoë"
    );
}

#[test]
fn control_characters_of_a_value_are_escaped() {
    let hostile = "x\r\nlevel=info event=fine \u{1b}[31m \u{202e} \"\\ \u{7f}\u{85}";
    let line = text(
        Level::Warn,
        "origin_refused",
        &[("origin", &hostile), ("empty", &"")],
    );
    assert!(
        line.chars()
            .all(|char| !char.is_control() && char != '\u{202e}'),
        "{line}"
    );
    assert_eq!(line.matches("event=").count(), 2, "{line}");
    assert!(
        line.contains(
            r#"origin="x\u{d}\u{a}level=info event=fine \u{1b}[31m \u{202e} \"\\ \u{7f}\u{85}""#
        ),
        "{line}"
    );
    assert!(line.ends_with("empty=\"\""), "{line}");
}

#[test]
fn long_value_is_truncated() {
    let line = text(Level::Info, "e", &[("v", &"y".repeat(100_000))]);
    assert!(line.len() < 400 && line.ends_with("…\""), "{line}");
}
