//! Order of arrival, and the effect of the sidecar's replies.

use std::thread;

use lineside_protocol::frame::ToSidecar;
use lineside_publisher::{NotAccepted, PublishOptions, Sequence};

use super::sidecar::{deadline, epoch, eventually, number, pair, publish};
use lineside_protocol::Position;

#[test]
fn publications_arrive_in_order_and_acks_free_the_spool() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1000);
    let mut line = sidecar.link(0, "a");
    assert_eq!(line.numbers(1000), (1..=1000).collect::<Vec<_>>());
    assert!(publisher.status().spool_bytes > 0);
    line.ack(1000, 1100);
    eventually("the ack arrives", || publisher.status().spool_bytes == 0);
    let status = publisher.status();
    assert_eq!(
        (
            status.accepted,
            status.acked,
            status.linked,
            status.last_error
        ),
        (1000, 1000, true, None)
    );
    line.assert_quiet();
}

#[test]
fn frame_carries_its_options_and_publications() {
    let (_folder, publisher, sidecar) = pair();
    let options = PublishOptions {
        once: Some("order-7"),
        wants_receipt: true,
    };
    assert_eq!(
        publisher.publish("orders", b"{\"id\":7}", options),
        Ok(Sequence(1))
    );
    assert_eq!(
        publisher.publish_all(&[("news", b"1"), ("user:42", b"2")]),
        Ok(Sequence(2))
    );
    let mut line = sidecar.link(0, "a");
    let single = line.publish();
    assert_eq!(
        (single.sequence, single.wants_receipt, single.resent),
        (1, true, false)
    );
    assert_eq!(single.once.as_deref(), Some(b"order-7".as_slice()));
    let group = line.publish();
    assert_eq!(
        (group.sequence, group.wants_receipt, group.once.as_deref()),
        (2, false, None)
    );
    let parts = group
        .publications
        .iter()
        .map(|(channel, payload)| (channel.to_vec(), payload.to_vec()));
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [
            (b"news".to_vec(), b"1".to_vec()),
            (b"user:42".to_vec(), b"2".to_vec())
        ]
    );
}

#[test]
fn empty_publish_all_sends_nothing() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    assert_eq!(publisher.publish_all(&[]), Ok(Sequence(1)));
    publish(&publisher, 2..=2);
    assert_eq!(sidecar.link(0, "a").numbers(2), [1, 2]);
}

#[test]
fn each_thread_keeps_its_order() {
    let (_folder, publisher, sidecar) = pair();
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let publisher = &publisher;
            scope.spawn(move || publish(publisher, thread * 10_000 + 1..=thread * 10_000 + 2000));
        }
        let mut line = sidecar.link(0, "a");
        let mut newest = [0; 8];
        for sequence in 1..=16_000 {
            let frame = line.publish();
            assert_eq!(frame.sequence, sequence);
            let thread = usize::try_from(number(&frame) / 10_000).unwrap();
            assert_eq!(number(&frame) % 10_000, newest[thread] + 1);
            newest[thread] += 1;
        }
        assert_eq!(newest, [2000; 8]);
    });
}

#[test]
fn hello_names_the_publisher() {
    let (folder, _publisher, sidecar) = pair();
    let mut settings = folder.settings();
    settings.name = "ü".repeat(200);
    settings.fingerprint = [7; 8];
    let publisher = lineside_publisher::Publisher::new(settings);
    publisher.connect().unwrap();
    let hello = sidecar.accept().hello();
    assert_eq!(
        (hello.done, hello.fingerprint, hello.name),
        (0, [7; 8], "ü".repeat(127))
    );
    let other = folder.publisher();
    other.connect().unwrap();
    let mut line = sidecar.accept();
    while line.hello().publisher == hello.publisher {
        line = sidecar.accept();
    }
}

#[test]
fn cursor_advances_with_every_reply_and_never_goes_back() {
    let (_folder, publisher, sidecar) = pair();
    assert_eq!(publisher.cursor(), None);
    publisher.connect().unwrap();
    let mut line = sidecar.link(0, "a");
    let is_at = |name: &str, position| {
        eventually("the cursor moves", || {
            publisher.cursor() == Some(epoch(name).at(Position(position)))
        });
    };
    is_at("a", 100);
    line.moved(105);
    is_at("a", 105);
    publish(&publisher, 1..=1);
    line.publish();
    line.ack(1, 106);
    is_at("a", 106);
    line.moved(90);
    line.moved(107);
    is_at("a", 107);
    drop(line);
    eventually("the link ends", || !publisher.status().linked);
    is_at("a", 107);
    // The welcome of the same journal has position 100, older than the known one.
    let line = sidecar.link(1, "a");
    eventually("the link is back", || publisher.status().linked);
    is_at("a", 107);
    drop(line);
    let _line = sidecar.link(1, "b");
    is_at("b", 100);
}

#[test]
fn refusal_is_counted_and_the_link_stays_open() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=2);
    let mut line = sidecar.link(0, "a");
    line.numbers(2);
    line.refuse(1, 1, "not a\nname");
    line.ack(2, 101);
    eventually("both are settled", || publisher.status().acked == 2);
    let status = publisher.status();
    assert_eq!((status.refused, status.linked), (1, true));
    assert_eq!(status.publications_refused, 1);
    assert_eq!(status.last_refusal.as_deref(), Some("not a\\nname"));
}

#[test]
fn stop_sends_the_whole_spool() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=100);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut line = sidecar.link(0, "a");
            line.numbers(100);
            line.ack(100, 200);
            assert_eq!(line.next(), None::<ToSidecar>, "the link ends");
        });
        assert_eq!(
            publisher.stop(deadline()),
            lineside_publisher::Unconfirmed::default()
        );
    });
    assert_eq!(
        publisher.publish("news", b"1", PublishOptions::default()),
        Err(NotAccepted::Stopped)
    );
    let status = publisher.status();
    assert_eq!((status.linked, status.last_error), (false, None));
}

#[test]
fn stop_returns_the_unconfirmed_frames() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=3);
    let mut line = sidecar.link(0, "a");
    line.numbers(3);
    line.ack(1, 101);
    eventually("one is acked", || publisher.status().acked == 1);
    let left = publisher.stop(std::time::Instant::now());
    assert_eq!(left.frames, 2);
    assert_eq!(line.next(), None);
}

#[test]
fn stop_without_publications_returns_at_once() {
    let (_folder, publisher, _sidecar) = pair();
    assert_eq!(publisher.stop(deadline()).frames, 0);
    assert_eq!(publisher.connect(), Err(NotAccepted::Stopped));
}

#[test]
fn dropping_the_publisher_ends_its_link() {
    let (_folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.link(0, "a");
    drop(publisher);
    assert_eq!(line.next(), None);
}
