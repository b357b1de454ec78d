use lineside_protocol::codes::LINK_BAD_PAYLOAD;

use super::*;
use crate::revocations::Revocation;

const PUBLISHER: [u8; 16] = [7; 16];

fn hub() -> Hub {
    let mut hub = Hub::new(Epoch::new("ours").unwrap(), HistoryLimits::default(), 10);
    hub.publishers.hello(PUBLISHER, 0, 1, 0).unwrap();
    hub
}

fn frame(sequence: u64, publications: &[(&str, &'static str)]) -> Checked {
    let pass = |(channel, payload): &(&str, &'static str)| Passed {
        channel: (*channel).to_owned(),
        payload: Bytes::from_static(payload.as_bytes()),
    };
    Checked {
        sequence,
        wants_receipt: true,
        resent: false,
        once: None,
        publications: Ok(publications.iter().map(pass).collect()),
    }
}

fn once(sequence: u64, id: &'static str, publications: &[(&str, &'static str)]) -> Checked {
    Checked {
        once: Some(Bytes::from_static(id.as_bytes())),
        ..frame(sequence, publications)
    }
}

fn refused(sequence: u64) -> Checked {
    let refused = Refused {
        code: LINK_BAD_PAYLOAD,
        message: "not JSON".to_owned(),
    };
    Checked {
        publications: Err(refused),
        ..frame(sequence, &[])
    }
}

/// The positions that landed, the receipt, and whether it was a duplicate.
fn landed(outcome: PublishOutcome) -> (Vec<u64>, u64, bool) {
    let PublishOutcome::Landed {
        publications,
        receipt,
        duplicate,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    (
        publications
            .iter()
            .map(|publication| publication.position.0)
            .collect(),
        receipt.0,
        duplicate,
    )
}

#[test]
fn a_frame_lands_whole_and_in_order() {
    let mut hub = hub();
    let outcome = hub.publish(PUBLISHER, 1, &frame(1, &[("a", "1"), ("b", "2")]), 0);
    let PublishOutcome::Landed {
        publications,
        receipt,
        duplicate,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!((receipt, duplicate), (Position(2), false));
    let channels: Vec<_> = publications
        .iter()
        .map(|publication| &*publication.channel)
        .collect();
    assert_eq!(channels, ["a", "b"]);
    let epoch = Epoch::new("ours").unwrap();
    assert_eq!(
        publications[1].body,
        envelope::message("b", &epoch, Position(2), b"2", false)
    );
}

#[test]
fn what_was_resent_after_a_crash_is_marked() {
    let mut hub = hub();
    let resent = Checked {
        resent: true,
        ..frame(1, &[("a", "1")])
    };
    let outcome = hub.publish(PUBLISHER, 1, &resent, 0);
    let PublishOutcome::Landed { publications, .. } = outcome else {
        panic!("{outcome:?}")
    };
    let epoch = Epoch::new("ours").unwrap();
    assert_eq!(
        publications[0].body,
        envelope::message("a", &epoch, Position(1), b"1", true)
    );
}

#[test]
fn a_frame_sent_again_lands_once_and_is_answered_as_the_first_time() {
    let mut hub = hub();
    hub.publish(PUBLISHER, 1, &frame(1, &[("a", "1")]), 0);
    hub.publish(PUBLISHER, 1, &frame(2, &[("a", "2")]), 0);
    hub.publishers.hello(PUBLISHER, 0, 2, 0).unwrap();
    let known = PublishOutcome::Known {
        receipt: Some(Position(1)),
        duplicate: false,
    };
    assert_eq!(
        hub.publish(PUBLISHER, 2, &frame(1, &[("a", "1")]), 0),
        known
    );
    assert_eq!(hub.journal.newest(), Position(2));
}

#[test]
fn a_known_frame_whose_answer_is_forgotten_names_no_position() {
    let mut hub = hub();
    let unanswered = Checked {
        wants_receipt: false,
        ..frame(1, &[("a", "1")])
    };
    hub.publish(PUBLISHER, 1, &unanswered, 0);
    hub.publish(PUBLISHER, 1, &frame(2, &[("a", "2")]), 0);
    let known = PublishOutcome::Known {
        receipt: None,
        duplicate: false,
    };
    assert_eq!(hub.publish(PUBLISHER, 1, &unanswered, 0), known);
}

#[test]
fn a_refused_frame_is_dealt_with_and_refused_again_when_sent_again() {
    let mut hub = hub();
    assert!(matches!(
        hub.publish(PUBLISHER, 1, &refused(1), 0),
        PublishOutcome::Refused(_)
    ));
    assert!(matches!(
        hub.publish(PUBLISHER, 1, &refused(1), 0),
        PublishOutcome::Refused(_)
    ));
    assert_eq!(hub.journal.newest(), Position(0));
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &frame(2, &[("a", "1")]), 0)),
        (vec![1], 1, false)
    );
    assert_eq!(hub.publishers.gaps(), 0);
}

