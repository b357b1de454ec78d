use std::io::ErrorKind;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::BytesMut;
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, ToPublisher, ToSidecar, encode_publish,
};
use lineside_protocol::{Epoch, Position};
use lineside_token::{Keys, StreamKeys};
use tokio::net::UnixStream;

use super::Ingress;
use crate::broker::tests::TestPublisher;
use crate::broker::{Broker, Inbox};
use crate::clock::Clock;
use crate::dialects;
use crate::keyring::Keyring;
use crate::route_keys::RouteKeys;

/// More than the kernel, the session and the inbox hold together, in bytes.
const WRITTEN_MAX: usize = 2 * 1024 * 1024;

/// Number of turns of other tasks after which something counts as not happening.
const TURNS: u32 = 10_000;

fn ingress(inbox: &Arc<Inbox>) -> Ingress {
    let hub = Hub::new(
        Epoch::new("a").unwrap(),
        HistoryLimits::default(),
        PUBLISHERS_MAX,
    );
    let keys = Keyring::new(Keys::parse("0123456789abcdefghijklmnopqrstuvwxyz").unwrap());
    let broker = Broker::new(hub, vec![Arc::clone(inbox)], dialects::encode);
    let turbo_keys = RouteKeys::new(StreamKeys::default());
    Ingress::new(
        Arc::new(broker),
        Arc::new(keys),
        Arc::new(turbo_keys),
        Clock::start(),
    )
}

/// Both ends of a link: the publisher's and the sidecar's.
fn link() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    ToSidecar::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher: [7; 16],
        done: 0,
        fingerprint: [0; 8],
        name: "test[1]".into(),
    })
    .encode(&mut bytes);
    bytes
}

fn publication(sequence: u64) -> Vec<u8> {
    encoded(PublishHead {
        sequence,
        ..PublishHead::default()
    })
}

/// A publication that is answered and acked at once.
fn answered_publication(sequence: u64) -> Vec<u8> {
    encoded(PublishHead {
        sequence,
        wants_receipt: true,
        ..PublishHead::default()
    })
}

fn encoded(head: PublishHead<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_publish(&mut bytes, head, [("news", b"1".as_slice())]);
    bytes
}

