//! Links that break, and sidecars that come back: what was accepted arrives once, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use lineside_protocol::frame::ToSidecar;
use lineside_publisher::{NotAccepted, PublishOptions, Publisher};

use super::sidecar::{Line, Place, Sidecar, eventually, number, pair, publish};

#[test]
fn accepted_while_the_sidecar_is_absent_arrives_once_it_is_there() {
    let place = Place::new();
    let publisher = place.publisher();
    publish(&publisher, 1..=100);
    eventually("the error is told", || {
        publisher.status().last_error.is_some()
    });
    let error = publisher.status().last_error.unwrap();
    let path = place.link().display().to_string();
    assert_eq!(
        error,
        format!(
            "no sidecar listens at {path} (No such file or directory): start it with `bundle exec lineside`"
        )
    );
    let mut line = place.listen().link(0, "a");
    assert_eq!(line.numbers(100), (1..=100).collect::<Vec<_>>());
    eventually("the error is over", || {
        publisher.status().last_error.is_none()
    });
}

#[test]
fn what_was_applied_but_not_acked_is_not_sent_again() {
    let (_place, publisher, sidecar) = pair();
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
fn link_cut_before_anything_was_read_loses_nothing() {
    let (_place, publisher, sidecar) = pair();
    publish(&publisher, 1..=5);
    drop(sidecar.accept());
    sidecar.accept().hello();
    drop(sidecar.link(0, "a"));
    assert_eq!(sidecar.link(0, "a").numbers(5), [1, 2, 3, 4, 5]);
}

#[test]
fn sidecar_without_the_old_journal_is_told_what_it_may_have_delivered() {
    let (place, publisher, sidecar) = pair();
    publish(&publisher, 1..=3);
    let mut line = sidecar.link(0, "a");
    line.numbers(3);
    line.ack(1, 101);
    eventually("the ack arrives", || publisher.status().acked == 1);
    drop(sidecar);
    drop(line);
    eventually("the link ends", || !publisher.status().linked);
    publish(&publisher, 4..=4);
    let sidecar = place.listen();
    let mut line = sidecar.link(0, "b");
    let seen = [(); 3]
        .map(|()| line.publish())
        .map(|frame| (frame.sequence, frame.resent));
    assert_eq!(seen, [(2, true), (3, true), (4, false)]);
}

#[test]
fn hundreds_of_cuts_anywhere_deliver_everything_once_and_in_order() {
    for seed in 1..=4 {
        let (_place, publisher, sidecar) = pair();
        let mut journal = Journal {
            delivered: Vec::new(),
            last: 0,
            dice: Dice(seed),
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
        // The test would prove little if the cuts had missed.
        assert!(
            status.resent > cuts && status.reconnects > cuts / 3,
            "seed {seed}: {status:?}"
        );
    }
}

/// What one thread was told: the numbers that were accepted, and how many were not.
#[derive(Default)]
struct Told {
    accepted: Vec<u64>,
    refused: u64,
}

/// Publishes `first` and the numbers after it until the end, whatever becomes of them.
fn publish_until(end: &AtomicBool, publisher: &Publisher, first: u64) -> Told {
    let mut told = Told::default();
    for number in first.. {
        if end.load(Ordering::Relaxed) {
            break;
        }
        let payload = number.to_string();
        match publisher.publish("news", payload.as_bytes(), PublishOptions::default()) {
            Ok(_) => told.accepted.push(number),
            Err(NotAccepted::SpoolFull { .. }) => told.refused += 1,
            Err(other) => panic!("{other}"),
        }
        thread::yield_now();
    }
    told
}

#[test]
fn threads_keep_their_order_across_cuts_and_a_full_spool_counts_exactly_what_it_refused() {
    /// Of the numbers of one thread; none publishes as many.
    const EACH: u64 = 1_000_000_000;
    let place = Place::new();
    let mut settings = place.settings();
    // More than one link is read before it is cut, so that there is always something to come.
    settings.spool_bytes_max = 16_000;
    let (publisher, sidecar) = (Publisher::new(settings), place.listen());
    let mut journal = Journal {
        delivered: Vec::new(),
        last: 0,
        dice: Dice(5),
    };
    let end = AtomicBool::new(false);
    let told = thread::scope(|scope| {
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

    for (thread, told) in (0..).zip(&told) {
        let own = journal.delivered.iter().filter(|it| **it / EACH == thread);
        assert!(own.eq(&told.accepted), "thread {thread}");
    }
    let refused = told.iter().map(|told| told.refused).sum::<u64>();
    let status = publisher.status();
    assert_eq!(
        (status.dropped_full, status.dropped_aged, status.acked),
        (refused, 0, accepted)
    );
    // The test would prove little if nothing had been refused, sent again or cut.
    assert!(
        refused > 0 && status.resent > 0 && status.reconnects > 30,
        "{status:?}"
    );
}

/// What a sidecar keeps from link to link.
struct Journal {
    delivered: Vec<u64>,
    last: u64,
    dice: Dice,
}

impl Journal {
    /// Accepts one link and ends it at a random point: before the hello or the welcome, between frames or within one, with
    /// what was read applied or not, acked or not. After `everything` nothing more would come.
    fn serve_a_while(&mut self, sidecar: &Sidecar, publisher: &Publisher, everything: u64) {
        let mut line = sidecar.accept();
        if self.dice.one_in(12) {
            return;
        }
        line.hello();
        if self.dice.one_in(12) {
            return;
        }
        line.welcome(self.last, "a");
        for _ in 0..self.dice.below(6) {
            if self.last == everything {
                break;
            }
            let bytes = 1 + self.dice.below(700);
            assert!(
                line.read(usize::try_from(bytes).unwrap()) > 0,
                "{:?}",
                publisher.status().last_error
            );
            if self.dice.one_in(8) {
                return;
            }
            self.apply_buffered(&mut line);
            if self.dice.one_in(2) {
                line.ack(self.last, 100 + self.last);
            }
        }
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

/// Random numbers that a seed repeats (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.below(sides) == 0
    }
}
