use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use lineside_hub::{Encode, HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::codes::{self, LinkCode};
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, ToPublisher, ToSidecar, encode_publish,
};
use lineside_protocol::{Epoch, Position};
use lineside_token::Keys;
use tokio::sync::{oneshot, watch};

use super::{LOOK_MS, Links, NewLink, READ_BYTES, REASON_MS_MAX, TURN_BYTES_MAX};
use crate::broker::tests::TestPublisher;
use crate::broker::{Broker, Inbox};
use crate::clock::Now;
use crate::keyring::Keyring;

/// Number of turns after which something counts as not happening.
const TURNS: usize = 1_000;

/// Two shards, of which the first has links.
struct Stage {
    broker: Arc<Broker>,
    inboxes: [Arc<Inbox>; 2],
    links: Links<UnixStream>,
    served: watch::Sender<()>,
    now: Now,
}

/// The publisher's end of a link.
struct Publisher {
    number: u64,
    socket: UnixStream,
    /// Without a value until the link ends.
    ended: oneshot::Receiver<()>,
    sequence: u64,
}

impl Stage {
    fn new() -> Self {
        Self::encoding(|it| Bytes::copy_from_slice(it.payload))
    }

    fn encoding(encode: Encode) -> Self {
        let epoch = Epoch::new("a").unwrap();
        let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
        let inboxes = [(); 2].map(|()| Arc::new(Inbox::new(Waker::noop().clone())));
        let broker = Arc::new(Broker::new(hub, inboxes.to_vec(), encode));
        let keys = Keyring::new(Keys::parse("0123456789abcdefghijklmnopqrstuvwxyz").unwrap());
        Self {
            links: Links::new(0, Arc::clone(&broker), Arc::new(keys)),
            broker,
            inboxes,
            served: watch::Sender::new(()),
            now: Now {
                ms: 1_000,
                wall_ms: 1_700_000_000_000,
            },
        }
    }

    /// Opens a link without a hello.
    fn connect(&mut self, number: u64) -> Publisher {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (open, ended) = oneshot::channel();
        let link = NewLink {
            number,
            socket: theirs,
            is_served: self.served.subscribe(),
            open,
        };
        self.links.admit(link, self.now);
        Publisher {
            number,
            socket: ours,
            ended,
            sequence: 0,
        }
    }

    /// Opens the link of the publisher with this number, and exchanges the greeting.
    fn open(&mut self, number: u64, publisher: u8) -> Publisher {
        let mut link = self.connect(number);
        link.write(&hello(publisher));
        self.read(&link);
        assert!(matches!(link.answers()[..], [ToPublisher::Welcome(_)]));
        link
    }

    /// Reports a link as readable, and does one turn of a shard that has dispatched everything.
    fn read(&mut self, link: &Publisher) {
        self.links.readable(link.number, false);
        self.turn();
    }

    fn turn(&mut self) {
        self.links.turn(self.now, self.broker.newest());
    }

    /// Does a turn at the time when it is due, unless that is later than `ms_max` from now. Returns whether it was.
    fn wait(&mut self, ms_max: u64) -> bool {
        let due_ms = self.links.due_ms().max(self.now.ms);
        let is_due = due_ms <= self.now.ms + ms_max;
        if is_due {
            self.now.ms = due_ms;
            self.turn();
        }
        is_due
    }

    fn landed(&self) -> u64 {
        self.broker.newest().0
    }
}

impl Publisher {
    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Publishes a payload of this size.
    fn publish(&mut self, payload_bytes: usize, wants_receipt: bool) {
        let bytes = self.publication(payload_bytes, wants_receipt);
        self.write(&bytes);
    }

    fn publication(&mut self, payload_bytes: usize, wants_receipt: bool) -> Vec<u8> {
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            wants_receipt,
            once: None,
        };
        let mut bytes = Vec::new();
        encode_publish(
            &mut bytes,
            head,
            [("news", "1".repeat(payload_bytes).as_bytes())],
        );
        bytes
    }

    /// Publishes until the kernel takes no more. Returns the number of publications.
    fn fill(&mut self) -> u64 {
        loop {
            let bytes = self.publication(1_000, false);
            match self.socket.write(&bytes) {
                Ok(count) if count == bytes.len() => {}
                Ok(_) => return self.sequence - 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return self.sequence - 1;
                }
            }
        }
    }

    /// Answers that have arrived.
    fn answers(&mut self) -> Vec<ToPublisher> {
        let mut bytes = Vec::new();
        // An error says that the sidecar sends more later, or was closed with unread bytes.
        drop(self.socket.read_to_end(&mut bytes));
        let mut bytes = BytesMut::from(&bytes[..]);
        let mut answers = Vec::new();
        while let Some(frame) = Frame::split(&mut bytes).unwrap() {
            answers.push(ToPublisher::decode(&frame).unwrap());
        }
        answers
    }

    /// Asserts that the link has ended, with this reason as the last answer.
    fn assert_ended(&mut self, code: LinkCode) {
        let answers = self.answers();
        assert!(
            matches!(answers.last(), Some(ToPublisher::Fault(fault)) if fault.code == code.number),
            "{answers:?}"
        );
        assert!(self.is_ended());
    }

    fn is_ended(&mut self) -> bool {
        self.ended.try_recv() == Err(oneshot::error::TryRecvError::Closed)
    }
}

