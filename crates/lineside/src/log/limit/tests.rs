use super::*;

#[test]
fn lines_of_one_kind_are_limited_per_second_and_counted() {
    let mut limit = Limit::default();
    let refused = ("request_refused", Level::Warn);
    let admitted =
        |limit: &mut Limit, kind, second| (0..200).filter(|_| limit.admit(kind, second)).count();
    assert_eq!(admitted(&mut limit, refused, 7), 50);
    // Another kind, and the same event at another level.
    assert!(limit.admit(("listening", Level::Info), 7));
    assert!(limit.admit(("request_refused", Level::Info), 7));
    assert_eq!(admitted(&mut limit, refused, 8), 50);
    let omitted = Omitted {
        event: "request_refused",
        level: Level::Warn,
        lines: 300,
    };
    assert_eq!(limit.take_omitted(), [omitted]);
    assert_eq!(limit.take_omitted(), []);
    // The clock was set back.
    assert!(limit.admit(refused, 3));
}
