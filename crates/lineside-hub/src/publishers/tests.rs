use super::*;

const ONE: [u8; 16] = [1; 16];
const TWO: [u8; 16] = [2; 16];
const THREE: [u8; 16] = [3; 16];

fn origin(publisher: PublisherId, link: u64) -> Origin {
    Origin { publisher, link }
}

fn greeting(last: u64, replaces: Option<u64>) -> Result<Greeting, PublishersFull> {
    Ok(Greeting { last, replaces })
}

/// Proposes a sequence, and lands it at once if it is new.
fn admit(publishers: &mut Publishers, origin: Origin, sequence: u64) -> Admission {
    let admission = publishers.propose(origin, sequence);
    if admission == Admission::New {
        assert!(publishers.land(origin.publisher, sequence, 0));
    }
    admission
}

/// Proposes a skip, and lands it at once if it is new.
fn skip(publishers: &mut Publishers, origin: Origin, through: u64) -> Admission {
    let admission = publishers.propose_skip(origin, through);
    if admission == Admission::New {
        assert!(publishers.land(origin.publisher, through, 0));
    }
    admission
}

#[test]
fn sequence_is_new_once() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    assert_eq!(publishers.hello(one, 0, 0), greeting(0, None));
    assert_eq!(admit(&mut publishers, one, 1), Admission::New);
    assert_eq!(admit(&mut publishers, one, 1), Admission::Landed);
    assert_eq!(admit(&mut publishers, one, 2), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn greeting_after_a_reconnect_reports_the_landed_sequence() {
    let mut publishers = Publishers::new(2);
    publishers.hello(origin(ONE, 1), 0, 0).unwrap();
    admit(&mut publishers, origin(ONE, 1), 1);
    publishers.unlink(origin(ONE, 1), 5);
    assert_eq!(publishers.hello(origin(ONE, 2), 0, 9), greeting(1, None));
    assert_eq!(admit(&mut publishers, origin(ONE, 2), 1), Admission::Landed);
}

#[test]
fn first_sequence_follows_the_done_sequence_of_the_hello() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    assert_eq!(publishers.hello(one, 7, 0), greeting(7, None));
    assert_eq!(admit(&mut publishers, one, 7), Admission::Landed);
    assert_eq!(admit(&mut publishers, one, 8), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn done_sequence_beyond_the_landed_one_is_adopted() {
    let mut publishers = Publishers::new(2);
    publishers.hello(origin(ONE, 1), 0, 0).unwrap();
    admit(&mut publishers, origin(ONE, 1), 1);
    publishers.unlink(origin(ONE, 1), 0);
    let two = origin(ONE, 2);
    assert_eq!(publishers.hello(two, 7, 0), greeting(7, None));
    assert_eq!(admit(&mut publishers, two, 7), Admission::Landed);
    assert_eq!(admit(&mut publishers, two, 8), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn newer_link_replaces_the_older_one_whichever_hello_is_first() {
    let mut publishers = Publishers::new(2);
    let (older, newer) = (origin(ONE, 1), origin(ONE, 2));
    publishers.hello(older, 0, 0).unwrap();
    assert_eq!(publishers.hello(newer, 0, 0), greeting(0, Some(1)));
    assert_eq!(admit(&mut publishers, older, 1), Admission::Replaced);
    assert_eq!(admit(&mut publishers, newer, 1), Admission::New);

    assert_eq!(
        publishers.hello(older, 0, 0),
        greeting(1, None),
        "the hello of the older link is late"
    );
    assert_eq!(admit(&mut publishers, older, 2), Admission::Replaced);
    assert_eq!(skip(&mut publishers, older, 9), Admission::Replaced);
    publishers.unlink(older, 0);
    assert_eq!(admit(&mut publishers, newer, 2), Admission::New);
}

#[test]
fn frame_without_hello_or_after_unlink_is_discarded() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    assert_eq!(admit(&mut publishers, one, 1), Admission::Replaced);
    publishers.hello(one, 0, 0).unwrap();
    publishers.unlink(one, 0);
    assert_eq!(admit(&mut publishers, one, 1), Admission::Replaced);
}

#[test]
fn jump_is_accepted_and_counted_but_a_skip_is_no_jump() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    publishers.hello(one, 0, 0).unwrap();
    assert_eq!(skip(&mut publishers, one, 3), Admission::New);
    assert_eq!(admit(&mut publishers, one, 4), Admission::New);
    assert_eq!(publishers.gaps(), 0);
    assert_eq!(admit(&mut publishers, one, 9), Admission::New);
    assert_eq!(publishers.gaps(), 1);
    assert_eq!(admit(&mut publishers, one, 8), Admission::Landed);
    assert_eq!(admit(&mut publishers, one, u64::MAX), Admission::New);
    assert_eq!(admit(&mut publishers, one, u64::MAX), Admission::Landed);
}

#[test]
fn full_table_evicts_the_publisher_that_was_unlinked_first() {
    let mut publishers = Publishers::new(2);
    publishers.hello(origin(ONE, 1), 0, 0).unwrap();
    publishers.hello(origin(TWO, 2), 0, 0).unwrap();
    admit(&mut publishers, origin(ONE, 1), 1);
    admit(&mut publishers, origin(TWO, 2), 1);
    assert_eq!(
        publishers.hello(origin(THREE, 3), 0, 0),
        Err(PublishersFull(2))
    );
    publishers.unlink(origin(TWO, 2), 10);
    publishers.unlink(origin(ONE, 1), 20);
    publishers.hello(origin(THREE, 4), 0, 30).unwrap();
    assert_eq!(
        publishers.hello(origin(ONE, 5), 0, 30),
        greeting(1, None),
        "the publisher that was unlinked later is kept"
    );
    assert_eq!(
        publishers.hello(origin(TWO, 6), 0, 30),
        Err(PublishersFull(2)),
        "the publisher that was unlinked first is evicted"
    );
}

#[test]
fn answers_are_kept_up_to_a_number_and_until_they_are_done() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    publishers.hello(one, 0, 0).unwrap();
    let answer = |receipt| Answer::Landed {
        receipt: Position(receipt),
        duplicate: false,
    };
    let count = ANSWERS_MAX as u64;
    for sequence in 1..=count + 1 {
        admit(&mut publishers, one, sequence);
        publishers.remember(ONE, sequence, answer(sequence));
    }
    assert_eq!(publishers.answer(ONE, 1), None);
    assert_eq!(publishers.answer(ONE, 2), Some(&answer(2)));
    assert_eq!(publishers.answer(ONE, count + 1), Some(&answer(count + 1)));
    publishers.hello(origin(ONE, 2), count, 0).unwrap();
    assert_eq!(publishers.answer(ONE, count), None);
    assert_eq!(publishers.answer(ONE, count + 1), Some(&answer(count + 1)));
}

#[test]
fn proposed_sequence_is_under_way_until_it_lands() {
    let mut publishers = Publishers::new(2);
    let one = origin(ONE, 1);
    publishers.hello(one, 0, 0).unwrap();
    for sequence in 1..=3 {
        assert_eq!(publishers.propose(one, sequence), Admission::New);
    }
    assert!(publishers.land(ONE, 1, 0));
    let states = [1, 2, 3].map(|sequence| publishers.propose(one, sequence));
    assert_eq!(
        states,
        [Admission::Landed, Admission::UnderWay, Admission::UnderWay]
    );
    let two = origin(ONE, 2);
    assert_eq!(publishers.hello(two, 0, 0), greeting(1, Some(1)));
    assert_eq!(
        publishers.propose(two, 3),
        Admission::UnderWay,
        "a new link does not withdraw a proposal"
    );
    assert!(publishers.land(ONE, 2, 0) && publishers.land(ONE, 3, 0));
    assert!(!publishers.land(ONE, 3, 0) && !publishers.land(ONE, 1, 0));
    assert_eq!(publishers.propose(two, 3), Admission::Landed);
    assert_eq!(publishers.gaps(), 0);
}

#[test]
fn sequence_of_an_evicted_publisher_lands() {
    let mut publishers = Publishers::new(1);
    publishers.hello(origin(ONE, 1), 0, 0).unwrap();
    assert_eq!(publishers.propose(origin(ONE, 1), 1), Admission::New);
    publishers.unlink(origin(ONE, 1), 0);
    publishers.hello(origin(TWO, 2), 0, 0).unwrap();
    assert!(publishers.land(ONE, 1, 0));
    assert_eq!(publishers.answer(ONE, 1), None);
}

#[test]
fn hello_does_not_drop_an_entry_that_is_under_way() {
    let mut publishers = Publishers::new(2);
    publishers.hello(origin(ONE, 1), 0, 0).unwrap();
    for sequence in 1..=3 {
        publishers.propose(origin(ONE, 1), sequence);
    }
    assert!(publishers.land(ONE, 1, 0));
    let greeting = publishers.hello(origin(ONE, 2), 3, 0).unwrap();
    assert_eq!(greeting.last, 3);
    assert!(publishers.land(ONE, 2, 0) && publishers.land(ONE, 3, 0));
    assert!(!publishers.land(ONE, 3, 0));
    assert_eq!(publishers.propose(origin(ONE, 2), 4), Admission::New);
    assert_eq!(publishers.gaps(), 0);
}
