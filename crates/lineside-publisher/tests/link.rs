//! The link and its spool without a socket, a thread or a clock, as a simulation drives them.

#![expect(
    clippy::unwrap_used,
    reason = "what a test calls fails as the test does"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Wake, Waker};

use bytes::BytesMut;
use lineside_protocol::codes::LINK_REPLACED;
use lineside_protocol::frame::{
    Ack, Fault, Frame, Hello, PROTOCOL_VERSION, Receipt, ToPublisher, ToSidecar, Welcome,
};
use lineside_protocol::{Epoch, Position};
use lineside_publisher::{
    Ended, Link, NotAccepted, Outcome, PublishOptions, Sequence, Settings, Spool, WAITERS_MAX,
};

/// Head, sequence, the head of one publication, its channel and payload.
const FRAME_BYTES: usize = 8 + 8 + 6 + "news".len() + "1".len();

fn settings() -> Settings {
    Settings::new("/nowhere", "test[1]")
}

/// Both ends of what a process has; the test is the connection and the sidecar.
struct World {
    spool: Arc<Spool>,
    link: Link,
    inbox: BytesMut,
}

impl World {
    fn new(settings: Settings) -> Self {
        let spool = Arc::new(Spool::new(settings));
        let link = Link::new(Arc::clone(&spool), [7; 16]);
        let inbox = BytesMut::new();
        Self { spool, link, inbox }
    }

    fn publish(&self, count: usize) {
        for _ in 0..count {
            let options = PublishOptions::default();
            self.spool.publish(&[("news", b"1")], options).unwrap();
        }
    }

    /// Connects and welcomes; gives the hello.
    fn open(&mut self, last: u64, epoch: &str, now_ms: u64) -> Hello {
        assert!(self.link.may_open(now_ms));
        self.link.opened(now_ms);
        self.inbox.clear();
        let hello = self.take(usize::MAX);
        self.tell(&ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last,
            position: Position(100),
            fingerprint: [0; 8],
            payload_bytes_max: 65_536,
            epoch: Epoch::new(epoch).unwrap(),
        }))
        .unwrap();
        match hello.as_slice() {
            [ToSidecar::Hello(hello)] => hello.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The connection takes up to `most` bytes; gives the frames that have come whole.
    fn take(&mut self, most: usize) -> Vec<ToSidecar> {
        let mut left = most;
        while left > 0
            && let Some(bytes) = self.link.unsent()
        {
            let count = bytes.len().min(left);
            self.inbox.extend_from_slice(&bytes[..count]);
            self.link.sent(count);
            left -= count;
        }
        let mut frames = Vec::new();
        while let Some(frame) = Frame::split(&mut self.inbox).unwrap() {
            frames.push(ToSidecar::decode(&frame).unwrap());
        }
        frames
    }

    fn tell(&mut self, frame: &ToPublisher) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        // As bad as a connection can be.
        bytes.chunks(1).try_for_each(|byte| self.link.receive(byte))
    }

    fn ack(&mut self, sequence: u64) -> Result<(), Ended> {
        let position = Position(100 + sequence);
        self.tell(&ToPublisher::Ack(Ack { sequence, position }))
    }

    fn cut(&mut self, now_ms: u64) {
        self.link.closed(&Ended::Transport("cut".into()), now_ms);
    }
}

/// Each frame's sequence, and whether it is marked.
fn seen(frames: &[ToSidecar]) -> Vec<(u64, &'static str)> {
    let seen = frames.iter().map(|frame| match frame {
        ToSidecar::Publish(publish) if publish.resent => (publish.sequence, "resent"),
        ToSidecar::Publish(publish) => (publish.sequence, ""),
        ToSidecar::Skip(skip) => (skip.through, "skip"),
        other => panic!("{other:?}"),
    });
    seen.collect()
}

