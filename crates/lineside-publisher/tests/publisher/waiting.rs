//! Receipts and flushes: every way in which a wait ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lineside_protocol::Position;
use lineside_publisher::{
    Flushed, Outcome, PublishOptions, Publisher, Sequence, WAITERS_MAX, Waiter,
};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::Signal;

use super::sidecar::{PATIENCE, TestFolder, deadline, epoch, pair, publish};

fn ask(publisher: &Publisher) -> Sequence {
    publisher
        .publish(
            "news",
            b"1",
            PublishOptions {
                wants_receipt: true,
                ..PublishOptions::default()
            },
        )
        .unwrap()
}

fn receipt(position: u64) -> Outcome {
    Outcome::Receipt {
        cursor: epoch("a").at(Position(position)),
        duplicate: false,
    }
}

#[test]
fn receipt_contains_the_position() {
    let (_folder, publisher, sidecar) = pair();
    let waiter = Waiter::new().unwrap();
    publish(&publisher, 1..=1);
    let asked = ask(&publisher);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut line = sidecar.link(0, "a");
            assert_eq!(
                [line.publish().wants_receipt, line.publish().wants_receipt],
                [false, true]
            );
            line.receipt(2, 102);
            line.ack(2, 110);
            line.next();
        });
        assert_eq!(
            publisher.wait_receipt(asked, deadline(), &waiter),
            receipt(102)
        );
        assert_eq!(publisher.wait_flushed(deadline(), &waiter), Flushed::Done);
        assert_eq!(publisher.cursor(), Some(epoch("a").at(Position(110))));
        // Each reply is returned once.
        assert_eq!(
            publisher.wait_receipt(asked, deadline(), &waiter),
            Outcome::TimedOut
        );
        publisher.stop(deadline());
    });
}

#[test]
fn refusal_contains_code_and_message() {
    let (_folder, publisher, sidecar) = pair();
    let asked = ask(&publisher);
    let mut line = sidecar.link(0, "a");
    line.publish();
    line.refuse(1, 1, "bad");
    line.ack(1, 100);
    let outcome = publisher.wait_receipt(asked, deadline(), &Waiter::new().unwrap());
    assert_eq!(
        outcome,
        Outcome::Refused {
            code: 1,
            message: "bad".into()
        }
    );
}

#[test]
fn lost_receipt_is_requested_again() {
    let (_folder, publisher, sidecar) = pair();
    let asked = ask(&publisher);
    publish(&publisher, 2..=2);
    let mut line = sidecar.link(0, "a");
    line.publish();
    line.publish();
    drop(line);
    let mut line = sidecar.link(2, "a");
    let again = line.publish();
    assert_eq!((again.sequence, again.wants_receipt), (1, true));
    line.receipt(1, 101);
    assert_eq!(
        publisher.wait_receipt(asked, deadline(), &Waiter::new().unwrap()),
        receipt(101)
    );
    line.assert_quiet();
}

#[test]
fn waits_end_at_their_deadline() {
    let folder = TestFolder::new();
    let (publisher, waiter) = (folder.publisher(), Waiter::new().unwrap());
    let asked = ask(&publisher);
    let soon = || Instant::now() + Duration::from_millis(20);
    assert_eq!(
        publisher.wait_receipt(asked, soon(), &waiter),
        Outcome::TimedOut
    );
    assert_eq!(publisher.wait_flushed(soon(), &waiter), Flushed::TimedOut);
    assert_eq!(
        publisher.wait_flushed(Instant::now(), &waiter),
        Flushed::TimedOut
    );
    // The registration is removed, so the next wait returns at once.
    assert_eq!(
        publisher.wait_receipt(asked, deadline(), &waiter),
        Outcome::TimedOut
    );
}

#[test]
fn flush_ends_with_the_last_ack() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=2);
    let end = deadline();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| publisher.wait_flushed(end, &Waiter::new().unwrap()));
        let mut line = sidecar.link(0, "a");
        line.numbers(2);
        line.ack(1, 101);
        line.ack(2, 102);
        assert_eq!(waiting.join().unwrap(), Flushed::Done);
    });
    assert!(Instant::now() < end, "the wait ended at its deadline");
}

#[test]
fn flush_of_an_empty_spool_is_done() {
    let folder = TestFolder::new();
    assert_eq!(
        folder
            .publisher()
            .wait_flushed(Instant::now(), &Waiter::new().unwrap()),
        Flushed::Done
    );
}

