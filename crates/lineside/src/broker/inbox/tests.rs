use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use lineside_hub::{Publication, Revocation};
use lineside_protocol::Position;

use super::{BYTES_MAX, Entry, Inbox};

#[derive(Default)]
struct Bell(AtomicU64);

impl Bell {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An inbox, and what its shard sleeps by.
fn inbox() -> (Inbox, Arc<Bell>) {
    let bell = Arc::new(Bell::default());
    (Inbox::new(Waker::from(Arc::clone(&bell))), bell)
}

fn hand_over(inbox: &Inbox, position: u64) {
    let revocation = Revocation {
        user: "42".into(),
        session: None,
        until_ms: 0,
    };
    inbox.revoke(Position(position), &Arc::new(revocation));
}

fn positions(inbox: &Inbox, most: usize) -> Vec<u64> {
    let entries = inbox.take(most).entries;
    let positions = entries.iter().map(|entry| match entry {
        Entry::Publication(publication) => publication.position.0,
        Entry::Revocation(position, _) => position.0,
    });
    positions.collect()
}

#[test]
fn shard_is_woken_once_and_only_while_it_sleeps() {
    let (inbox, bell) = inbox();
    hand_over(&inbox, 1);
    assert_eq!((inbox.may_sleep(), bell.count()), (false, 0));
    assert_eq!(positions(&inbox, 8), [1]);
    assert!(inbox.may_sleep());
    hand_over(&inbox, 2);
    hand_over(&inbox, 3);
    assert_eq!((bell.count(), positions(&inbox, 1)), (1, vec![2]));
    // What is left forbids to sleep.
    assert!(!inbox.may_sleep());
    assert_eq!(positions(&inbox, 1), [3]);
    assert!(inbox.may_sleep());
    inbox.woke();
    hand_over(&inbox, 4);
    assert_eq!(bell.count(), 1);
    assert_eq!(positions(&inbox, 8), [4]);
    assert!(inbox.may_sleep());
    inbox.drain();
    assert_eq!(bell.count(), 2);
    assert!(inbox.take(8).drain);
}

#[test]
fn goodbye_comes_behind_the_last_entry() {
    let (inbox, _) = inbox();
    hand_over(&inbox, 1);
    hand_over(&inbox, 2);
    inbox.drain();
    assert!(!inbox.take(1).drain);
    assert!(inbox.take(1).drain);
    assert!(!inbox.take(1).drain, "once");
}

#[test]
fn bytes_leave_room_again_when_they_are_taken() {
    let (inbox, _) = inbox();
    let half = Arc::new(Publication {
        position: Position(1),
        channel: "a".into(),
        body: vec![b'x'; BYTES_MAX / 2].into(),
        at_ms: 0,
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

/// Each step is one critical section, so threads can do nothing that is not one of these sequences.
#[test]
fn shard_that_sleeps_unwoken_has_nothing_to_do_in_every_order_of_steps() {
    const STEPS: u32 = 8;
    for order in 0..4_u32.pow(STEPS) {
        let (inbox, bell) = inbox();
        let (mut waiting, mut asleep_since) = (0, None);
        for step in 0..STEPS {
            match order / 4_u32.pow(step) % 4 {
                0 => {
                    hand_over(&inbox, 1);
                    waiting += 1;
                }
                1 => waiting -= positions(&inbox, 1).len(),
                2 if inbox.may_sleep() => asleep_since = Some(bell.count()),
                2 => asleep_since = None,
                _ => {
                    inbox.woke();
                    asleep_since = None;
                }
            }
            let sleeps_unwoken = asleep_since == Some(bell.count());
            assert!(!sleeps_unwoken || waiting == 0, "{order} at {step}");
        }
    }
}
