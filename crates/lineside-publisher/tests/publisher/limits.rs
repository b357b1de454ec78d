//! Limits: size and age of the spool, and sizes of a frame's parts.

use lineside_protocol::PAYLOAD_BYTES_MAX;
use lineside_protocol::frame::ToSidecar;
use lineside_publisher::{NotAccepted, Outcome, PublishOptions, Publisher, Sequence, Waiter};

use super::sidecar::{TestFolder, deadline, eventually, number, pair, publish};

/// Publishes numbers until the spool is full. Returns the number of accepted ones.
fn fill(publisher: &Publisher, first: u64) -> u64 {
    let padding = " ".repeat(1000);
    let full = (first..).find(|number| {
        let payload = format!("{number}{padding}");
        publisher
            .publish("news", payload.as_bytes(), PublishOptions::default())
            .is_err()
    });
    full.unwrap() - first
}

#[test]
fn full_spool_refuses_publications() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    settings.spool_bytes_max = 50_000;
    let publisher = Publisher::new(settings);
    let accepted = fill(&publisher, 1);
    assert_eq!(accepted, 48);
    let again = publisher.publish("news", &[b' '; 1000], PublishOptions::default());
    let held = publisher.status().spool_bytes;
    assert_eq!(again, Err(NotAccepted::SpoolFull { held, max: 50_000 }));
    assert_eq!(
        (publisher.status().accepted, publisher.status().dropped_full),
        (48, 2)
    );
    let mut line = folder.listen().link(0, "a");
    for sequence in 1..=48 {
        assert_eq!(line.publish().sequence, sequence);
    }
    line.ack(48, 148);
    eventually("there is room again", || {
        publisher.status().spool_bytes == 0
    });
    publish(&publisher, 49..=49);
    assert_eq!(line.numbers(1), [49]);
}

#[test]
fn stalled_reader_fills_the_spool_and_loses_nothing() {
    let (_folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.link(0, "a");
    eventually("the link is open", || publisher.status().linked);
    let accepted = fill(&publisher, 1);
    assert!(accepted > 1000);
    for expected in 1..=accepted {
        let frame = line.publish();
        let (_, payload) = frame.publications.iter().next().unwrap();
        let text = String::from_utf8(payload.to_vec()).unwrap();
        assert_eq!(
            (frame.sequence, text.trim().parse()),
            (expected, Ok(expected))
        );
    }
    line.assert_quiet();
    line.ack(accepted, 100 + accepted);
    eventually("the spool is empty", || publisher.status().spool_bytes == 0);
    assert_eq!(publisher.status().reconnects, 0);
}

#[test]
fn too_large_parts_are_refused() {
    let folder = TestFolder::new();
    let publisher = folder.publisher();
    let none = PublishOptions::default();
    let too_large = |what, bytes, max| Err(NotAccepted::TooLarge { what, bytes, max });
    let payload = vec![b' '; PAYLOAD_BYTES_MAX + 1];
    let max = PAYLOAD_BYTES_MAX;
    assert_eq!(
        publisher.publish("news", &payload, none),
        too_large("the payload", max + 1, max)
    );
    let long = "n".repeat(1031);
    assert_eq!(
        publisher.publish(&long, b"1", none),
        too_large("the channel", 1031, 1030)
    );
    let once = Some(&long[..256]);
    let refused = publisher.publish("news", b"1", PublishOptions { once, ..none });
    assert_eq!(refused, too_large("the once id", 256, 255));
    let many = vec![("news", &payload[1..]); 18];
    let refused = publisher.publish_all(&many);
    assert!(
        matches!(
            refused,
            Err(NotAccepted::TooLarge {
                what: "the data published together",
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(publisher.status().accepted, 0);
    assert_eq!(
        publisher.publish("news", &payload[1..], none),
        Ok(Sequence(1))
    );
    assert_eq!(publisher.publish_all(&many[..16]), Ok(Sequence(2)));
}

#[test]
fn expired_frames_are_dropped_without_a_gap() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    settings.spool_seconds_max = 1;
    let publisher = Publisher::new(settings);
    let waiter = Waiter::new().unwrap();
    publish(&publisher, 1..=9);
    let options = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let awaited = publisher.publish("news", b"10", options).unwrap();
    assert_eq!(
        publisher.wait_receipt(awaited, deadline(), &waiter),
        Outcome::Dropped
    );
    let status = publisher.status();
    assert_eq!(
        (status.dropped_aged, status.acked, status.spool_bytes),
        (10, 0, 0)
    );
    // A later publication is not expired when the sidecar starts.
    let sidecar = folder.listen();
    let mut line = sidecar.link(0, "a");
    assert!(matches!(line.next(), Some(ToSidecar::Skip(skip)) if skip.through == 10));
    publish(&publisher, 11..=11);
    let frame = line.publish();
    assert_eq!((frame.sequence, number(&frame)), (11, 11));
    line.ack(11, 101);
    eventually("all is settled", || publisher.status().acked == 1);
}

#[test]
fn stalled_link_drops_only_unsent_frames() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    settings.spool_seconds_max = 1;
    settings.spool_bytes_max = 2_000_000;
    let publisher = Publisher::new(settings);
    publisher.connect().unwrap();
    let sidecar = folder.listen();
    let mut line = sidecar.link(0, "a");
    eventually("the link is open", || publisher.status().linked);
    let accepted = fill(&publisher, 1);
    eventually("the rest is too old", || {
        publisher.status().dropped_aged > 0
    });
    let (mut arrived, mut newest, mut skips) = (0, 0, 0);
    while newest < accepted {
        match line.next().unwrap() {
            ToSidecar::Publish(frame) => {
                assert_eq!(frame.sequence, newest + 1);
                (arrived, newest) = (arrived + 1, newest + 1);
            }
            ToSidecar::Skip(skip) => (skips, newest) = (skips + 1, skip.through),
            other @ (ToSidecar::Hello(_) | ToSidecar::Revoke(_)) => panic!("{other:?}"),
        }
    }
    line.ack(accepted, 100);
    eventually("all is settled", || {
        publisher.status().acked + publisher.status().dropped_aged == accepted
    });
    assert_eq!((publisher.status().acked, skips > 0), (arrived, true));
    publish(&publisher, accepted + 1..=accepted + 1);
    assert_eq!(line.publish().sequence, accepted + 1);
}