fn hello(publisher: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    ToSidecar::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher: [publisher; 16],
        done: 0,
        fingerprint: [0; 8],
        name: "test[1]".into(),
    })
    .encode(&mut bytes);
    bytes
}

#[test]
fn full_inbox_of_another_shard_stops_reads_and_nothing_is_lost() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[1].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    let full = stage.landed();
    link.publish(1, false);
    stage.links.readable(link.number, false);
    for _ in 0..TURNS {
        assert!(stage.wait(10));
    }
    assert_eq!(stage.landed(), full);
    // It is told positions, and acked nothing.
    let answers = link.answers();
    assert!(
        answers.iter().all(|it| matches!(it, ToPublisher::Moved(_))),
        "{answers:?}"
    );
    // It looks again by itself.
    stage.inboxes[1].take(1);
    assert!(stage.wait(10) && stage.wait(10));
    assert_eq!(stage.landed(), full + 1);
}

#[test]
fn hello_is_answered_without_room_for_publications() {
    let mut stage = Stage::new();
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[1].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    stage.open(1, 7);
}

#[test]
fn full_inbox_of_the_own_shard_does_not_stop_reads() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[0].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    stage.inboxes[1].take(usize::MAX);
    let full = stage.landed();
    link.publish(1, false);
    stage.read(&link);
    assert_eq!(stage.landed(), full + 1);
}

#[test]
fn links_are_read_again_once_the_shard_has_dispatched_what_they_brought() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let begun = link.fill();
    stage.links.readable(link.number, false);
    let mut dispatched = Position(0);
    while stage.landed() < begun {
        stage.links.turn(stage.now, dispatched);
        let landed = stage.landed();
        assert!(landed > dispatched.0);
        for behind in dispatched.0..landed {
            stage.links.turn(stage.now, Position(behind));
        }
        assert_eq!(stage.landed(), landed);
        dispatched = Position(landed);
    }
    assert_eq!(stage.landed(), begun);
}

#[test]
fn turn_reads_a_limited_size_and_takes_links_in_rotation() {
    let mut stage = Stage::new();
    let mut flooding = [(1, 11), (2, 12), (3, 13)].map(|(number, id)| stage.open(number, id));
    let mut calm = stage.open(4, 20);
    for link in &mut flooding {
        link.fill();
        stage.links.readable(link.number, false);
    }
    calm.publish(1, true);
    stage.links.readable(calm.number, false);
    let publications = (TURN_BYTES_MAX + READ_BYTES).div_ceil(1_000) as u64;
    stage.turn();
    assert!((1..=publications).contains(&stage.landed()));
    stage.turn();
    assert!(matches!(
        calm.answers()[..],
        [ToPublisher::Receipt(_), ToPublisher::Ack(_)]
    ));
}

#[test]
fn quiet_link_is_acked_and_others_are_told_within_50_ms() {
    let mut stage = Stage::new();
    let (mut busy, mut idle) = (stage.open(1, 7), stage.open(2, 8));
    busy.publish(1, false);
    stage.read(&busy);
    let published_ms = stage.now.ms;
    assert_eq!((busy.answers(), idle.answers()), (vec![], vec![]));
    assert!(stage.wait(LOOK_MS));
    assert!(matches!(
        busy.answers()[..],
        [ToPublisher::Ack(ack)] if (ack.sequence, ack.position) == (1, Position(1))
    ));
    while stage.wait(50) {}
    assert!(stage.now.ms <= published_ms + 50);
    assert!(matches!(
        idle.answers()[..],
        [ToPublisher::Moved(moved)] if moved.position == Position(1)
    ));
    // Both are up to date, so nothing wakes the shard.
    assert_eq!(stage.links.due_ms(), u64::MAX);
}

#[test]
fn links_are_told_positions_that_other_shards_landed() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    TestPublisher::greet(&stage.broker, 8).publish(&stage.broker, "news", "1", 0);
    stage.turn();
    while stage.wait(50) {}
    assert!(matches!(link.answers()[..], [ToPublisher::Moved(moved)] if moved.position.0 == 1));
}

/// Publishes without reading answers, until the sidecar reads the link no more.
fn publish_without_reading(stage: &mut Stage, link: &mut Publisher) {
    while stage.links.next_blocked().is_none() {
        link.publish(1, true);
        stage.read(link);
    }
    let landed = stage.landed();
    link.publish(1, true);
    stage.read(link);
    assert_eq!(stage.landed(), landed);
}