#[derive(Default)]
struct Counted(AtomicU32);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nothing_leaves_before_the_welcome_and_what_is_unacked_goes_out_again() {
    let mut world = World::new(settings());
    world.publish(2);
    assert_eq!(world.link.unsent(), None);
    world.link.opened(0);
    world.link.tick(0).unwrap();
    assert!(matches!(world.take(10).as_slice(), []));
    assert!(matches!(
        world.take(usize::MAX).as_slice(),
        [ToSidecar::Hello(_)]
    ));
    world.link.tick(0).unwrap();
    assert_eq!(world.link.unsent(), None);
    world.cut(0);
    let hello = world.open(0, "a", 5);
    assert_eq!((hello.publisher, hello.done), ([7; 16], 0));
    world.link.tick(5).unwrap();
    assert_eq!(seen(&world.take(usize::MAX)), [(1, ""), (2, "")]);
    world.ack(1).unwrap();
    world.cut(5);
    assert_eq!(world.open(1, "a", 10).done, 1);
    assert_eq!(seen(&world.take(usize::MAX)), [(2, "")]);
    world.cut(10);
    // Another sidecar, with an empty journal: what the first may have delivered says so.
    world.open(0, "b", 20);
    assert_eq!(seen(&world.take(usize::MAX)), [(2, "resent")]);
    world.ack(2).unwrap();
    let status = world.spool.status();
    assert_eq!((status.acked, status.spool_bytes, status.resent), (2, 0, 2));
    assert_eq!(
        world.spool.cursor(),
        Some(Epoch::new("b").unwrap().at(Position(102)))
    );
}

#[test]
fn pauses_between_connections_grow_to_a_second_and_start_again_after_an_ack() {
    let mut world = World::new(settings());
    let mut now_ms = 0;
    let mut pauses = Vec::new();
    for _ in 0..12 {
        world.cut(now_ms);
        let start_ms = now_ms;
        while !world.link.may_open(now_ms) {
            now_ms += 1;
        }
        pauses.push(now_ms - start_ms);
    }
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert!((2..=5).contains(&pauses[0]), "{pauses:?}");
    assert!((500..=1000).contains(&pauses[11]), "{pauses:?}");
    world.publish(1);
    world.open(0, "a", now_ms);
    world.link.tick(now_ms).unwrap();
    world.take(usize::MAX);
    world.ack(1).unwrap();
    world.cut(now_ms);
    assert!(world.link.may_open(now_ms + pauses[0]));
}

#[test]
fn connections_that_bring_nothing_forward_come_ever_more_rarely() {
    let mut world = World::new(settings());
    let mut now_ms = 0;
    for _ in 0..12 {
        while !world.link.may_open(now_ms) {
            now_ms += 1;
        }
        world.open(0, "a", now_ms);
        world.cut(now_ms);
    }
    assert!(!world.link.may_open(now_ms + 499));
}

#[test]
fn replaced_publisher_pauses_for_a_minute() {
    let mut world = World::new(settings());
    world.open(0, "a", 0);
    let ended = world.tell(&ToPublisher::Fault(Fault {
        code: LINK_REPLACED.number,
        message: "newer".into(),
    }));
    world.link.closed(&ended.unwrap_err(), 0);
    assert!(!world.link.may_open(59_999));
    assert!(world.link.may_open(60_000));
    // Meanwhile it looks after the age of what is published every second, and ends its wait on time.
    assert_eq!(world.link.wait_ms(Waker::noop(), 100), Some(1000));
    assert_eq!(world.link.wait_ms(Waker::noop(), 59_400), Some(600));
}

#[test]
fn sidecar_that_does_not_answer_is_left_after_five_seconds() {
    let mut world = World::new(settings());
    world.link.opened(1000);
    assert_eq!(world.link.tick(5999), Ok(()));
    assert_eq!(world.link.tick(6000), Err(Ended::Silent));
}

#[test]
fn sleeper_is_woken_by_the_first_publication_and_not_by_the_next() {
    let mut world = World::new(settings());
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&counted));
    let woken = || counted.0.load(Ordering::Relaxed);
    assert_eq!(world.link.wait_ms(&waker, 0), None);
    world.publish(3);
    assert_eq!(woken(), 1);
    // It was woken, or something else ended its wait: there is something to do.
    assert_eq!(world.link.wait_ms(&waker, 0), Some(0));
    world.publish(1);
    assert_eq!(woken(), 1);
    world.link.tick(0).unwrap();
    // The connection is to be waited for now.
    assert_eq!(world.link.wait_ms(&waker, 0), Some(1000));
    world.publish(1);
    assert_eq!(woken(), 1);
}

