use super::*;

const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];
const THREE: [u8; 16] = [3; 16];

fn greeting(last: u64, replaces: Option<u64>) -> Result<Greeting, PublishersFull> {
    Ok(Greeting { last, replaces })
}

#[test]
fn a_frame_is_new_once() {
    let mut publishers = Publishers::new(2);
    assert_eq!(publishers.hello(ONE, 0, 1, 0), greeting(0, None));
    assert_eq!(publishers.admit(ONE, 1, 1), Admission::New);
    assert_eq!(publishers.admit(ONE, 1, 1), Admission::Known);
    assert_eq!(publishers.admit(ONE, 1, 2), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn a_reconnect_is_told_what_was_dealt_with() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    publishers.admit(ONE, 1, 1);
    publishers.unlink(ONE, 1, 5);
    assert_eq!(publishers.hello(ONE, 0, 2, 9), greeting(1, None));
    assert_eq!(publishers.admit(ONE, 2, 1), Admission::Known);
}

#[test]
fn the_first_sequence_follows_what_the_publisher_has_done_with() {
    let mut publishers = Publishers::new(2);
    assert_eq!(publishers.hello(ONE, 7, 1, 0), greeting(7, None));
    assert_eq!(publishers.admit(ONE, 1, 7), Admission::Known);
    assert_eq!(publishers.admit(ONE, 1, 8), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn a_publisher_that_has_done_with_more_than_is_known_of_it_is_believed() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    publishers.admit(ONE, 1, 1);
    publishers.unlink(ONE, 1, 0);
    assert_eq!(publishers.hello(ONE, 7, 2, 0), greeting(7, None));
    assert_eq!(publishers.admit(ONE, 2, 7), Admission::Known);
    assert_eq!(publishers.admit(ONE, 2, 8), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn a_newer_link_replaces_the_older_one_whichever_is_heard_first() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    assert_eq!(publishers.hello(ONE, 0, 2, 0), greeting(0, Some(1)));
    assert_eq!(publishers.admit(ONE, 1, 1), Admission::Replaced);
    assert_eq!(publishers.admit(ONE, 2, 1), Admission::New);

    assert_eq!(
        publishers.hello(ONE, 0, 1, 0),
        greeting(1, None),
        "an older hello comes late"
    );
    assert_eq!(publishers.admit(ONE, 1, 2), Admission::Replaced);
    assert_eq!(publishers.skip(ONE, 1, 9), Admission::Replaced);
    publishers.unlink(ONE, 1, 0);
    assert_eq!(publishers.admit(ONE, 2, 2), Admission::New);
}

#[test]
fn frames_without_a_hello_or_after_the_end_are_discarded() {
    let mut publishers = Publishers::new(2);
    assert_eq!(publishers.admit(ONE, 1, 1), Admission::Replaced);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    publishers.unlink(ONE, 1, 0);
    assert_eq!(publishers.admit(ONE, 1, 1), Admission::Replaced);
}

#[test]
fn a_jump_is_counted_and_taken_but_a_skip_is_no_jump() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    assert_eq!(publishers.skip(ONE, 1, 3), Admission::New);
    assert_eq!(publishers.admit(ONE, 1, 4), Admission::New);
    assert_eq!(publishers.gaps(), 0);
    assert_eq!(publishers.admit(ONE, 1, 9), Admission::New);
    assert_eq!(publishers.gaps(), 1);
    assert_eq!(publishers.admit(ONE, 1, 8), Admission::Known);
    assert_eq!(publishers.admit(ONE, 1, u64::MAX), Admission::New);
    assert_eq!(publishers.admit(ONE, 1, u64::MAX), Admission::Known);
}

#[test]
fn when_full_the_longest_unlinked_publisher_is_forgotten() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    publishers.hello(TWO, 0, 2, 0).unwrap();
    publishers.admit(ONE, 1, 1);
    publishers.admit(TWO, 2, 1);
    assert_eq!(publishers.hello(THREE, 0, 3, 0), Err(PublishersFull(2)));
    publishers.unlink(TWO, 2, 10);
    publishers.unlink(ONE, 1, 20);
    publishers.hello(THREE, 0, 4, 30).unwrap();
    assert_eq!(
        publishers.hello(ONE, 0, 5, 30),
        greeting(1, None),
        "the younger is remembered"
    );
    assert_eq!(
        publishers.hello(TWO, 0, 6, 30),
        Err(PublishersFull(2)),
        "the older is not"
    );
}

#[test]
fn answers_are_kept_up_to_a_number_and_until_the_publisher_has_them() {
    let mut publishers = Publishers::new(2);
    publishers.hello(ONE, 0, 1, 0).unwrap();
    let answer = |receipt| Answer::Landed {
        receipt: Position(receipt),
        duplicate: false,
    };
    let count = ANSWERS_MAX as u64;
    for sequence in 1..=count + 1 {
        publishers.admit(ONE, 1, sequence);
        publishers.remember(ONE, sequence, answer(sequence));
    }
    assert_eq!(publishers.answer(ONE, 1), None);
    assert_eq!(publishers.answer(ONE, 2), Some(&answer(2)));
    assert_eq!(publishers.answer(ONE, count + 1), Some(&answer(count + 1)));
    publishers.hello(ONE, count, 2, 0).unwrap();
    assert_eq!(publishers.answer(ONE, count), None);
    assert_eq!(publishers.answer(ONE, count + 1), Some(&answer(count + 1)));
}
