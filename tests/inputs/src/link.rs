//! Readers of link frames from publisher and sidecar, and of the hand-off frame from an app.

use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use lineside::http::head::Head;
use lineside::keyring::Keyring;
use lineside::link::ingress::{End, Intake, Session};
use lineside::origin::Origin;
use lineside::shard::Now;
use lineside_hub::{HistoryLimits, Hub, SavedAt};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{Frame, HandOff, ToPublisher, ToSidecar};
use lineside_publisher::{Link, PublishOptions, Settings, Spool};

use super::{WALL_MS, cut, keys};

/// Reads a publisher's bytes, up to the journal. The place of the split must not matter, and each decoded frame must be the
/// same after encoding and decoding.
pub(super) fn publications(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let whole = [first, rest].concat();
    assert_eq!(taken(&[first, rest]), taken(&[&whole]));
    for frame in split(&[&whole]) {
        if let Ok(understood) = ToSidecar::decode(&frame) {
            let mut written = Vec::new();
            understood.encode(&mut written);
            assert_eq!(ToSidecar::decode(&split(&[&written])[0]), Ok(understood));
        }
    }
}

/// Returns the saved state of a hub after a link that received these parts.
fn taken(parts: &[&[u8]]) -> Vec<u8> {
    let epoch = Epoch::new("corpus").expect("it is one");
    let hub = Hub::new(epoch, HistoryLimits::default(), 4);
    let hub = Arc::new(Mutex::new(hub));
    let keys = Arc::new(Keyring::new(keys()));
    let intake = Intake::new(Arc::clone(&hub), Vec::new(), keys);
    let now = Now {
        ms: 0,
        wall_ms: WALL_MS,
    };
    let mut session = Session::new(1, now.ms);
    let mut end = End::Closed;
    for part in parts {
        session.received().extend_from_slice(part);
        if let Err(why) = session.take(&intake, now) {
            end = why;
            break;
        }
    }
    session.close(&intake, end, now.ms);
    let mut state = Vec::new();
    let at = SavedAt {
        now_ms: now.ms,
        wall_ms: now.wall_ms,
    };
    let hub = hub.lock().expect("nothing panicked under it");
    hub.save(at, &mut state).expect("a Vec takes every byte");
    state
}

/// Reads a sidecar's bytes, as a publisher with unacked publications.
pub(super) fn answers(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let spool = Arc::new(Spool::new(Settings::new("/nowhere", "corpus")));
    let options = PublishOptions {
        wants_receipt: true,
        once: Some("once"),
    };
    for payload in [b"1", b"2"] {
        spool
            .publish(&[("a", payload)], options)
            .expect("the spool has room");
    }
    let mut link = Link::new(spool, [7; 16]);
    link.opened(0);
    for part in [first, rest] {
        if link.tick(0).is_err() || link.receive(part).is_err() {
            return;
        }
        while let Some(unsent) = link.unsent() {
            let taken = unsent.len();
            link.sent(taken);
        }
    }
    for frame in split(&[first, rest]) {
        if let Ok(understood) = ToPublisher::decode(&frame) {
            let mut written = Vec::new();
            understood.encode(&mut written);
            assert_eq!(ToPublisher::decode(&split(&[&written])[0]), Ok(understood));
        }
    }
}

/// Reads an app's hand-off frame.
pub(super) fn hand_off(bytes: &[u8]) {
    let frames = split(&[bytes]);
    let Some(Ok(hand_off)) = frames.first().map(HandOff::decode) else {
        return;
    };
    let mut written = Vec::new();
    hand_off.encode(&mut written);
    assert_eq!(
        HandOff::decode(&split(&[&written])[0]).as_ref(),
        Ok(&hand_off)
    );
    let _peer = hand_off.peer.parse::<std::net::IpAddr>();
    let _own = Origin::parse(&hand_off.origin);
    let _head = Head::parse(&hand_off.request);
}

/// Returns the frames at the beginning of the bytes.
fn split(parts: &[&[u8]]) -> Vec<Frame> {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for part in parts {
        buffer.extend_from_slice(part);
        while let Ok(Some(frame)) = Frame::split(&mut buffer) {
            frames.push(frame);
        }
    }
    frames
}
