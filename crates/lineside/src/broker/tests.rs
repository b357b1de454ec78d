use std::pin::pin;
use std::task::{Context, Waker};

use bytes::Bytes;
use lineside_hub::{HistoryLimits, PUBLISHERS_MAX, Publication, Revocation, Verdict};
use lineside_protocol::frame::{Frame, PublishHead, Revoke, ToSidecar, encode_publish};
use lineside_protocol::{After, Epoch, PAYLOAD_BYTES_MAX};

use super::*;

/// Publisher without a link, for the tests of this crate. Proposes entries to a broker.
#[derive(Debug)]
pub(crate) struct TestPublisher {
    origin: Origin,
    sequence: u64,
}

impl TestPublisher {
    /// Registers the publisher with this number.
    pub(crate) fn greet(broker: &Broker, number: u8) -> Self {
        let origin = Origin {
            publisher: [number; 16],
            link: 1,
        };
        broker.greet(origin, 0, 0).unwrap();
        Self {
            origin,
            sequence: 0,
        }
    }

    /// Publishes a JSON value.
    pub(crate) fn publish(
        &mut self,
        broker: &Broker,
        channel: &str,
        payload: &str,
        now_ms: u64,
    ) -> Arc<Publication> {
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            ..PublishHead::default()
        };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, head, [(channel, payload.as_bytes())]);
        let frame = Frame::split(&mut bytes.as_slice().into()).unwrap().unwrap();
        let Ok(ToSidecar::Publish(publish)) = ToSidecar::decode(&frame) else {
            panic!("not a publish frame")
        };
        let proposal = Proposal::publish(&publish, PAYLOAD_BYTES_MAX);
        match broker.propose(self.origin, proposal, now_ms) {
            Outcome::Landed { publications, .. } => Arc::clone(&publications[0]),
            other => panic!("{other:?}"),
        }
    }

    /// Revokes the tokens of a user that were issued by `until_ms`. An empty session means all sessions.
    pub(crate) fn revoke(
        &mut self,
        broker: &Broker,
        user: &str,
        session: &str,
        until_ms: u64,
    ) -> Arc<Revocation> {
        self.sequence += 1;
        let frame = Revoke {
            sequence: self.sequence,
            wants_receipt: false,
            revoked_ms: until_ms,
            sub: user.to_owned().into(),
            sid: session.to_owned().into(),
        };
        let proposal = Proposal::revoke(&frame, u64::MAX, None);
        match broker.propose(self.origin, proposal, 0) {
            Outcome::Revoked { revocation, .. } => revocation,
            other => panic!("{other:?}"),
        }
    }
}

fn inboxes() -> [Arc<Inbox>; 2] {
    [(); 2].map(|()| Arc::new(Inbox::new(Waker::noop().clone())))
}

fn broker(inboxes: &[Arc<Inbox>]) -> Broker {
    let epoch = Epoch::new("e").unwrap();
    let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    Broker::new(hub, inboxes.to_vec(), |it| {
        Bytes::copy_from_slice(it.payload)
    })
}

/// Takes the positions of all entries out of an inbox.
fn positions(inbox: &Inbox) -> Vec<u64> {
    let entries = inbox.take(usize::MAX).entries;
    let positions = entries.iter().map(|entry| match entry {
        InboxEntry::Publication(publication) => publication.position.0,
        InboxEntry::Revocation(position, _) => position.0,
    });
    positions.collect()
}

#[test]
fn entry_is_in_every_inbox_before_propose_returns() {
    let inboxes = inboxes();
    let broker = broker(&inboxes);
    let mut publisher = TestPublisher::greet(&broker, 1);
    publisher.publish(&broker, "news", "1", 0);
    for inbox in &inboxes {
        assert_eq!(positions(inbox), [1]);
    }
    publisher.revoke(&broker, "42", "", 1);
    publisher.publish(&broker, "news", "2", 0);
    for inbox in &inboxes {
        assert_eq!(positions(inbox), [2, 3]);
    }
}

#[test]
fn entries_of_many_threads_reach_every_inbox_in_journal_order() {
    const ENTRIES: u64 = 1_000;
    let inboxes = inboxes();
    let broker = broker(&inboxes);
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let mut publisher = TestPublisher::greet(&broker, number);
            let broker = &broker;
            scope.spawn(move || {
                for entry in 0..ENTRIES {
                    if entry % 10 == 9 {
                        publisher.revoke(broker, "42", "", entry);
                    } else {
                        publisher.publish(broker, "news", "1", 0);
                    }
                }
            });
        }
    });
    let all: Vec<u64> = (1..=4 * ENTRIES).collect();
    for inbox in &inboxes {
        assert_eq!(positions(inbox), all);
    }
}

