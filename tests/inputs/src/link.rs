//! Bytes of the link, from either end, and of an app that hands a browser over.

use std::sync::Arc;

use bytes::BytesMut;
use lineside::broker::Broker;
use lineside::clock::Now;
use lineside::dialects::{self, Opening};
use lineside::head::Head;
use lineside::keyring::Keyring;
use lineside::origin::Origin;
use lineside::session::{End, Session};
use lineside_hub::{HistoryLimits, Hub, SavedAt};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{Frame, FromApp, HandOff, ToApp, ToPublisher, ToSidecar};
use lineside_publisher::{LinkClient, PublishOptions, Settings, Spool};

use super::{WALL_MS, cut, keys};

/// Bytes of a publisher, up to the journal. The place of the cut makes no difference, and a decoded frame can be encoded and
/// decoded again.
pub(super) fn publications(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let whole = [first, rest].concat();
    assert_eq!(snapshot(&[first, rest]), snapshot(&[&whole]));
    for frame in split(&[&whole]) {
        if let Ok(decoded) = ToSidecar::decode(&frame) {
            let mut encoded = Vec::new();
            decoded.encode(&mut encoded);
            assert_eq!(ToSidecar::decode(&split(&[&encoded])[0]), Ok(decoded));
        }
        if let Ok(decoded) = FromApp::decode(&frame) {
            let mut encoded = Vec::new();
            decoded.encode(&mut encoded);
            assert_eq!(FromApp::decode(&split(&[&encoded])[0]), Ok(decoded));
        }
    }
}

/// Snapshot of a hub after a link that received these parts.
fn snapshot(parts: &[&[u8]]) -> Vec<u8> {
    let epoch = Epoch::new("corpus").expect("a valid epoch");
    let hub = Hub::new(epoch, HistoryLimits::default(), 4);
    let broker = Broker::new(hub, Vec::new(), dialects::encode);
    let now = Now {
        ms: 0,
        wall_ms: WALL_MS,
    };
    let mut session = Session::new(1, Arc::new(Keyring::new(keys())), now.ms);
    let mut end = End::Closed;
    for part in parts {
        session.received().extend_from_slice(part);
        if let Err(reason) = session.process(&broker, now) {
            end = reason;
            break;
        }
    }
    session.close(&broker, end, now.ms);
    let mut snapshot = Vec::new();
    let at = SavedAt {
        now_ms: now.ms,
        wall_ms: now.wall_ms,
    };
    broker.save(at, &mut snapshot).expect("memory has room");
    snapshot
}

/// Bytes of a sidecar, to a publisher with unsent frames.
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
    let mut link = LinkClient::new(spool, [7; 16]);
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
        if let Ok(decoded) = ToPublisher::decode(&frame) {
            let mut encoded = Vec::new();
            decoded.encode(&mut encoded);
            assert_eq!(ToPublisher::decode(&split(&[&encoded])[0]), Ok(decoded));
        }
        if let Ok(decoded) = ToApp::decode(&frame) {
            let mut encoded = Vec::new();
            decoded.encode(&mut encoded);
            assert_eq!(ToApp::decode(&split(&[&encoded])[0]), Ok(decoded));
        }
    }
}

/// Bytes of an app that hand a browser's socket over.
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
    let _cable = hand_off.cable.as_deref().map(Opening::of_app);
}

/// Frames at the beginning of these bytes.
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
