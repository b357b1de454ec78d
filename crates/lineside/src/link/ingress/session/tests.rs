use std::sync::{Arc, Mutex};
use std::task::Waker;

use bytes::BytesMut;
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::codes;
use lineside_protocol::frame::{
    Disconnect, Frame, Hello, PROTOCOL_VERSION, PublishHead, Skip, ToPublisher, ToSidecar,
    encode_publish,
};
use lineside_protocol::{Epoch, Position};
use lineside_token::{Keys, LEEWAY_MS};

use crate::clock::Now;
use crate::keyring::Keyring;
use crate::link::ingress::{End, Intake, Session};
use crate::shard::inbox::{Entry, Inbox};

const NOW: Now = Now {
    ms: 1000,
    wall_ms: 1_700_000_000_000,
};

struct World {
    intake: Intake,
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
        let intake = Intake::new(Arc::new(Mutex::new(hub)), inboxes.to_vec(), Arc::new(keys));
        Self {
            intake,
            inboxes: inboxes.to_vec(),
        }
    }

    /// A session of the publisher 7, greeted.
    fn open(&self, number: u64) -> Session {
        let mut session = Session::new(number, NOW.ms);
        self.send(&mut session, &hello()).unwrap();
        assert!(matches!(
            answers(&mut session).as_slice(),
            [ToPublisher::Welcome(_)]
        ));
        session
    }

    fn send(&self, session: &mut Session, bytes: &[u8]) -> Result<(), End> {
        session.received().extend_from_slice(bytes);
        session.take(&self.intake, NOW)
    }

    /// What the shards are given, each in its order.
    fn dispatched(&self) -> Vec<Vec<u64>> {
        let positions = |inbox: &Arc<Inbox>| {
            let entries = inbox.take(usize::MAX).entries;
            let positions = entries.iter().map(|entry| match entry {
                Entry::Publication(publication) => publication.position.0,
                Entry::Revocation(position, _) => position.0,
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

/// What is to be sent, which the link takes one byte at a time.
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
fn frames_that_come_byte_by_byte_land_once_in_every_shard_and_are_acked() {
    let world = World::new();
    let mut session = world.open(1);
    let bytes = [publication(1, "1"), publication(2, "2")].concat();
    for byte in bytes {
        world.send(&mut session, &[byte]).unwrap();
    }
    assert_eq!(acked(&answers(&mut session)), [(1, 1), (2, 2)]);
    assert_eq!(world.dispatched(), [[1, 2], [1, 2]]);
    // All that one take finds is acked at once, and what landed before does not land again.
    let again = [
        publication(2, "2"),
        publication(3, "3"),
        publication(4, "4"),
    ]
    .concat();
    world.send(&mut session, &again).unwrap();
    assert_eq!(acked(&answers(&mut session)), [(4, 4)]);
    assert_eq!(world.dispatched(), [[3, 4], [3, 4]]);
}

#[test]
fn what_came_before_a_bad_frame_is_dealt_with_and_acked() {
    let world = World::new();
    let mut session = world.open(1);
    let bytes = [publication(1, "1"), hello(), publication(2, "2")].concat();
    let end = world.send(&mut session, &bytes).unwrap_err();
    assert_eq!(
        end,
        End::Fault(codes::LINK_BAD_FRAME, "a second hello".into())
    );
    session.close(&world.intake, end, NOW.ms);
    let answers = answers(&mut session);
    assert_eq!(acked(&answers[..1]), [(1, 1)]);
    assert!(
        matches!(&answers[1..], [ToPublisher::Fault(fault)] if fault.code == codes::LINK_BAD_FRAME.number)
    );
    assert_eq!(world.dispatched(), [[1], [1]]);
}

#[test]
fn what_was_dropped_and_what_is_refused_is_acked_too() {
    let world = World::new();
    let mut session = world.open(1);
    let skip = encoded(&ToSidecar::Skip(Skip { through: 3 }));
    world.send(&mut session, &skip).unwrap();
    assert_eq!(acked(&answers(&mut session)), [(3, 0)]);
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
fn replaced_session_takes_and_acks_nothing_more() {
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
    let mut older = Session::new(1, NOW.ms);
    world.send(&mut older, &hello()).unwrap();
    assert!(matches!(
        answers(&mut older).as_slice(),
        [ToPublisher::Welcome(_)]
    ));
    assert_eq!(world.send(&mut older, &skip), Err(End::replaced()));
    assert_eq!(answers(&mut older), []);
    assert_eq!(world.dispatched(), [[0_u64; 0]; 2]);
    // Its end is not the newer one's.
    older.close(&world.intake, End::replaced(), NOW.ms);
    world.send(&mut newer, &publication(1, "1")).unwrap();
    assert_eq!(acked(&answers(&mut newer)), [(1, 1)]);
}

#[test]
fn hello_must_come_within_five_seconds_and_first() {
    let world = World::new();
    let mut silent = Session::new(1, NOW.ms);
    assert_eq!((silent.due_ms(), silent.is_open()), (Some(6000), false));
    assert_eq!(silent.tick(&world.intake, 5999), Ok(()));
    let message = "no hello came within 5000 ms".into();
    assert_eq!(
        silent.tick(&world.intake, 6000),
        Err(End::Fault(codes::LINK_BAD_FRAME, message))
    );
    let mut hasty = Session::new(2, NOW.ms);
    let message = "the first frame must be a hello".into();
    assert_eq!(
        world.send(&mut hasty, &publication(1, "1")),
        Err(End::Fault(codes::LINK_BAD_FRAME, message))
    );
    assert_eq!(answers(&mut hasty), []);
    assert_eq!(world.dispatched(), [[0_u64; 0]; 2]);
}

#[test]
fn every_publisher_hears_of_a_new_position_within_twenty_milliseconds() {
    let world = World::new();
    let mut busy = world.open(1);
    let mut idle = Session::new(2, NOW.ms);
    world.send(&mut idle, &hello_of([8; 16])).unwrap();
    answers(&mut idle);
    idle.tick(&world.intake, 2000).unwrap();
    assert_eq!(idle.due_ms(), None);
    for sequence in 1..=3 {
        world.send(&mut busy, &publication(sequence, "1")).unwrap();
        idle.tick(&world.intake, 2000 + sequence).unwrap();
    }
    // The ack has told the one that published.
    busy.tick(&world.intake, 2003).unwrap();
    assert_eq!(busy.due_ms(), None);
    assert_eq!(idle.due_ms(), Some(2021));
    idle.tick(&world.intake, 2020).unwrap();
    assert_eq!(answers(&mut idle), []);
    idle.tick(&world.intake, 2021).unwrap();
    assert!(matches!(
        answers(&mut idle).as_slice(),
        [ToPublisher::Moved(moved)] if moved.position == Position(3)
    ));
    assert_eq!(idle.due_ms(), None);
}

#[test]
fn welcome_is_word_of_what_it_says() {
    let world = World::new();
    let mut busy = world.open(1);
    world.send(&mut busy, &publication(1, "1")).unwrap();
    let mut late = Session::new(2, NOW.ms);
    world.send(&mut late, &hello_of([8; 16])).unwrap();
    assert!(matches!(
        answers(&mut late).as_slice(),
        [ToPublisher::Welcome(welcome)] if welcome.position == Position(1)
    ));
    late.tick(&world.intake, 2000).unwrap();
    assert_eq!(late.due_ms(), None);
}

#[test]
fn sign_out_goes_to_every_shard_in_order_and_is_over_with_the_longest_token() {
    let world = World::new();
    let mut session = world.open(1);
    let sign_out = encoded(&ToSidecar::Disconnect(Disconnect {
        sequence: 2,
        wants_receipt: true,
        // By a clock that is a day ahead.
        revoked_ms: NOW.wall_ms + 86_400_000,
        sub: "42".into(),
        sid: "".into(),
    }));
    let frames = [publication(1, "1"), sign_out, publication(3, "3")].concat();
    world.send(&mut session, &frames).unwrap();
    assert!(matches!(
        answers(&mut session).as_slice(),
        [ToPublisher::Receipt(receipt), ToPublisher::Ack(ack)]
            if (receipt.sequence, receipt.position) == (2, Position(2)) && ack.sequence == 3
    ));
    assert_eq!(world.dispatched(), [[1, 2, 3], [1, 2, 3]]);
    // Whatever their clock says: tokens that are made from now on hold, but for the leeway.
    let is_revoked = |issued_ms| {
        let hub = world.intake.hub();
        hub.revocations.is_revoked("42", None, issued_ms)
    };
    assert!(is_revoked(NOW.wall_ms + LEEWAY_MS));
    assert!(!is_revoked(NOW.wall_ms + LEEWAY_MS + 1));
    let later = Now {
        ms: NOW.ms,
        wall_ms: NOW.wall_ms + 2 * 86_400_000,
    };
    world.intake.look_after(later);
    assert!(!is_revoked(NOW.wall_ms));
}

#[test]
fn publisher_that_left_makes_room_for_another() {
    let world = World::with_publishers_max(1);
    let mut first = world.open(1);
    let other = hello_of([8; 16]);
    let full = world.send(&mut Session::new(2, NOW.ms), &other);
    assert!(matches!(full, Err(End::Fault(code, _)) if code == codes::LINK_FULL));
    first.close(&world.intake, End::Closed, NOW.ms);
    assert_eq!(world.send(&mut Session::new(3, NOW.ms), &other), Ok(()));
}

#[test]
fn shard_that_is_behind_leaves_no_room() {
    let world = World::new();
    let mut session = world.open(1);
    let mut sequence = 0;
    while world.intake.has_room() {
        sequence += 1;
        world
            .send(&mut session, &publication(sequence, "1"))
            .unwrap();
    }
    assert_eq!(sequence, 8192);
    world.inboxes[0].take(1);
    assert!(!world.intake.has_room());
    world.inboxes[1].take(1);
    assert!(world.intake.has_room());
}
