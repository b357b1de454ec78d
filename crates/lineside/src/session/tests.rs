use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX, REVOCATION_MS, SET_BACK_MS_MAX, Unencoded};
use lineside_protocol::codes;
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, Revoke, Skip, ToPublisher, ToSidecar,
    encode_publish,
};
use lineside_protocol::{Epoch, Position};
use lineside_token::{Keys, LEEWAY_MS};

use crate::broker::{Broker, Inbox, InboxEntry};
use crate::clock::Now;
use crate::keyring::Keyring;
use crate::session::{End, Session};

const NOW: Now = Now {
    ms: 1000,
    wall_ms: 1_700_000_000_000,
};

struct World {
    broker: Broker,
    keys: Arc<Keyring>,
    inboxes: Vec<Arc<Inbox>>,
}

impl World {
    fn new() -> Self {
        Self::with_publishers_max(PUBLISHERS_MAX)
    }

    fn with_publishers_max(publishers_max: usize) -> Self {
        let epoch = Epoch::new("a").unwrap();
        let hub = Hub::new(epoch, HistoryLimits::default(), publishers_max);
        let inboxes = [(); 2].map(|()| Arc::new(Inbox::new(Waker::noop().clone())));
        let keys = Keyring::new(Keys::parse("0123456789abcdefghijklmnopqrstuvwxyz").unwrap());
        let encode = |it: &Unencoded<'_>| Bytes::copy_from_slice(it.payload);
        Self {
            broker: Broker::new(hub, inboxes.to_vec(), encode),
            keys: Arc::new(keys),
            inboxes: inboxes.to_vec(),
        }
    }

    /// A session before its hello.
    fn session(&self, number: u64) -> Session {
        Session::new(number, Arc::clone(&self.keys), NOW.ms)
    }

    /// A session of the publisher 7, after its hello.
    fn open(&self, number: u64) -> Session {
        let mut session = self.session(number);
        self.send(&mut session, &hello()).unwrap();
        assert!(matches!(
            answers(&mut session).as_slice(),
            [ToPublisher::Welcome(_)]
        ));
        session
    }

    fn send(&self, session: &mut Session, bytes: &[u8]) -> Result<(), End> {
        session.received().extend_from_slice(bytes);
        session.process(&self.broker, NOW)
    }

    /// Takes the acks that are due, and checks that there were no other answers.
    fn acks(&self, session: &mut Session) -> Vec<(u64, u64)> {
        session
            .tick(&self.broker, NOW.ms + super::ACK_MS_MAX)
            .unwrap();
        acked(&answers(session))
    }

    /// Takes the positions in the inbox of each shard.
    fn dispatched(&self) -> Vec<Vec<u64>> {
        let positions = |inbox: &Arc<Inbox>| {
            let entries = inbox.take(usize::MAX).entries;
            let positions = entries.iter().map(|entry| match entry {
                InboxEntry::Publication(publication) => publication.position.0,
                InboxEntry::Revocation(position, _) => position.0,
            });
            positions.collect()
        };
        self.inboxes.iter().map(positions).collect()
    }
}

fn encoded(frame: &ToSidecar) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

fn hello() -> Vec<u8> {
    hello_of([7; 16])
}

fn hello_of(publisher: [u8; 16]) -> Vec<u8> {
    encoded(&ToSidecar::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher,
        done: 0,
        fingerprint: [0; 8],
        name: "test[1]".into(),
    }))
}

fn publication(sequence: u64, payload: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = PublishHead {
        sequence,
        wants_receipt: false,
        once: None,
    };
    encode_publish(&mut bytes, head, [("news", payload.as_bytes())]);
    bytes
}

/// Takes the unsent answers, one byte at a time.
fn answers(session: &mut Session) -> Vec<ToPublisher> {
    let mut bytes = BytesMut::new();
    while let Some(byte) = session.unsent().first() {
        bytes.extend_from_slice(&[*byte]);
        session.sent(1);
    }
    let mut frames = Vec::new();
    while let Some(frame) = Frame::split(&mut bytes).unwrap() {
        frames.push(ToPublisher::decode(&frame).unwrap());
    }
    frames
}

fn acked(frames: &[ToPublisher]) -> Vec<(u64, u64)> {
    let acks = frames.iter().map(|frame| match frame {
        ToPublisher::Ack(ack) => (ack.sequence, ack.position.0),
        other => panic!("{other:?}"),
    });
    acks.collect()
}

