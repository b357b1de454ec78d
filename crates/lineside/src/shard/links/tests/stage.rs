//! Two shards without a thread, of which the first has links, and publishers with real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use lineside_hub::{Encode, HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::Epoch;
use lineside_protocol::codes::LinkCode;
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, ToPublisher, ToSidecar, encode_publish,
};
use lineside_token::Keys;
use tokio::sync::{oneshot, watch};

use super::super::{Links, NewLink};
use crate::broker::{Broker, Inbox};
use crate::clock::Now;
use crate::keyring::Keyring;

/// Two shards, of which the first has links.
pub(super) struct Stage {
    pub(super) broker: Arc<Broker>,
    pub(super) inboxes: [Arc<Inbox>; 2],
    pub(super) links: Links<UnixStream>,
    pub(super) served: watch::Sender<()>,
    pub(super) now: Now,
}

/// The publisher's end of a link.
pub(super) struct Publisher {
    pub(super) number: u64,
    pub(super) socket: UnixStream,
    /// Without a value until the link ends.
    pub(super) ended: oneshot::Receiver<()>,
    pub(super) sequence: u64,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::encoding(|it| Bytes::copy_from_slice(it.payload))
    }

    pub(super) fn encoding(encode: Encode) -> Self {
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
    pub(super) fn connect(&mut self, number: u64) -> Publisher {
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
    pub(super) fn open(&mut self, number: u64, publisher: u8) -> Publisher {
        let mut link = self.connect(number);
        link.write(&hello(publisher));
        self.read(&link);
        assert!(matches!(link.answers()[..], [ToPublisher::Welcome(_)]));
        link
    }

    /// Reports a link as readable, and does one turn of a shard that has dispatched everything.
    pub(super) fn read(&mut self, link: &Publisher) {
        self.links.readable(link.number, false);
        self.turn();
    }

    pub(super) fn turn(&mut self) {
        self.links.turn(self.now, self.broker.newest());
    }

    /// Does a turn at the time when it is due, unless that is later than `ms_max` from now. Returns whether it was.
    pub(super) fn wait(&mut self, ms_max: u64) -> bool {
        let due_ms = self.links.due_ms().max(self.now.ms);
        let is_due = due_ms <= self.now.ms + ms_max;
        if is_due {
            self.now.ms = due_ms;
            self.turn();
        }
        is_due
    }

    pub(super) fn landed(&self) -> u64 {
        self.broker.newest().0
    }
}

impl Publisher {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    /// Publishes a payload of this size.
    pub(super) fn publish(&mut self, payload_bytes: usize, wants_receipt: bool) {
        let bytes = self.publication(payload_bytes, wants_receipt);
        self.write(&bytes);
    }

    pub(super) fn publication(&mut self, payload_bytes: usize, wants_receipt: bool) -> Vec<u8> {
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
    pub(super) fn fill(&mut self) -> u64 {
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
    pub(super) fn answers(&mut self) -> Vec<ToPublisher> {
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
    pub(super) fn assert_ended(&mut self, code: LinkCode) {
        let answers = self.answers();
        assert!(
            matches!(answers.last(), Some(ToPublisher::Fault(fault)) if fault.code == code.number),
            "{answers:?}"
        );
        assert!(self.is_ended());
    }

    pub(super) fn is_ended(&mut self) -> bool {
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
