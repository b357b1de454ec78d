//! Broken links and restarted sidecars: accepted publications arrive once and in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use lineside_protocol::frame::ToSidecar;
use lineside_publisher::{NotAccepted, PublishOptions, Publisher};

use super::sidecar::{Line, Sidecar, TestFolder, eventually, number, pair, publish};

#[test]
fn publications_before_the_sidecar_starts_arrive() {
    let folder = TestFolder::new();
    let publisher = folder.publisher();
    publish(&publisher, 1..=100);
    eventually("the error is reported", || {
        publisher.status().last_error.is_some()
    });
    let error = publisher.status().last_error.unwrap();
    let path = folder.link().display().to_string();
    assert_eq!(
        error,
        format!(
            "no sidecar listens at {path} (No such file or directory): if Puma's plugin or a Procfile runs it, wait some seconds or look at their output; otherwise start it with `bundle exec lineside`"
        )
    );
    let mut line = folder.listen().link(0, "a");
    assert_eq!(line.numbers(100), (1..=100).collect::<Vec<_>>());
    eventually("the error is over", || {
        publisher.status().last_error.is_none()
    });
}

#[test]
fn landed_frames_are_not_sent_again() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=5);
    let mut line = sidecar.link(0, "a");
    line.numbers(5);
    line.ack(2, 102);
    eventually("the ack arrives", || publisher.status().acked == 2);
    drop(line);
    let mut line = sidecar.accept();
    assert_eq!(line.hello().done, 2);
    line.welcome(4, "a");
    let again = line.publish();
    assert_eq!((again.sequence, again.resent), (5, false));
    line.assert_quiet();
    line.ack(5, 105);
    eventually("all is settled", || publisher.status().spool_bytes == 0);
    let status = publisher.status();
    assert_eq!((status.acked, status.resent, status.reconnects), (5, 1, 1));
}

#[test]
fn early_disconnects_lose_nothing() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=5);
    drop(sidecar.accept());
    sidecar.accept().hello();
    drop(sidecar.link(0, "a"));
    assert_eq!(sidecar.link(0, "a").numbers(5), [1, 2, 3, 4, 5]);
}

#[test]
fn new_epoch_marks_possibly_delivered_frames_as_resent() {
    let (folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=3);
    let mut line = sidecar.link(0, "a");
    line.numbers(3);
    line.ack(1, 101);
    eventually("the ack arrives", || publisher.status().acked == 1);
    drop(sidecar);
    drop(line);
    eventually("the link ends", || !publisher.status().linked);
    publish(&publisher, 4..=4);
    let sidecar = folder.listen();
    let mut line = sidecar.link(0, "b");
    let seen = [(); 3]
        .map(|()| line.publish())
        .map(|frame| (frame.sequence, frame.resent));
    assert_eq!(seen, [(2, true), (3, true), (4, false)]);
}

#[test]
fn hundreds_of_cuts_anywhere_deliver_everything_once_and_in_order() {
    for seed in 1..=4 {
        let (_folder, publisher, sidecar) = pair();
        let mut journal = Journal {
            delivered: Vec::new(),
            last: 0,
            random: Rng::with_seed(seed),
        };
        let cuts = 150;
        for cut in 0..cuts {
            publish(&publisher, cut * 40 + 1..=cut * 40 + 40);
            journal.serve_a_while(&sidecar, &publisher, (cut + 1) * 40);
        }
        let total = cuts * 40;
        let mut line = sidecar.link(journal.last, "a");
        while journal.last < total {
            let frame = line.next().unwrap();
            journal.apply(frame);
        }
        line.ack(total, 100 + total);
        eventually("all is settled", || publisher.status().spool_bytes == 0);
        line.assert_quiet();
        assert_eq!(
            journal.delivered,
            (1..=total).collect::<Vec<_>>(),
            "seed {seed}"
        );
        let status = publisher.status();
        assert_eq!(
            (status.acked, status.dropped_aged),
            (total, 0),
            "seed {seed}"
        );
        // Checks that the cuts did interrupt the link.
        assert!(
            status.resent > cuts && status.reconnects > cuts / 3,
            "seed {seed}: {status:?}"
        );
    }
}

/// Results of one thread: the accepted numbers, and the count of refusals.
#[derive(Default)]
struct Producer {
    accepted: Vec<u64>,
    refused: u64,
}