#[test]
fn publisher_that_reads_late_is_acked_and_told_the_newest_position() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    TestPublisher::greet(&stage.broker, 8).publish(&stage.broker, "news", "1", 0);
    while stage.wait(1_000) {}
    let mut answers = Vec::new();
    for _ in 0..TURNS {
        answers.extend(link.answers());
        stage.links.writable(link.number, stage.now);
        stage.wait(1_000);
    }
    let acked = answers.iter().rev().find_map(|answer| match answer {
        ToPublisher::Ack(ack) => Some(ack.sequence),
        _ => None,
    });
    assert_eq!(acked, Some(link.sequence));
    let told = answers.iter().rev().find_map(|answer| match answer {
        ToPublisher::Ack(ack) => Some(ack.position),
        ToPublisher::Moved(moved) => Some(moved.position),
        _ => None,
    });
    assert_eq!(told, Some(stage.broker.newest()));
}

#[test]
fn publisher_that_reads_no_answers_does_not_delay_a_stop() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    let landed = stage.landed();
    stage.links.stop(stage.now);
    assert!(stage.served.is_closed());
    assert!(link.is_ended());
    assert_eq!(stage.landed(), landed);
}

#[test]
fn stop_ends_present_and_future_links_with_the_reason() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    link.publish(1, false);
    stage.read(&link);
    assert!(!stage.served.is_closed());
    stage.links.stop(stage.now);
    let answers = link.answers();
    assert!(matches!(
        answers[..],
        [ToPublisher::Ack(ack), ToPublisher::Fault(_)] if ack.sequence == 1
    ));
    assert!(link.is_ended());
    stage.connect(2).assert_ended(codes::LINK_DRAIN);
    assert!(stage.served.is_closed());
}

#[test]
fn replaced_link_ends_with_the_reason_and_another_shards_link_with_nothing() {
    let mut stage = Stage::new();
    let mut older = stage.open(1, 7);
    let mut newer = stage.open(2, 7);
    for inbox in &stage.inboxes {
        assert_eq!(inbox.take(1).replaced_links, [1]);
    }
    stage.links.replace(1, stage.now);
    older.assert_ended(codes::LINK_REPLACED);
    stage.links.replace(100, stage.now);
    newer.publish(1, true);
    stage.read(&newer);
    assert_eq!(newer.answers().len(), 2);
}

#[test]
fn link_without_a_hello_ends_after_5_s() {
    let mut stage = Stage::new();
    let mut silent = stage.connect(1);
    assert!(!stage.wait(4_999));
    assert!(stage.wait(5_000));
    silent.assert_ended(codes::LINK_BAD_FRAME);
}

#[test]
fn publisher_that_does_not_read_the_reason_is_closed_a_second_later() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    stage.links.replace(1, stage.now);
    assert!(stage.served.is_closed());
    assert!(!link.is_ended());
    stage.now.ms += REASON_MS_MAX;
    stage.turn();
    assert!(link.is_ended());
}

#[test]
fn publisher_that_closes_ends_its_link_after_its_last_publication() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    link.publish(1, false);
    link.socket.shutdown(std::net::Shutdown::Write).unwrap();
    // One event reports both.
    stage.links.readable(link.number, true);
    stage.turn();
    stage.turn();
    assert_eq!(stage.landed(), 1);
    assert!(stage.served.is_closed());
    assert!(matches!(link.answers()[..], [ToPublisher::Ack(_)]));
    assert!(link.is_ended());
}

#[test]
fn publications_that_a_publisher_sent_before_it_was_killed_land() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let count = link.fill();
    drop(link.socket);
    stage.links.readable(link.number, true);
    while stage.wait(TURNS as u64) {}
    assert_eq!(stage.landed(), count);
    assert_eq!(
        link.ended.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    );
}

#[test]
fn shard_sleeps_once_its_last_link_has_ended() {
    let mut stage = Stage::new();
    let link = stage.open(1, 7);
    drop(link.socket);
    stage.links.readable(link.number, true);
    stage.turn();
    stage.turn();
    assert_eq!(stage.links.due_ms(), u64::MAX);

    let link = stage.open(2, 8);
    stage.links.readable(link.number, false);
    stage.links.stop(stage.now);
    stage.turn();
    assert_eq!(stage.links.due_ms(), u64::MAX);
}

#[test]
fn panic_ends_one_link_alone() {
    let mut stage = Stage::encoding(|it| {
        assert!(it.payload.len() < 2, "a fault of the encoder");
        Bytes::copy_from_slice(it.payload)
    });
    let (mut faulty, mut other) = (stage.open(1, 7), stage.open(2, 8));
    faulty.publish(2, false);
    stage.read(&faulty);
    assert!(faulty.is_ended());
    other.publish(1, true);
    stage.read(&other);
    assert_eq!(other.answers().len(), 2);
}

#[test]
fn links_of_a_closed_broker_ack_nothing() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    stage.broker.close();
    link.publish(1, true);
    stage.read(&link);
    while stage.wait(1_000) {}
    assert_eq!(stage.landed(), 0);
    assert_eq!(link.answers(), []);
}