#[test]
fn full_spool_refuses_at_once_and_counts_exactly() {
    let spool_bytes_max = 10 * FRAME_BYTES;
    let mut world = World::new(Settings {
        spool_bytes_max,
        ..settings()
    });
    world.publish(10);
    for refused in 1..=25 {
        let full = NotAccepted::SpoolFull {
            held: spool_bytes_max,
            max: spool_bytes_max,
        };
        let options = PublishOptions::default();
        assert_eq!(world.spool.publish(&[("news", b"1")], options), Err(full));
        assert_eq!(world.spool.status().dropped_full, refused);
    }
    assert_eq!(world.spool.status().accepted, 10);
    // Sent is not acked: there is no room before that, and then for as many as were acked.
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    assert_eq!(world.take(usize::MAX).len(), 10);
    let options = PublishOptions::default();
    assert!(world.spool.publish(&[("news", b"1")], options).is_err());
    world.ack(10).unwrap();
    world.publish(10);
    assert!(world.spool.publish(&[("news", b"1")], options).is_err());
    world.link.tick(0).unwrap();
    // No sequence was given to what was refused: the sidecar sees no gap.
    let next = (11..=20).map(|sequence| (sequence, "")).collect::<Vec<_>>();
    assert_eq!(seen(&world.take(usize::MAX)), next);
    assert_eq!(world.spool.status().dropped_full, 27);
}

#[test]
fn what_is_too_old_is_dropped_counted_and_announced() {
    let mut world = World::new(Settings {
        spool_seconds_max: 10,
        ..settings()
    });
    let asked = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let sequence = world.spool.publish(&[("news", b"1")], asked).unwrap();
    world.publish(2);
    for now_ms in (0..10_000).step_by(1000) {
        world.link.tick(now_ms).unwrap();
    }
    world.publish(1);
    assert_eq!(world.spool.status().dropped_aged, 0);
    world.link.tick(10_000).unwrap();
    let status = world.spool.status();
    assert_eq!((status.accepted, status.dropped_aged), (4, 3));
    assert_eq!(
        world.spool.answer(sequence, Waker::noop()),
        Poll::Ready(Outcome::Dropped)
    );
    world.open(0, "a", 10_000);
    assert_eq!(seen(&world.take(usize::MAX)), [(3, "skip")]);
    world.link.tick(10_000).unwrap();
    assert_eq!(seen(&world.take(usize::MAX)), [(4, "")]);
    world.ack(4).unwrap();
    let status = world.spool.status();
    assert_eq!(
        (status.acked, status.dropped_aged, status.spool_bytes),
        (1, 3, 0)
    );
}

#[test]
fn answer_is_kept_until_it_is_fetched() {
    let mut world = World::new(settings());
    let asked = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let sequence = world.spool.publish(&[("news", b"1")], asked).unwrap();
    assert_eq!(sequence, Sequence(1));
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    world.take(usize::MAX);
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&counted));
    assert_eq!(world.spool.answer(sequence, &waker), Poll::Pending);
    let receipt = Receipt {
        sequence: 1,
        position: Position(101),
        duplicate: true,
    };
    world.tell(&ToPublisher::Receipt(receipt)).unwrap();
    assert_eq!(counted.0.load(Ordering::Relaxed), 1);
    assert_eq!(
        world.spool.cursor(),
        Some(Epoch::new("a").unwrap().at(Position(101)))
    );
    let answer = Poll::Ready(Outcome::Receipt {
        cursor: Epoch::new("a").unwrap().at(Position(101)),
        duplicate: true,
    });
    assert_eq!(world.spool.answer(sequence, &waker), answer);
    assert_eq!(
        world.spool.answer(sequence, &waker),
        Poll::Ready(Outcome::TimedOut)
    );
}

#[test]
fn oldest_answer_gives_way_and_whoever_waits_for_it_is_told() {
    let world = World::new(settings());
    let asked = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let ask = || world.spool.publish(&[("news", b"1")], asked).unwrap();
    let oldest = ask();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&counted));
    assert_eq!(world.spool.answer(oldest, &waker), Poll::Pending);
    let newest = (1..WAITERS_MAX).fold(oldest, |_, _| ask());
    assert_eq!(counted.0.load(Ordering::Relaxed), 0);
    ask();
    assert_eq!(counted.0.load(Ordering::Relaxed), 1);
    let gone = Poll::Ready(Outcome::TimedOut);
    assert_eq!(world.spool.answer(oldest, &waker), gone);
    assert_eq!(world.spool.answer(newest, &waker), Poll::Pending);
}

#[test]
fn ack_that_comes_late_takes_nothing_back() {
    let mut world = World::new(settings());
    world.publish(3);
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    world.take(usize::MAX);
    world.ack(2).unwrap();
    world.ack(1).unwrap();
    assert_eq!(world.spool.status().acked, 2);
    world.ack(3).unwrap();
    let status = world.spool.status();
    assert_eq!((status.acked, status.spool_bytes), (3, 0));
}