#[test]
fn a_replaced_link_publishes_nothing() {
    let mut hub = hub();
    hub.publishers.hello(PUBLISHER, 0, 2, 0).unwrap();
    assert_eq!(
        hub.publish(PUBLISHER, 1, &frame(1, &[("a", "1")]), 0),
        PublishOutcome::Replaced
    );
    assert_eq!(hub.journal.newest(), Position(0));
}

#[test]
fn under_one_id_a_channel_is_published_to_once() {
    let mut hub = hub();
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &once(1, "id", &[("a", "1")]), 0)),
        (vec![1], 1, false)
    );
    hub.publish(PUBLISHER, 1, &frame(2, &[("b", "1")]), 0);
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &once(3, "id", &[("a", "1")]), 0)),
        (vec![], 1, true)
    );
    let mixed = once(4, "id", &[("a", "1"), ("c", "1")]);
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &mixed, 0)),
        (vec![3], 3, false)
    );
    let known = PublishOutcome::Known {
        receipt: Some(Position(1)),
        duplicate: true,
    };
    assert_eq!(
        hub.publish(PUBLISHER, 1, &once(3, "id", &[("a", "1")]), 0),
        known
    );
}

#[test]
fn the_receipt_of_a_duplicate_names_the_last_of_where_it_had_landed() {
    let mut hub = hub();
    let both = [("a", "1"), ("b", "1")];
    hub.publish(PUBLISHER, 1, &once(1, "id", &both), 0);
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &once(2, "id", &both), 0)),
        (vec![], 2, true)
    );
}

#[test]
fn an_id_that_names_one_channel_twice_in_a_frame_lands_both_then_neither() {
    let mut hub = hub();
    let twice = [("a", "1"), ("a", "2")];
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &once(1, "id", &twice), 0)),
        (vec![1, 2], 2, false)
    );
    assert_eq!(
        landed(hub.publish(PUBLISHER, 1, &once(2, "id", &twice), 0)),
        (vec![], 2, true)
    );
}

fn revocation(sequence: u64, user: &str) -> CheckedRevocation {
    let revocation = Revocation {
        user: user.to_owned(),
        session: None,
        until_ms: 500,
    };
    CheckedRevocation {
        sequence,
        wants_receipt: true,
        revocation: Ok(revocation),
    }
}

#[test]
fn a_revocation_has_its_place_in_the_journal() {
    let mut hub = hub();
    landed(hub.publish(PUBLISHER, 1, &frame(1, &[("a", "1")]), 0));
    let PublishOutcome::Revoked {
        position,
        revocation: revoked,
    } = hub.revoke(PUBLISHER, 1, &revocation(2, "7"))
    else {
        panic!("it is new")
    };
    assert_eq!((position.0, revoked.user.as_str()), (2, "7"));
    assert!(hub.revocations.is_revoked("7", None, 500));
    let (positions, ..) = landed(hub.publish(PUBLISHER, 1, &frame(3, &[("a", "2")]), 0));
    assert_eq!(positions, [3]);
}

#[test]
fn a_revocation_sent_again_lands_once_and_is_answered_as_the_first_time() {
    let mut hub = hub();
    hub.revoke(PUBLISHER, 1, &revocation(1, "7"));
    landed(hub.publish(PUBLISHER, 1, &frame(2, &[("a", "1")]), 0));
    let known = PublishOutcome::Known {
        receipt: Some(Position(1)),
        duplicate: false,
    };
    assert_eq!(hub.revoke(PUBLISHER, 1, &revocation(1, "7")), known);
    assert_eq!(hub.journal.newest(), Position(2));
}

#[test]
fn a_revocation_that_is_refused_takes_no_place() {
    let mut hub = hub();
    hub.revocations = Revocations::new(1);
    hub.revoke(PUBLISHER, 1, &revocation(1, "7"));
    for _ in 0..2 {
        let PublishOutcome::Refused(refused) = hub.revoke(PUBLISHER, 1, &revocation(2, "8")) else {
            panic!("there is no room")
        };
        assert_eq!(refused.code.name, "too_many_revocations");
    }
    assert_eq!(hub.journal.newest(), Position(1));
}
