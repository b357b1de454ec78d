use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use lineside_hub::{Charged, Interest, Publication, Revocation};
use lineside_protocol::Position;

use super::{BYTES_MAX, Inbox, InboxEntry, QUIET_ENTRIES_MAX};

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
    assert_eq!((inbox.may_sleep(None), waker.count()), (false, 0));
    assert_eq!(positions(&inbox, 8), [1]);
    assert!(inbox.may_sleep(None));
    add(&inbox, 2);
    add(&inbox, 3);
    assert_eq!((waker.count(), positions(&inbox, 1)), (1, vec![2]));
    // One entry is left, so the shard must not sleep.
    assert!(!inbox.may_sleep(None));
    assert_eq!(positions(&inbox, 1), [3]);
    assert!(inbox.may_sleep(None));
    inbox.woke();
    add(&inbox, 4);
    assert_eq!(waker.count(), 1);
    assert_eq!(positions(&inbox, 8), [4]);
    assert!(inbox.may_sleep(None));
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
                2 if inbox.may_sleep(None) => asleep_since = Some(waker.count()),
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

/// A publication to a channel at a time.
fn publication(channel: &str, at_ms: u64) -> [Arc<Publication>; 1] {
    [Arc::new(Publication {
        position: Position(1),
        channel: channel.into(),
        body: "1".into(),
        at_ms,
        charged: Charged::default(),
    })]
}

/// A sleeping shard with a subscriber of `news`, which wakes up by itself at 10 ms.
fn quiet_inbox() -> (Inbox, Arc<CountingWaker>) {
    let (inbox, waker) = inbox();
    let interest = Interest::default();
    interest.add("news");
    inbox.set_interest(Arc::new(interest));
    assert!(inbox.may_sleep(Some(10)));
    (inbox, waker)
}

#[test]
fn publication_without_a_subscriber_does_not_wake_a_quiet_shard() {
    let (inbox, waker) = quiet_inbox();
    inbox.publish(&publication("other", 9));
    assert_eq!(waker.count(), 0);
    assert!(!inbox.may_sleep(None));
    assert_eq!(inbox.take(8).entries.len(), 1);
    assert!(inbox.may_sleep(None));
    inbox.publish(&publication("other", 9));
    assert_eq!(waker.count(), 1);
}

#[test]
fn quiet_shard_is_woken_for_everything_else() {
    let adds: [fn(&Inbox); 5] = [
        |inbox| inbox.publish(&publication("news", 9)),
        |inbox| inbox.publish(&publication("other", 10)),
        |inbox| add(inbox, 1),
        |inbox| inbox.replace_link(1),
        |inbox| (0..QUIET_ENTRIES_MAX).for_each(|_| inbox.publish(&publication("other", 9))),
    ];
    for (number, add) in adds.iter().enumerate() {
        let (inbox, waker) = quiet_inbox();
        inbox.publish(&publication("other", 9));
        assert_eq!(waker.count(), 0);
        add(&inbox);
        assert_eq!(waker.count(), 1, "{number}");
    }
}

#[test]
fn only_a_quiet_sleep_lets_a_shard_take_more_than_it_has_room_for() {
    let (inbox, _) = quiet_inbox();
    (0..100).for_each(|_| inbox.publish(&publication("other", 9)));
    assert_eq!(inbox.take(8).entries.len(), 100);

    // A busy shard asks for a quiet sleep too, and does not get it.
    (0..100).for_each(|_| inbox.publish(&publication("other", 9)));
    assert!(!inbox.may_sleep(Some(10)));
    assert_eq!(inbox.take(8).entries.len(), 8);
    assert_eq!(inbox.take(0).entries.len(), 0);
}