/// Publishes `first` and the numbers after it until `end` is set.
fn publish_until(end: &AtomicBool, publisher: &Publisher, first: u64) -> Producer {
    let mut producer = Producer::default();
    for number in first.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let payload = number.to_string();
        match publisher.publish("news", payload.as_bytes(), PublishOptions::default()) {
            Ok(_) => producer.accepted.push(number),
            Err(NotAccepted::SpoolFull { .. }) => producer.refused += 1,
            Err(other) => panic!("{other}"),
        }
        thread::yield_now();
    }
    producer
}

#[test]
fn threads_keep_their_order_across_cuts_and_refusals_are_counted() {
    /// First numbers of the threads differ by this. No thread publishes as many.
    const EACH: u64 = 1_000_000_000;
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    // Larger than the bytes read from one link, so that the next link always has frames to send.
    settings.spool_bytes_max = 16_000;
    let (publisher, sidecar) = (Publisher::new(settings), folder.listen());
    let mut journal = Journal {
        delivered: Vec::new(),
        last: 0,
        random: Rng::with_seed(5),
    };
    let end = AtomicBool::new(false);
    let producers = thread::scope(|scope| {
        let start = |thread| {
            let (end, publisher) = (&end, &publisher);
            scope.spawn(move || publish_until(end, publisher, thread * EACH))
        };
        let threads = [0, 1, 2, 3].map(start);
        (0..100).for_each(|_| journal.serve_a_while(&sidecar, &publisher, u64::MAX));
        end.store(true, Ordering::Relaxed);
        threads.map(|thread| thread.join().unwrap())
    });
    let accepted = publisher.status().accepted;
    let mut line = sidecar.link(journal.last, "a");
    while journal.last < accepted {
        journal.apply(line.next().unwrap());
    }
    line.ack(accepted, 100 + accepted);
    eventually("all is settled", || publisher.status().spool_bytes == 0);
    line.assert_quiet();

    for (thread, producer) in (0..).zip(&producers) {
        let own = journal.delivered.iter().filter(|it| **it / EACH == thread);
        assert!(own.eq(&producer.accepted), "thread {thread}");
    }
    let refused = producers
        .iter()
        .map(|producer| producer.refused)
        .sum::<u64>();
    let status = publisher.status();
    assert_eq!(
        (status.dropped_full, status.dropped_aged, status.acked),
        (refused, 0, accepted)
    );
    // Checks that publications were refused and sent again, and that links were cut.
    assert!(
        refused > 0 && status.resent > 0 && status.reconnects > 30,
        "{status:?}"
    );
}

/// State of a sidecar across its links.
struct Journal {
    delivered: Vec<u64>,
    last: u64,
    random: Rng,
}

impl Journal {
    /// Accepts one link and ends it at a random point: before the hello or the welcome, between frames or inside one, with
    /// the read frames applied or not, acked or not. Stops early after the sequence `everything`.
    fn serve_a_while(&mut self, sidecar: &Sidecar, publisher: &Publisher, everything: u64) {
        let mut line = sidecar.accept();
        if self.one_in(12) {
            return;
        }
        line.hello();
        if self.one_in(12) {
            return;
        }
        line.welcome(self.last, "a");
        for _ in 0..self.random.u64(..6) {
            if self.last == everything {
                break;
            }
            let bytes = self.random.usize(1..=700);
            assert!(line.read(bytes) > 0, "{:?}", publisher.status().last_error);
            if self.one_in(8) {
                return;
            }
            self.apply_buffered(&mut line);
            if self.one_in(2) {
                line.ack(self.last, 100 + self.last);
            }
        }
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.random.u64(..sides) == 0
    }

    fn apply_buffered(&mut self, line: &mut Line) {
        while let Some(frame) = line.buffered() {
            self.apply(frame);
        }
    }

    fn apply(&mut self, frame: ToSidecar) {
        let ToSidecar::Publish(publish) = frame else {
            panic!("{frame:?}")
        };
        assert!(!publish.resent);
        if publish.sequence > self.last {
            assert_eq!(publish.sequence, self.last + 1, "a gap");
            self.last = publish.sequence;
            self.delivered.push(number(&publish));
        }
    }
}
