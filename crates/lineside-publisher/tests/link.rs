//! Tests of [`LinkClient`] and its spool without a socket, a thread or a clock.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Wake, Waker};

use bytes::BytesMut;
use lineside_protocol::codes::{LINK_KEY_MISMATCH, LINK_REPLACED};
use lineside_protocol::frame::{
    Ack, Fault, Frame, Hello, PROTOCOL_VERSION, Receipt, ToPublisher, ToSidecar, Welcome,
};
use lineside_protocol::{Epoch, Position};
use lineside_publisher::{
    Ended, LinkClient, NotAccepted, Outcome, PublishOptions, Sequence, Settings, Spool, WAITERS_MAX,
};

/// Size of a frame: head, sequence, head of one publication, channel and payload.
const FRAME_BYTES: usize = 8 + 8 + 6 + "news".len() + "1".len();

fn settings() -> Settings {
    Settings::new("/nowhere", "test[1]")
}

/// Spool and link client of a process. The test plays the connection and the sidecar.
struct World {
    spool: Arc<Spool>,
    link: LinkClient,
    inbox: BytesMut,
}

impl World {
    fn new(settings: Settings) -> Self {
        let spool = Arc::new(Spool::new(settings));
        let link = LinkClient::new(Arc::clone(&spool), [7; 16]);
        let inbox = BytesMut::new();
        Self { spool, link, inbox }
    }

    fn publish(&self, count: usize) {
        for _ in 0..count {
            let options = PublishOptions::default();
            self.spool.publish(&[("news", b"1")], options).unwrap();
        }
    }

    /// Connects, and sends a welcome. Returns the hello.
    fn open(&mut self, last: u64, epoch: &str, now_ms: u64) -> Hello {
        assert!(self.link.may_open(now_ms));
        self.link.opened(now_ms);
        self.inbox.clear();
        let hello = self.receive(usize::MAX);
        self.send(&ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last,
            position: Position(100),
            fingerprint: [0; 8],
            epoch: Epoch::new(epoch).unwrap(),
        }))
        .unwrap();
        match hello.as_slice() {
            [ToSidecar::Hello(hello)] => hello.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// Sends up to `most` bytes. Returns the complete frames.
    fn receive(&mut self, most: usize) -> Vec<ToSidecar> {
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

    /// Sends a frame to the publisher, byte by byte.
    fn send(&mut self, frame: &ToPublisher) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);

        bytes.chunks(1).try_for_each(|byte| self.link.receive(byte))
    }

    fn ack(&mut self, sequence: u64) -> Result<(), Ended> {
        let position = Position(100 + sequence);
        self.send(&ToPublisher::Ack(Ack { sequence, position }))
    }

    fn cut(&mut self, now_ms: u64) {
        self.link.closed(&Ended::Transport("cut".into()), now_ms);
    }
}

/// Returns the sequence of each frame, and `resent` or `skip`.
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
fn frames_wait_for_the_welcome_and_are_sent_again_until_acked() {
    let mut world = World::new(settings());
    world.publish(2);
    assert_eq!(world.link.unsent(), None);
    world.link.opened(0);
    world.link.tick(0).unwrap();
    assert!(matches!(world.receive(10).as_slice(), []));
    assert!(matches!(
        world.receive(usize::MAX).as_slice(),
        [ToSidecar::Hello(_)]
    ));
    world.link.tick(0).unwrap();
    assert_eq!(world.link.unsent(), None);
    world.cut(0);
    let hello = world.open(0, "a", 5);
    assert_eq!((hello.publisher, hello.done), ([7; 16], 0));
    world.link.tick(5).unwrap();
    assert_eq!(seen(&world.receive(usize::MAX)), [(1, ""), (2, "")]);
    world.ack(1).unwrap();
    world.cut(5);
    assert_eq!(world.open(1, "a", 10).done, 1);
    assert_eq!(seen(&world.receive(usize::MAX)), [(2, "")]);
    world.cut(10);
    // Another sidecar with an empty journal: the frame that the first may have delivered is marked.
    world.open(0, "b", 20);
    assert_eq!(seen(&world.receive(usize::MAX)), [(2, "resent")]);
    world.ack(2).unwrap();
    let status = world.spool.status();
    assert_eq!((status.acked, status.spool_bytes, status.resent), (2, 0, 2));
    assert_eq!(
        world.spool.cursor(),
        Some(Epoch::new("b").unwrap().at(Position(102)))
    );
}

#[test]
fn back_off_grows_to_one_second_and_resets_after_an_ack() {
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
    world.receive(usize::MAX);
    world.ack(1).unwrap();
    world.cut(now_ms);
    assert!(world.link.may_open(now_ms + pauses[0]));
}

