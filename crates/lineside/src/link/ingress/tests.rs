use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::task::Waker;

use interprocess::local_socket::tokio::Stream;
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{Hello, PROTOCOL_VERSION, PublishHead, ToSidecar, encode_publish};
use lineside_token::Keys;
use tokio::net::UnixStream;

use super::Ingress;
use crate::clock::Clock;
use crate::keyring::Keyring;
use crate::shard::inbox::Inbox;

/// Far more than kernel, session and inbox hold together, in bytes.
const WRITTEN_MAX: usize = 2 * 1024 * 1024;

/// So often others get their turn before something counts as not happening.
const TURNS: u32 = 10_000;

fn ingress(inbox: &Arc<Inbox>) -> Ingress {
    let hub = Hub::new(
        Epoch::new("a").unwrap(),
        HistoryLimits::default(),
        PUBLISHERS_MAX,
    );
    let keys = Keyring::new(Keys::parse("0123456789abcdefghijklmnopqrstuvwxyz").unwrap());
    Ingress::new(
        Arc::new(Mutex::new(hub)),
        vec![Arc::clone(inbox)],
        Arc::new(keys),
        Clock::start(),
    )
}

/// Writes publications, and reads what is answered, until the link takes no more.
async fn fill(link: &UnixStream) -> u64 {
    let mut unsent = Vec::new();
    ToSidecar::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher: [7; 16],
        done: 0,
        fingerprint: [0; 8],
        name: "test[1]".into(),
    })
    .encode(&mut unsent);
    let (mut sequence, mut written, mut refused) = (0, 0, 0);
    while refused < TURNS {
        if unsent.is_empty() {
            sequence += 1;
            let head = PublishHead {
                sequence,
                ..PublishHead::default()
            };
            encode_publish(&mut unsent, head, [("news", b"1".as_slice())]);
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
        assert!(written < WRITTEN_MAX, "nobody holds the publisher up");
        tokio::task::yield_now().await;
    }
    sequence
}

#[tokio::test]
async fn shard_that_is_behind_holds_up_its_publishers_and_nothing_is_lost() {
    let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
    let ingress = ingress(&inbox);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs.into_std().unwrap());
    let theirs = Stream::UdSocket(theirs.try_into().unwrap());
    let serve = ingress.serve(ingress.number_link(), theirs);
    let script = async {
        let begun = fill(&ours).await;
        assert!(!inbox.has_room());
        // What was written whole lands once there is room, in order. The last frame may have been cut.
        let mut landed = 0;
        while landed + 1 < begun {
            landed += inbox.take(100).entries.len() as u64;
            tokio::task::yield_now().await;
        }
        assert_eq!(ingress.intake.hub().journal.newest().0, landed);
    };
    tokio::select! {
        () = serve => panic!("the link ended"),
        () = script => {}
    }
}
