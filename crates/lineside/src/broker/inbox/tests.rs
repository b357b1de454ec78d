use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use lineside_hub::{Publication, Revocation};
use lineside_protocol::Position;

use super::{BYTES_MAX, Inbox, InboxEntry};

#[derive(Default)]
struct CountingWaker(AtomicU64);

impl CountingWaker {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An empty inbox, and a waker that counts its calls.
fn inbox() -> (Inbox, Arc<CountingWaker>) {
    let waker = Arc::new(CountingWaker::default());
    (Inbox::new(Waker::from(Arc::clone(&waker))), waker)
}

/// Adds a revocation at a position.
fn add(inbox: &Inbox, position: u64) {
    let revocation = Revocation {
        user: "42".into(),
        session: None,
        until_ms: 0,
    };
    inbox.revoke(Position(position), &Arc::new(revocation));
}

/// Takes at most `entries_max` entries, and returns their positions.
fn positions(inbox: &Inbox, entries_max: usize) -> Vec<u64> {
    let entries = inbox.take(entries_max).entries;
    let positions = entries.iter().map(|entry| match entry {
        InboxEntry::Publication(publication) => publication.position.0,
        InboxEntry::Revocation(position, _) => position.0,
    });
    positions.collect()
}

#[test]
fn waker_is_called_once_and_only_while_the_shard_sleeps() {
    let (inbox, waker) = inbox();
    add(&inbox, 1);
    assert_eq!((inbox.may_sleep(), waker.count()), (false, 0));
    assert_eq!(positions(&inbox, 8), [1]);
    assert!(inbox.may_sleep());
    add(&inbox, 2);
    add(&inbox, 3);
    assert_eq!((waker.count(), positions(&inbox, 1)), (1, vec![2]));
    // One entry is left, so the shard must not sleep.
    assert!(!inbox.may_sleep());
    assert_eq!(positions(&inbox, 1), [3]);
    assert!(inbox.may_sleep());
    inbox.woke();
    add(&inbox, 4);
    assert_eq!(waker.count(), 1);
    assert_eq!(positions(&inbox, 8), [4]);
    assert!(inbox.may_sleep());
    inbox.drain();
    assert_eq!(waker.count(), 2);
    assert!(inbox.take(8).drain);
}

#[test]
fn drain_is_returned_once_with_the_last_entry() {
    let (inbox, _) = inbox();
    add(&inbox, 1);
    add(&inbox, 2);
    inbox.drain();
    assert!(!inbox.take(1).drain);
    assert!(inbox.take(1).drain);
    assert!(!inbox.take(1).drain);
}

#[test]
fn inbox_has_room_again_once_bytes_are_taken() {
    let (inbox, _) = inbox();
    let half = Arc::new(Publication {
        position: Position(1),
        channel: "a".into(),
        body: vec![b'x'; BYTES_MAX / 2].into(),
        at_ms: 0,
        charged: Default::default(),
    });
    for _ in 0..3 {
        inbox.publish(&[Arc::clone(&half)]);
        assert!(inbox.has_room());
        inbox.publish(&[Arc::clone(&half)]);
        assert!(!inbox.has_room());
        assert_eq!(positions(&inbox, 1), [1]);
        assert!(inbox.has_room());
        assert_eq!(positions(&inbox, 1), [1]);
    }
}

/// Each step is one critical section, so the steps of any threads are one of these sequences.
#[test]
fn sleeping_shard_is_woken_for_every_entry_in_every_order_of_steps() {
    const STEPS: u32 = 8;
    for order in 0..4_u32.pow(STEPS) {
        let (inbox, waker) = inbox();
        let (mut waiting, mut asleep_since) = (0, None);
        for step in 0..STEPS {
            match order / 4_u32.pow(step) % 4 {
                0 => {
                    add(&inbox, 1);
                    waiting += 1;
                }
                1 => waiting -= positions(&inbox, 1).len(),
                2 if inbox.may_sleep() => asleep_since = Some(waker.count()),
                2 => asleep_since = None,
                _ => {
                    inbox.woke();
                    asleep_since = None;
                }
            }
            let sleeps_unwoken = asleep_since == Some(waker.count());
            assert!(!sleeps_unwoken || waiting == 0, "{order} at {step}");
        }
    }
}