/// Writes publications, and reads the answers, until the kernel buffer stays full. Returns the number of publications.
async fn fill(link: &UnixStream) -> u64 {
    let mut unsent = hello();
    let (mut sequence, mut written, mut refused) = (0, 0, 0);
    while refused < TURNS {
        if unsent.is_empty() {
            sequence += 1;
            unsent = publication(sequence);
        }
        match link.try_write(&unsent) {
            Ok(count) => {
                (written, refused) = (written + count, 0);
                unsent.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("{error}"),
        }
        drop(link.try_read(&mut [0; 4096]));
        assert!(written < WRITTEN_MAX, "the link is read without an end");
        tokio::task::yield_now().await;
    }
    sequence
}

#[tokio::test]
async fn full_inbox_stops_reads_of_the_link_and_nothing_is_lost() {
    let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
    let ingress = ingress(&inbox);
    let (ours, theirs) = link();
    let serve = ingress.serve(ingress.number_link(), theirs);
    let script = async {
        let begun = fill(&ours).await;
        assert!(!inbox.has_room());
        // Every complete frame lands once there is room. The last frame may be incomplete.
        let mut landed = 0;
        while landed + 1 < begun {
            landed += inbox.take(100).entries.len() as u64;
            tokio::task::yield_now().await;
        }
        assert_eq!(ingress.broker.cursor().position.0, landed);
    };
    tokio::select! {
        () = serve => panic!("the link ended"),
        () = script => {}
    }
}

/// Reads every answer that comes within some turns of other tasks.
async fn answers(link: &UnixStream) -> Vec<ToPublisher> {
    let mut bytes = BytesMut::new();
    for _ in 0..TURNS {
        drop(link.try_read_buf(&mut bytes));
        tokio::task::yield_now().await;
    }
    let mut frames = Vec::new();
    while let Some(frame) = Frame::split(&mut bytes).unwrap() {
        frames.push(ToPublisher::decode(&frame).unwrap());
    }
    frames
}

#[tokio::test]
async fn frames_are_not_processed_while_another_publisher_fills_the_inbox() {
    let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
    let ingress = ingress(&inbox);
    let (ours, theirs) = link();
    let serve = ingress.serve(ingress.number_link(), theirs);
    let script = async {
        ours.try_write(&hello()).unwrap();
        assert!(matches!(
            answers(&ours).await.as_slice(),
            [ToPublisher::Welcome(_)]
        ));
        let mut other = TestPublisher::greet(&ingress.broker, 8);
        while ingress.broker.has_room() {
            other.publish(&ingress.broker, "news", "1", 0);
        }
        let full = ingress.broker.cursor();
        ours.try_write(&publication(1)).unwrap();
        assert_eq!(answers(&ours).await, []);
        assert_eq!(ingress.broker.cursor(), full);
        inbox.take(1);
        assert!(matches!(
            answers(&ours).await.as_slice(),
            [ToPublisher::Ack(ack)] if ack.sequence == 1 && ack.position == full.position.next()
        ));
    };
    tokio::select! {
        () = serve => panic!("the link ended"),
        () = script => {}
    }
}

/// Publishes without reading answers, until the sidecar reads the link no more. Returns the number of publications.
async fn publish_without_reading(link: &UnixStream, broker: &Broker) -> u64 {
    link.try_write(&hello()).unwrap();
    let (mut sequence, mut turns) = (0, 0);
    while turns < TURNS {
        if broker.cursor().position.0 == sequence {
            sequence += 1;
            turns = 0;
            link.try_write(&answered_publication(sequence)).unwrap();
        }
        turns += 1;
        tokio::task::yield_now().await;
    }
    sequence
}

#[tokio::test]
async fn publisher_that_reads_no_answers_does_not_delay_a_stop() {
    let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
    let ingress = ingress(&inbox);
    let (ours, theirs) = link();
    let serve = ingress.serve(ingress.number_link(), theirs);
    let script = async {
        publish_without_reading(&ours, &ingress.broker).await;
        let landed = ingress.broker.cursor();
        ingress.stop();
        ingress.ended().await;
        assert_eq!(ingress.broker.cursor(), landed);
    };
    let both = async { tokio::join!(serve, script) };
    let ended = tokio::time::timeout(Duration::from_secs(60), both).await;
    assert!(ended.is_ok(), "the stop waits for the publisher");
}

#[tokio::test]
async fn publisher_that_reads_late_is_acked_and_told_the_newest_position() {
    let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
    let ingress = ingress(&inbox);
    let (ours, theirs) = link();
    let serve = ingress.serve(ingress.number_link(), theirs);
    let script = async {
        let published = publish_without_reading(&ours, &ingress.broker).await;
        let mut other = TestPublisher::greet(&ingress.broker, 8);
        other.publish(&ingress.broker, "news", "1", 0);
        ingress.broker.announce();
        let mut bytes = BytesMut::new();
        let (mut acked, mut told) = (0, Position(0));
        while told.0 < published + 1 {
            ours.readable().await.unwrap();
            drop(ours.try_read_buf(&mut bytes));
            while let Some(frame) = Frame::split(&mut bytes).unwrap() {
                match ToPublisher::decode(&frame).unwrap() {
                    ToPublisher::Ack(ack) => (acked, told) = (ack.sequence, ack.position),
                    ToPublisher::Moved(moved) => told = moved.position,
                    ToPublisher::Welcome(_) | ToPublisher::Receipt(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(acked, published);
    };
    tokio::select! {
        () = serve => panic!("the link ended"),
        () = script => {}
    }
}