#[test]
fn tail_opened_during_publishing_misses_nothing_after_its_cursor() {
    const PUBLICATIONS: u64 = 600;
    const STEP: u64 = PUBLICATIONS / tails::TAILS_MAX as u64;
    for _ in 0..10 {
        let broker = broker(&[]);
        let mut publisher = TestPublisher::greet(&broker, 1);
        let opened: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..PUBLICATIONS {
                    publisher.publish(&broker, "news", "1", 0);
                }
            });
            let open = |step| {
                while broker.cursor().position.0 < step * STEP {
                    std::thread::yield_now();
                }
                broker.open_tail(Filter::parse("news").unwrap()).unwrap()
            };
            (0..tails::TAILS_MAX as u64).map(open).collect()
        });
        for (tail, cursor) in opened {
            let batch = tail.take();
            let received: Vec<u64> = batch.publications.iter().map(|it| it.position.0).collect();
            let expected: Vec<u64> = (cursor.position.0 + 1..=PUBLICATIONS).collect();
            assert_eq!((received, batch.missed), (expected, 0));
        }
    }
}

#[test]
fn app_link_that_follows_during_publishing_gets_everything_after_its_cursors_once() {
    const PUBLICATIONS: u64 = 900;
    const AFTER: u64 = 7;
    let broker = broker(&[]);
    let mut publisher = TestPublisher::greet(&broker, 1);
    let want = |channel: &str| Want {
        channel: channel.into(),
        after: Some(After::Cursor(broker.cursor().epoch.at(Position(AFTER)))),
    };
    let links: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..PUBLICATIONS {
                publisher.publish(&broker, if number % 2 == 0 { "a" } else { "b" }, "1", 0);
            }
        });
        let follow = |step| {
            while broker.cursor().position.0 < AFTER + step * 25 {
                std::thread::yield_now();
            }
            let queue = broker.open_app_link().unwrap();
            let first = broker.follow(&queue, vec![want("a")]);
            let second = broker.follow(&queue, vec![want("b")]);
            (queue, [first, second])
        };
        (0..30_u64).map(follow).collect()
    });
    for (queue, followed) in links {
        let mut received = Vec::new();
        for mut followed in followed {
            assert_eq!(followed.answer.verdicts, [Verdict::Recovered]);
            received.extend(followed.earlier);
            received.extend(std::iter::from_fn(|| followed.answer.replay.take_next()));
        }
        received.extend(queue.take_all());
        for channel in ["a", "b"] {
            let positions = received.iter().filter(|it| *it.channel == *channel);
            let positions: Vec<u64> = positions.map(|it| it.position.0).collect();
            let is_of = |position: &u64| (position % 2 == 1) == (channel == "a");
            let expected: Vec<u64> = (AFTER + 1..=PUBLICATIONS).filter(is_of).collect();
            assert_eq!(positions, expected);
        }
    }
}

#[test]
fn closed_tail_receives_nothing_and_leaves_its_place_to_another() {
    let broker = broker(&[]);
    let mut publisher = TestPublisher::greet(&broker, 1);
    let open = || broker.open_tail(Filter::parse("*").unwrap());
    let tails: Vec<_> = (0..tails::TAILS_MAX).map(|_| open().unwrap().0).collect();
    assert!(open().is_err());
    broker.close_tail(&tails[0]);
    publisher.publish(&broker, "news", "1", 0);
    assert_eq!(tails[0].take().publications.len(), 0);
    assert_eq!(tails[1].take().publications.len(), 1);
    assert!(open().is_ok());
}

#[test]
fn room_waits_until_no_inbox_is_full() {
    let inboxes = inboxes();
    let broker = broker(&inboxes);
    let mut publisher = TestPublisher::greet(&broker, 1);
    while broker.has_room() {
        publisher.publish(&broker, "news", "1", 0);
    }
    let mut context = Context::from_waker(Waker::noop());
    let mut room = pin!(broker.room());
    assert!(room.as_mut().poll(&mut context).is_pending());
    inboxes[0].take(1);
    assert!(room.as_mut().poll(&mut context).is_pending());
    assert!(!broker.has_room());
    inboxes[1].take(1);
    assert!(room.as_mut().poll(&mut context).is_ready());
    assert!(broker.has_room());
}

#[test]
fn hub_that_a_panic_left_inconsistent_is_not_saved() {
    let epoch = Epoch::new("e").unwrap();
    let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    let broker = Broker::new(hub, Vec::new(), |_| panic!("a fault of the encoder"));
    let at = SavedAt {
        now_ms: 0,
        wall_ms: 0,
    };
    assert!(broker.save(at, io::sink()).is_ok());
    let mut publisher = TestPublisher::greet(&broker, 1);
    let publish = || drop(publisher.publish(&broker, "news", "1", 0));
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(publish)).unwrap_err();
    assert!(broker.save(at, io::sink()).is_err());
}