#[test]
fn frames_received_byte_by_byte_land_once_in_every_shard_and_are_acked() {
    let world = World::new();
    let mut session = world.open(1);
    let bytes = [publication(1, "1"), publication(2, "2")].concat();
    for byte in bytes {
        world.send(&mut session, &[byte]).unwrap();
    }
    assert_eq!(world.acks(&mut session), [(2, 2)]);
    assert_eq!(world.dispatched(), [[1, 2], [1, 2]]);
    // A retransmission does not land again.
    let again = [
        publication(2, "2"),
        publication(3, "3"),
        publication(4, "4"),
    ]
    .concat();
    world.send(&mut session, &again).unwrap();
    assert_eq!(world.acks(&mut session), [(4, 4)]);
    assert_eq!(world.dispatched(), [[3, 4], [3, 4]]);
}

#[test]
fn frames_are_acked_together_within_5_ms() {
    let world = World::new();
    let mut session = world.open(1);
    for sequence in 1..=3 {
        world
            .send(&mut session, &publication(sequence, "1"))
            .unwrap();
    }
    assert_eq!(session.due_ms(), Some(NOW.ms + 5));
    session.tick(&world.broker, NOW.ms + 4).unwrap();
    assert_eq!(answers(&mut session), []);
    session.tick(&world.broker, NOW.ms + 5).unwrap();
    assert_eq!(acked(&answers(&mut session)), [(3, 3)]);
    session.tick(&world.broker, NOW.ms + 6).unwrap();
    assert_eq!((answers(&mut session), session.due_ms()), (vec![], None));
}

#[test]
fn many_bytes_and_a_receipt_are_acked_at_once() {
    let world = World::new();
    let mut session = world.open(1);
    let large = format!("\"{}\"", "x".repeat(super::ACK_BYTES_MAX / 2));
    world.send(&mut session, &publication(1, &large)).unwrap();
    assert_eq!(answers(&mut session), []);
    world.send(&mut session, &publication(2, &large)).unwrap();
    assert_eq!(acked(&answers(&mut session)), [(2, 2)]);
    world.send(&mut session, &publication(3, "3")).unwrap();
    let mut bytes = Vec::new();
    let head = PublishHead {
        sequence: 4,
        wants_receipt: true,
        once: None,
    };
    encode_publish(&mut bytes, head, [("news", b"4".as_slice())]);
    world.send(&mut session, &bytes).unwrap();
    assert!(matches!(
        answers(&mut session).as_slice(),
        [ToPublisher::Receipt(receipt), ToPublisher::Ack(ack)]
            if receipt.sequence == 4 && ack.sequence == 4
    ));
    assert_eq!(session.due_ms(), None);
}

#[test]
fn closed_session_acks_what_it_has_processed() {
    let world = World::new();
    let mut session = world.open(1);
    world.send(&mut session, &publication(1, "1")).unwrap();
    session.close(&world.broker, End::drain(), NOW.ms);
    let answers = answers(&mut session);
    assert_eq!(acked(&answers[..1]), [(1, 1)]);
    assert!(
        matches!(&answers[1..], [ToPublisher::Fault(fault)] if fault.code == codes::LINK_DRAIN.number)
    );
}

#[test]
fn frames_before_a_bad_frame_are_processed_and_acked() {
    let world = World::new();
    let mut session = world.open(1);
    let bytes = [publication(1, "1"), hello(), publication(2, "2")].concat();
    let end = world.send(&mut session, &bytes).unwrap_err();
    assert_eq!(
        end,
        End::Fault(codes::LINK_BAD_FRAME, "a second hello".into())
    );
    session.close(&world.broker, end, NOW.ms);
    let answers = answers(&mut session);
    assert_eq!(acked(&answers[..1]), [(1, 1)]);
    assert!(
        matches!(&answers[1..], [ToPublisher::Fault(fault)] if fault.code == codes::LINK_BAD_FRAME.number)
    );
    assert_eq!(world.dispatched(), [[1], [1]]);
}

#[test]
fn skipped_and_refused_frames_are_acked() {
    let world = World::new();
    let mut session = world.open(1);
    let skip = encoded(&ToSidecar::Skip(Skip { through: 3 }));
    world.send(&mut session, &skip).unwrap();
    assert_eq!(world.acks(&mut session), [(3, 0)]);
    world
        .send(&mut session, &publication(4, "no JSON"))
        .unwrap();
    let answers = answers(&mut session);
    assert!(
        matches!(&answers[..1], [ToPublisher::Refusal(refusal)] if refusal.sequence == 4),
        "{answers:?}"
    );
    assert_eq!(acked(&answers[1..]), [(4, 0)]);
    assert_eq!(world.dispatched(), [[0_u64; 0]; 2]);
}

