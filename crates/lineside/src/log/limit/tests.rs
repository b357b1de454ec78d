use super::*;

const REFUSED: Kind = ("request_refused", Level::Warn);

/// Number of lines that are admitted of 1,000 in a second.
fn admitted(limit: &mut Limit, second: u64) -> usize {
    (0..1_000).filter(|_| limit.admit(REFUSED, second)).count()
}

#[test]
fn lines_of_one_kind_are_limited_at_once_and_per_second() {
    let mut limit = Limit::default();
    assert_eq!(admitted(&mut limit, 7), 200);
    // Another kind, and the same event at another level.
    assert!(limit.admit(("listening", Level::Info), 7));
    assert!(limit.admit(("request_refused", Level::Info), 7));
    assert_eq!(admitted(&mut limit, 8), 20);
    assert_eq!(admitted(&mut limit, 11), 60);
    assert_eq!(admitted(&mut limit, u64::MAX), 200);
    // The clock was set back, and runs on.
    assert_eq!(admitted(&mut limit, 3), 0);
    assert_eq!(admitted(&mut limit, 4), 20);
}

#[test]
fn omitted_lines_are_counted_until_they_are_taken() {
    let mut limit = Limit::default();
    admitted(&mut limit, 7);
    admitted(&mut limit, 8);
    let omitted = Omitted {
        event: "request_refused",
        level: Level::Warn,
        lines: 1_780,
    };
    assert_eq!(limit.take_omitted(), [omitted]);
    assert_eq!(limit.take_omitted(), []);
}