#[test]
fn interrupter_ends_the_current_or_the_next_wait() {
    let (_folder, publisher, sidecar) = pair();
    let waiter = Waiter::new().unwrap();
    let asked = ask(&publisher);
    waiter.interrupter().interrupt();
    assert_eq!(
        publisher.wait_receipt(asked, deadline(), &waiter),
        Outcome::Interrupted
    );
    let interrupter = waiter.interrupter();
    thread::scope(|scope| {
        scope.spawn(move || interrupter.interrupt());
        assert_eq!(
            publisher.wait_flushed(deadline(), &waiter),
            Flushed::Interrupted
        );
    });
    // The reply is still kept.
    let mut line = sidecar.link(0, "a");
    line.publish();
    line.receipt(1, 101);
    assert_eq!(
        publisher.wait_receipt(asked, deadline(), &waiter),
        receipt(101)
    );
}

#[test]
fn signal_ends_the_wait() {
    let folder = TestFolder::new();
    let (publisher, waiter) = (folder.publisher(), Waiter::new().unwrap());
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&handled)).unwrap();
    let asked = ask(&publisher);
    let (over, this) = (AtomicBool::new(false), pthread_self());
    thread::scope(|scope| {
        scope.spawn(|| {
            // A signal before the wait begins has no effect, so the thread repeats it.
            while !over.load(Ordering::Acquire) {
                pthread_kill(this, Signal::SIGUSR1).unwrap();
                thread::yield_now();
            }
        });
        let outcome = publisher.wait_receipt(asked, deadline(), &waiter);
        over.store(true, Ordering::Release);
        assert_eq!(outcome, Outcome::Interrupted);
    });
    assert!(handled.load(Ordering::Acquire));
}

#[test]
fn waits_end_with_the_thread() {
    let folder = TestFolder::new();
    let (publisher, waiter) = (folder.publisher(), Waiter::new().unwrap());
    let asked = ask(&publisher);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| publisher.wait_receipt(asked, deadline(), &waiter));
        publisher.stop(Instant::now());
        assert_eq!(waiting.join().unwrap(), Outcome::TimedOut);
    });
    assert_eq!(
        publisher.wait_flushed(deadline(), &waiter),
        Flushed::TimedOut
    );
}

#[test]
fn oldest_unfetched_reply_is_dropped() {
    let (_folder, publisher, sidecar) = pair();
    let waiter = Waiter::new().unwrap();
    let abandoned = ask(&publisher);
    let given_up = ask(&publisher);
    publisher.give_up(given_up);
    let kept = ask(&publisher);
    let newest = (1..WAITERS_MAX).fold(kept, |_, _| ask(&publisher));
    let mut line = sidecar.link(0, "a");
    (1..=newest.0).for_each(|_| assert!(line.publish().wants_receipt));
    (1..=newest.0).for_each(|sequence| line.receipt(sequence, 100 + sequence));
    line.ack(newest.0, 100 + newest.0);
    assert_eq!(publisher.wait_flushed(deadline(), &waiter), Flushed::Done);
    let outcomes = [abandoned, given_up, kept, newest]
        .map(|asked| publisher.wait_receipt(asked, deadline(), &waiter));
    let landed = |asked: Sequence| receipt(100 + asked.0);
    assert_eq!(
        outcomes,
        [
            Outcome::TimedOut,
            Outcome::TimedOut,
            landed(kept),
            landed(newest)
        ]
    );
}

#[test]
fn concurrent_waits_get_their_own_replies() {
    let (_folder, publisher, sidecar) = pair();
    thread::scope(|scope| {
        for _ in 0..8 {
            let publisher = &publisher;
            scope.spawn(move || {
                let waiter = Waiter::new().unwrap();
                for _ in 0..50 {
                    let asked = ask(publisher);
                    let outcome = publisher.wait_receipt(asked, Instant::now() + PATIENCE, &waiter);
                    assert_eq!(outcome, receipt(1000 + asked.0));
                }
            });
        }
        let mut line = sidecar.link(0, "a");
        for sequence in 1..=400 {
            assert_eq!(line.publish().sequence, sequence);
            line.receipt(sequence, 1000 + sequence);
            line.ack(sequence, 1000 + sequence);
        }
    });
}