#[test]
fn replaced_session_processes_and_acks_nothing_more() {
    let world = World::new();
    let mut older = world.open(1);
    let mut newer = world.open(2);
    assert_eq!((newer.replaces(), newer.replaces()), (Some(1), None));
    assert_eq!(
        world.send(&mut older, &publication(1, "1")),
        Err(End::replaced())
    );
    assert_eq!(answers(&mut older), []);
    let skip = encoded(&ToSidecar::Skip(Skip { through: 9 }));
    let mut older = world.session(1);
    world.send(&mut older, &hello()).unwrap();
    assert!(matches!(
        answers(&mut older).as_slice(),
        [ToPublisher::Welcome(_)]
    ));
    assert_eq!(world.send(&mut older, &skip), Err(End::replaced()));
    assert_eq!(answers(&mut older), []);
    assert_eq!(world.dispatched(), [[0_u64; 0]; 2]);
    // The end of the replaced session does not unlink the newer one.
    older.close(&world.broker, End::replaced(), NOW.ms);
    world.send(&mut newer, &publication(1, "1")).unwrap();
    assert_eq!(world.acks(&mut newer), [(1, 1)]);
}

#[test]
fn hello_must_be_the_first_frame_within_5_s() {
    let world = World::new();
    let mut silent = world.session(1);
    assert_eq!((silent.due_ms(), silent.is_open()), (Some(6000), false));
    assert_eq!(silent.tick(&world.broker, 5999), Ok(()));
    let message = "no hello came within 5000 ms".into();
    assert_eq!(
        silent.tick(&world.broker, 6000),
        Err(End::Fault(codes::LINK_BAD_FRAME, message))
    );
    let mut unannounced = world.session(2);
    let message = "the first frame must be a hello".into();
    assert_eq!(
        world.send(&mut unannounced, &publication(1, "1")),
        Err(End::Fault(codes::LINK_BAD_FRAME, message))
    );
    assert_eq!(answers(&mut unannounced), []);
    assert_eq!(world.dispatched(), [[0_u64; 0]; 2]);
}

#[test]
fn every_publisher_is_told_a_new_position_within_20_ms() {
    let world = World::new();
    let mut busy = world.open(1);
    let mut idle = world.session(2);
    world.send(&mut idle, &hello_of([8; 16])).unwrap();
    answers(&mut idle);
    idle.tick(&world.broker, 2000).unwrap();
    assert_eq!(idle.due_ms(), None);
    for sequence in 1..=3 {
        world.send(&mut busy, &publication(sequence, "1")).unwrap();
        idle.tick(&world.broker, 2000 + sequence).unwrap();
    }
    // The ack told the publishing session.
    assert_eq!(world.acks(&mut busy), [(3, 3)]);
    assert_eq!(busy.due_ms(), None);
    assert_eq!(idle.due_ms(), Some(2021));
    idle.tick(&world.broker, 2020).unwrap();
    assert_eq!(answers(&mut idle), []);
    idle.tick(&world.broker, 2021).unwrap();
    assert!(matches!(
        answers(&mut idle).as_slice(),
        [ToPublisher::Moved(moved)] if moved.position == Position(3)
    ));
    assert_eq!(idle.due_ms(), None);
}

#[test]
fn publisher_with_unsent_answers_is_told_one_position_after_them() {
    let world = World::new();
    let (mut quiet, mut other) = (world.open(1), world.session(2));
    world.send(&mut quiet, &publication(1, "1")).unwrap();
    quiet.tick(&world.broker, NOW.ms + 5).unwrap();
    world.send(&mut other, &hello_of([8; 16])).unwrap();
    for sequence in 1..=100 {
        world.send(&mut other, &publication(sequence, "1")).unwrap();
        quiet.tick(&world.broker, NOW.ms + 20 * sequence).unwrap();
        assert_eq!(quiet.due_ms(), None);
    }
    assert!(matches!(
        answers(&mut quiet).as_slice(),
        [ToPublisher::Ack(_)]
    ));
    quiet.tick(&world.broker, 5_000).unwrap();
    quiet.tick(&world.broker, quiet.due_ms().unwrap()).unwrap();
    assert!(matches!(
        answers(&mut quiet).as_slice(),
        [ToPublisher::Moved(moved)] if moved.position.0 == 101
    ));
}

