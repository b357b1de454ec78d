//! Revocations: in order with publications, and accepted by a full spool.

use lineside_protocol::frame::{Revoke, ToSidecar};
use lineside_publisher::{
    CONTROL_BYTES_RESERVED, NotAccepted, Outcome, PublishOptions, Publisher, Waiter,
};

use super::sidecar::{Line, TestFolder, deadline, epoch, eventually, pair, publish};

fn revoke(publisher: &Publisher, user: &str) -> Result<u64, NotAccepted> {
    publisher
        .revoke(user, None, 7, false)
        .map(|sequence| sequence.0)
}

fn received_revoke(line: &mut Line) -> Revoke {
    match line.next() {
        Some(ToSidecar::Revoke(revoke)) => revoke,
        other => panic!("{other:?} instead of a revocation"),
    }
}

#[test]
fn revocation_arrives_in_order() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    publisher
        .revoke("42", Some("phone"), 1_800_000_000_123, false)
        .unwrap();
    publish(&publisher, 3..=3);
    let mut line = sidecar.link(0, "a");
    assert_eq!(line.numbers(1), [1]);
    let expected = Revoke {
        sequence: 2,
        wants_receipt: false,
        revoked_ms: 1_800_000_000_123,
        sub: "42".into(),
        sid: "phone".into(),
    };
    assert_eq!(received_revoke(&mut line), expected);
    assert_eq!(line.publish().sequence, 3);
    line.ack(3, 103);
    eventually("all is settled", || publisher.status().acked == 3);
}

#[test]
fn revocation_gets_a_receipt_or_a_refusal() {
    let (_folder, publisher, sidecar) = pair();
    let waiter = Waiter::new().unwrap();
    let first = publisher.revoke("42", None, 7, true).unwrap();
    let second = publisher.revoke("43", None, 7, true).unwrap();
    let mut line = sidecar.link(0, "a");
    assert!(received_revoke(&mut line).wants_receipt && received_revoke(&mut line).sid.is_empty());
    line.receipt(1, 101);
    line.refuse(2, 5, "no room");
    line.ack(2, 101);
    let landed = Outcome::Receipt {
        cursor: epoch("a").at(lineside_protocol::Position(101)),
        duplicate: false,
    };
    assert_eq!(publisher.wait_receipt(first, deadline(), &waiter), landed);
    let refused = publisher.wait_receipt(second, deadline(), &waiter);
    assert!(
        matches!(refused, Outcome::Refused { code: 5, .. }),
        "{refused:?}"
    );
}

#[test]
fn revocation_is_sent_again_until_acked() {
    let (_folder, publisher, sidecar) = pair();
    revoke(&publisher, "42").unwrap();
    let mut line = sidecar.link(0, "a");
    let first = received_revoke(&mut line);
    drop(line);
    let mut line = sidecar.link(0, "b");
    assert_eq!(received_revoke(&mut line), first);
    line.ack(1, 101);
    drop(line);
    let mut line = sidecar.link(1, "b");
    publish(&publisher, 2..=2);
    assert_eq!(line.numbers(1), [2]);
}

#[test]
fn full_spool_accepts_revocations_up_to_the_reserve() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    settings.spool_bytes_max = 50_000;
    let publisher = Publisher::new(settings);
    let payload = [b' '; 1000];
    let fill = || publisher.publish("news", &payload, PublishOptions::default());
    let accepted = (0..)
        .take_while(|_| fill().is_ok())
        .fold(0, |count, _| count + 1);
    let mut revoked = 0;
    let full = loop {
        match revoke(&publisher, &revoked.to_string()) {
            Ok(_) => revoked += 1,
            Err(error) => break error,
        }
    };
    let max = 50_000 + CONTROL_BYTES_RESERVED;
    assert!(
        matches!(full, NotAccepted::SpoolFull { max: it, .. } if it == max),
        "{full}"
    );
    assert!(revoked > 1000, "{revoked}");
    assert!(fill().is_err());
    let mut line = folder.listen().link(0, "a");
    (0..accepted).for_each(|_| drop(line.publish()));
    for user in 0..revoked {
        assert_eq!(received_revoke(&mut line).sub, user.to_string());
    }
}

#[test]
fn too_long_ids_are_refused() {
    let folder = TestFolder::new();
    let publisher = folder.publisher();
    let long = "x".repeat(256);
    for (user, session) in [(&long[..251], None), ("1", Some(&long[..]))] {
        let error = publisher.revoke(user, session, 7, false).unwrap_err();
        assert!(matches!(error, NotAccepted::TooLarge { .. }), "{error}");
    }
    publisher
        .revoke(&long[..250], Some(&long[..255]), 7, false)
        .unwrap();
}
