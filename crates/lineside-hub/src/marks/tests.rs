use super::*;

const AGE_MS: u64 = 300_000;

fn key(page: &str) -> MarkKey {
    MarkKey::new(page, "cable:board").unwrap()
}

fn confirmed(position: u64) -> Confirmed {
    let confirmed = Confirmed::default();
    confirmed.raise(Position(position));
    confirmed
}

/// A connection, by its number.
fn connection(number: u64) -> MarkedConnection {
    (0, format!("1.{number}").parse().unwrap())
}

fn open(marks: &mut Marks, page: &str, begun: u64, confirmed: &Confirmed) -> u64 {
    let confirmed = confirmed.clone();
    marks.open(key(page), Position(begun), confirmed, Some(connection(1)))
}

fn begin(marks: &Marks, page: &str, own: u64) -> Begin {
    marks.begin(&key(page), Position(own), connection(2), 0)
}

#[test]
fn keys_of_pages_and_streams_are_unambiguous() {
    assert_ne!(MarkKey::new("a", "bc"), MarkKey::new("ab", "c"));
    assert_eq!(MarkKey::new("", "c"), None);
    assert_eq!(MarkKey::new(&"a".repeat(PAGE_KEY_BYTES_MAX + 1), "c"), None);
    assert!(MarkKey::new(&"a".repeat(PAGE_KEY_BYTES_MAX), "c").is_some());
}

#[test]
fn forgotten_page_begins_after_its_own_cursor() {
    let mut marks = Marks::default();
    let first = open(&mut marks, "page", 5, &confirmed(9));
    let second = open(&mut marks, "page", 9, &confirmed(12));
    marks.forget(&key("page"), first);
    assert_eq!(begin(&marks, "page", 3), Begin::After(Position(12)));
    marks.end(key("page"), second, None, 1_000);
    marks.forget(&key("page"), second);
    assert_eq!(begin(&marks, "page", 3), Begin::Own);
}

#[test]
fn ends_of_subscriptions_are_bounded_and_forget_no_other_page() {
    let mut marks = Marks::default();
    let other = open(&mut marks, "other", 5, &confirmed(0));
    marks.end(key("other"), other, None, 1_000);
    let key = key("page");
    for position in 0..ENDS_MAX as u64 + 10 {
        let number = marks.open(key, Position(position), Confirmed::default(), None);
        marks.end(key, number, None, 1_000);
    }
    assert!(marks.ended.len() < ENDS_MAX);
    assert_eq!(begin(&marks, "other", 3), Begin::After(Position(5)));
    assert_eq!(begin(&marks, "third", 3), Begin::Own);
    let newest = Position(ENDS_MAX as u64 + 9);
    assert_eq!(begin(&marks, "page", 3), Begin::After(newest));
}

#[test]
fn page_begins_after_what_its_newest_connection_has_confirmed() {
    let mut marks = Marks::default();
    assert_eq!(begin(&marks, "page", 3), Begin::Own);
    let first = confirmed(0);
    let number = open(&mut marks, "page", 5, &first);
    assert_eq!(begin(&marks, "page", 3), Begin::After(Position(5)));
    first.raise(Position(9));
    first.raise(Position(8));
    assert_eq!(
        begin(&marks, "page", 3),
        Begin::After(Position(9)),
        "not yet closed"
    );
    marks.end(key("page"), number, None, 1_000);
    first.raise(Position(11));
    assert_eq!(begin(&marks, "page", 3), Begin::After(Position(9)));

    let second = open(&mut marks, "page", 9, &confirmed(20));
    marks.end(key("page"), number, None, 2_000);
    assert_eq!(begin(&marks, "page", 3), Begin::After(Position(20)));
    marks.end(key("page"), second, None, 3_000);
    assert_eq!(begin(&marks, "other", 3), Begin::Own);
}

#[test]
fn visit_goes_on_after_what_was_sent_and_a_later_one_after_what_is_confirmed() {
    let mut marks = Marks::default();
    let received = confirmed(7);
    let number = open(&mut marks, "page", 5, &received);
    marks.end(key("page"), number, Some(Position(12)), 1_000);
    received.raise(Position(30));
    let begin = |number, now_ms| {
        let connection = connection(number);
        marks.begin(&key("page"), Position(3), connection, now_ms)
    };
    assert_eq!(begin(1, 1_500), Begin::After(Position(12)));
    assert_eq!(begin(1, 1_501), Begin::After(Position(7)));
    assert_eq!(begin(2, 1_000), Begin::After(Position(7)));
}

#[test]
fn mark_expires_with_the_history_after_its_end() {
    let mut marks = Marks::default();
    let number = open(&mut marks, "page", 5, &confirmed(0));
    marks.expire(10 * AGE_MS, AGE_MS);
    assert_eq!(
        begin(&marks, "page", 3),
        Begin::After(Position(5)),
        "it is open"
    );
    marks.end(key("page"), number, None, 10 * AGE_MS);
    marks.expire(11 * AGE_MS, AGE_MS);
    assert_eq!(begin(&marks, "page", 3), Begin::After(Position(5)));
    marks.expire(11 * AGE_MS + 1, AGE_MS);
    assert_eq!(begin(&marks, "page", 3), Begin::Own);
    assert!(marks.marks.is_empty() && marks.ended.is_empty());
}

#[test]
fn full_table_forgets_the_mark_that_ended_first_and_replays_nothing_twice() {
    let mut marks = Marks::default();
    let ended = open(&mut marks, "ended", 5, &confirmed(8));
    marks.end(key("ended"), ended, None, 0);
    for number in 0..MARKS_MAX {
        open(&mut marks, &number.to_string(), 1, &confirmed(0));
    }
    assert_eq!(marks.marks.len(), MARKS_MAX);
    assert_eq!(begin(&marks, "ended", 7), Begin::Now);
    assert_eq!(begin(&marks, "new", 8), Begin::Own);
    open(&mut marks, "one more", 20, &confirmed(0));
    assert_eq!(marks.marks.len(), MARKS_MAX, "all are open");
    assert_eq!(begin(&marks, "one more", 19), Begin::Now);
}