#[test]
fn position_in_the_welcome_is_not_told_again() {
    let world = World::new();
    let mut busy = world.open(1);
    world.send(&mut busy, &publication(1, "1")).unwrap();
    let mut late = world.session(2);
    world.send(&mut late, &hello_of([8; 16])).unwrap();
    assert!(matches!(
        answers(&mut late).as_slice(),
        [ToPublisher::Welcome(welcome)] if welcome.position == Position(1)
    ));
    late.tick(&world.broker, 2000).unwrap();
    assert_eq!(late.due_ms(), None);
}

#[test]
fn revocation_reaches_every_shard_in_order_and_expires() {
    let world = World::new();
    let mut session = world.open(1);
    let revocation = encoded(&ToSidecar::Revoke(Revoke {
        sequence: 2,
        wants_receipt: true,
        // The publisher's clock is a day ahead.
        revoked_ms: NOW.wall_ms + 86_400_000,
        sub: "42".into(),
        sid: "".into(),
    }));
    let frames = [publication(1, "1"), revocation, publication(3, "3")].concat();
    world.send(&mut session, &frames).unwrap();
    assert!(matches!(
        answers(&mut session).as_slice(),
        [ToPublisher::Receipt(receipt), ToPublisher::Ack(ack)]
            if (receipt.sequence, receipt.position) == (2, Position(2)) && ack.sequence == 3
    ));
    assert_eq!(world.dispatched(), [[1, 2, 3], [1, 2, 3]]);
    // The time is capped at the sidecar's clock plus the leeway, so tokens issued later are valid.
    let is_revoked = |issued_ms| world.broker.is_revoked("42", None, issued_ms);
    assert!(is_revoked(NOW.wall_ms + LEEWAY_MS));
    assert!(!is_revoked(NOW.wall_ms + LEEWAY_MS + 1));
    // A revocation does not expire by the wall clock.
    let mut later = Now {
        ms: NOW.ms + REVOCATION_MS,
        wall_ms: NOW.wall_ms + 2 * 86_400_000,
    };
    world.broker.expire(later);
    assert!(is_revoked(NOW.wall_ms));
    later.ms += 1;
    world.broker.expire(later);
    assert!(!is_revoked(NOW.wall_ms));
}

#[test]
fn revocation_covers_tokens_from_before_the_wall_clock_was_set_back() {
    for back_ms in [2_000, SET_BACK_MS_MAX] {
        let world = World::new();
        let mut session = world.open(1);
        world.broker.expire(NOW);
        let now = Now {
            ms: NOW.ms + 10,
            wall_ms: NOW.wall_ms - back_ms,
        };
        let revocation = encoded(&ToSidecar::Revoke(Revoke {
            sequence: 1,
            wants_receipt: false,
            revoked_ms: now.wall_ms,
            sub: "42".into(),
            sid: "".into(),
        }));
        session.received().extend_from_slice(&revocation);
        session.process(&world.broker, now).unwrap();
        let is_revoked = |issued_ms| world.broker.is_revoked("42", None, issued_ms);
        assert!(is_revoked(NOW.wall_ms));
        assert!(!is_revoked(NOW.wall_ms + 1_001), "the clock has caught up");
    }
}

#[test]
fn closed_session_leaves_its_place_to_another_publisher() {
    let world = World::with_publishers_max(1);
    let mut first = world.open(1);
    let other = hello_of([8; 16]);
    let full = world.send(&mut world.session(2), &other);
    assert!(matches!(full, Err(End::Fault(code, _)) if code == codes::LINK_FULL));
    first.close(&world.broker, End::Closed, NOW.ms);
    assert_eq!(world.send(&mut world.session(3), &other), Ok(()));
}

#[test]
fn full_inbox_of_one_shard_leaves_no_room() {
    let world = World::new();
    let mut session = world.open(1);
    let mut sequence = 0;
    while world.broker.has_room() {
        sequence += 1;
        world
            .send(&mut session, &publication(sequence, "1"))
            .unwrap();
    }
    assert_eq!(sequence, 8192);
    world.inboxes[0].take(1);
    assert!(!world.broker.has_room());
    world.inboxes[1].take(1);
    assert!(world.broker.has_room());
}