#[test]
fn back_off_grows_for_connections_without_an_ack() {
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
fn publisher_with_another_secret_retries_once_a_second() {
    let mut world = World::new(settings());
    world.open(0, "a", 0);
    let ended = world.send(&ToPublisher::Fault(Fault {
        code: LINK_KEY_MISMATCH.number,
        message: "another secret".into(),
    }));
    world.link.closed(&ended.unwrap_err(), 0);
    assert!(!world.link.may_open(999));
    assert!(world.link.may_open(1000));
}

#[test]
fn replaced_publisher_pauses_for_a_minute() {
    let mut world = World::new(settings());
    world.open(0, "a", 0);
    let ended = world.send(&ToPublisher::Fault(Fault {
        code: LINK_REPLACED.number,
        message: "newer".into(),
    }));
    world.link.closed(&ended.unwrap_err(), 0);
    assert!(!world.link.may_open(59_999));
    assert!(world.link.may_open(60_000));
    // Meanwhile it checks the age of frames every second, and ends the wait on time.
    assert_eq!(world.link.wait_ms(Waker::noop(), 100), Some(1000));
    assert_eq!(world.link.wait_ms(Waker::noop(), 59_400), Some(600));
}

#[test]
fn silent_sidecar_times_out_after_5_s() {
    let mut world = World::new(settings());
    world.link.opened(1000);
    assert_eq!(world.link.tick(5999), Ok(()));
    assert_eq!(world.link.tick(6000), Err(Ended::Silent));
}

#[test]
fn only_the_first_publication_wakes_the_thread() {
    let mut world = World::new(settings());
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&counted));
    let woken = || counted.0.load(Ordering::Relaxed);
    assert_eq!(world.link.wait_ms(&waker, 0), None);
    world.publish(3);
    assert_eq!(woken(), 1);
    // The spool is not empty, so there is no wait.
    assert_eq!(world.link.wait_ms(&waker, 0), Some(0));
    world.publish(1);
    assert_eq!(woken(), 1);
    world.link.tick(0).unwrap();
    // Unsent bytes wait for the connection.
    assert_eq!(world.link.wait_ms(&waker, 0), Some(1000));
    world.publish(1);
    assert_eq!(woken(), 1);
}

#[test]
fn full_spool_refuses_and_counts_every_publication() {
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
    // Sent frames use the spool until they are acked.
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    assert_eq!(world.receive(usize::MAX).len(), 10);
    let options = PublishOptions::default();
    assert!(world.spool.publish(&[("news", b"1")], options).is_err());
    world.ack(10).unwrap();
    world.publish(10);
    assert!(world.spool.publish(&[("news", b"1")], options).is_err());
    world.link.tick(0).unwrap();
    // Refused publications have no sequence, so there is no gap.
    let next = (11..=20).map(|sequence| (sequence, "")).collect::<Vec<_>>();
    assert_eq!(seen(&world.receive(usize::MAX)), next);
    assert_eq!(world.spool.status().dropped_full, 27);
}

#[test]
fn expired_frames_are_dropped_counted_and_skipped() {
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
    assert_eq!(seen(&world.receive(usize::MAX)), [(3, "skip")]);
    world.link.tick(10_000).unwrap();
    assert_eq!(seen(&world.receive(usize::MAX)), [(4, "")]);
    world.ack(4).unwrap();
    let status = world.spool.status();
    assert_eq!(
        (status.acked, status.dropped_aged, status.spool_bytes),
        (1, 3, 0)
    );
}

#[test]
fn reply_is_kept_until_it_is_fetched() {
    let mut world = World::new(settings());
    let asked = PublishOptions {
        wants_receipt: true,
        ..PublishOptions::default()
    };
    let sequence = world.spool.publish(&[("news", b"1")], asked).unwrap();
    assert_eq!(sequence, Sequence(1));
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    world.receive(usize::MAX);
    let counted = Arc::new(Counted::default());
    let waker = Waker::from(Arc::clone(&counted));
    assert_eq!(world.spool.answer(sequence, &waker), Poll::Pending);
    let receipt = Receipt {
        sequence: 1,
        position: Position(101),
        duplicate: true,
    };
    world.send(&ToPublisher::Receipt(receipt)).unwrap();
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
fn oldest_reply_is_dropped_and_its_waiter_woken() {
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
fn late_ack_changes_nothing() {
    let mut world = World::new(settings());
    world.publish(3);
    world.open(0, "a", 0);
    world.link.tick(0).unwrap();
    world.receive(usize::MAX);
    world.ack(2).unwrap();
    world.ack(1).unwrap();
    assert_eq!(world.spool.status().acked, 2);
    world.ack(3).unwrap();
    let status = world.spool.status();
    assert_eq!((status.acked, status.spool_bytes), (3, 0));
}
