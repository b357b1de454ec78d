//! A publisher that sends arbitrary bytes on the link.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use bytes::{BufMut, BytesMut};
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, ToPublisher, ToSidecar, Welcome, encode_publish,
};

use super::{Place, Sidecar, TIMEOUT};

/// One connection to the link.
pub(crate) struct RawLink {
    pub(crate) stream: UnixStream,
    buffer: BytesMut,
}

/// A publisher that publishes without a pause until this value is dropped.
pub(crate) struct Flood {
    stream: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        // The sidecar may have closed the link already.
        self.stream.shutdown(Shutdown::Both).unwrap_or_default();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A valid hello, for tests to change.
pub(crate) fn hello(publisher: u8) -> Hello {
    Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher: [publisher; 16],
        done: 0,
        fingerprint: [0; 8],
        name: format!("raw[{publisher}]"),
    }
}

/// A frame with one publication.
pub(crate) fn publish(sequence: u64, channel: &str, payload: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = PublishHead {
        sequence,
        ..PublishHead::default()
    };
    encode_publish(&mut bytes, head, [(channel, payload.as_bytes())]);
    bytes
}

/// Kind of a publish frame.
pub(crate) const PUBLISH: u8 = 2;

/// A frame with arbitrary kind, flags, options and body.
pub(crate) fn raw_frame(kind: u8, flags: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32((4 + options.len() + body.len()).try_into().unwrap());
    bytes.put_u8(kind);
    bytes.put_u8(flags);
    bytes.put_u16(options.len().try_into().unwrap());
    bytes.put_slice(options);
    bytes.put_slice(body);
    bytes
}

/// One option of a frame.
pub(crate) fn option(tag: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u16(tag);
    bytes.put_u16(value.len().try_into().unwrap());
    bytes.put_slice(value);
    bytes
}

/// Body of a publish frame for the channel `a`.
pub(crate) fn publication(sequence: u64, payload: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u64(sequence);
    bytes.put_u16(1);
    bytes.put_u32(payload.len().try_into().unwrap());
    bytes.put_slice(b"a");
    bytes.put_slice(payload.as_bytes());
    bytes
}

impl Sidecar {
    /// A link after its hello and welcome.
    pub(crate) fn raw_publisher(&self, publisher: u8) -> RawLink {
        let mut link = self.raw_link();
        link.handshake(hello(publisher));
        link
    }

    /// A link before its hello.
    pub(crate) fn raw_link(&self) -> RawLink {
        self.place().raw_link()
    }

    /// Publishes to the channel `flood` without a pause, from other threads; returns once 10,000 publications are sent.
    pub(crate) fn flood(&self, publisher: u8) -> Flood {
        let mut link = self.raw_publisher(publisher);
        let stream = link.stream.try_clone().unwrap();
        let mut acks = link.stream.try_clone().unwrap();
        let (sent, was_sent) = channel();
        let threads = vec![
            // Unread acks would fill the socket and end the link.
            std::thread::spawn(move || drop(std::io::copy(&mut acks, &mut std::io::sink()))),
            std::thread::spawn(move || {
                for first in (1..).step_by(1_000) {
                    let numbers = first..first + 1_000;
                    let many: Vec<u8> = numbers
                        .flat_map(|number| publish(number, "flood", "1"))
                        .collect();
                    if link.stream.write_all(&many).is_err() {
                        return;
                    }
                    // Nobody receives after the first ten.
                    sent.send(()).unwrap_or_default();
                }
            }),
        ];
        (0..10).for_each(|_| was_sent.recv_timeout(TIMEOUT).unwrap());
        Flood { stream, threads }
    }
}

impl Place {
    pub(crate) fn raw_link(&self) -> RawLink {
        let stream = UnixStream::connect(self.link()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        RawLink {
            stream,
            buffer: BytesMut::new(),
        }
    }
}

impl RawLink {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a hello and receives the welcome.
    #[track_caller]
    pub(crate) fn handshake(&mut self, hello: Hello) -> Welcome {
        let mut bytes = Vec::new();
        ToSidecar::Hello(hello).encode(&mut bytes);
        self.send(&bytes);
        match self.next() {
            Some(ToPublisher::Welcome(welcome)) => welcome,
            other => panic!("expected a welcome, received {other:?}"),
        }
    }

    /// Receives a frame; `None` at the end of the link.
    pub(crate) fn next(&mut self) -> Option<ToPublisher> {
        loop {
            if let Some(frame) = Frame::split(&mut self.buffer).unwrap() {
                return Some(ToPublisher::decode(&frame).unwrap());
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Receives frames until everything up to this sequence is acked; returns those that are not acks.
    #[track_caller]
    pub(crate) fn read_until_ack(&mut self, sequence: u64) -> Vec<ToPublisher> {
        let mut before = Vec::new();
        loop {
            match self.next().expect("the link ended before the ack") {
                ToPublisher::Ack(ack) if ack.sequence >= sequence => return before,
                ToPublisher::Ack(_) => {}
                other => before.push(other),
            }
        }
    }

    /// Receives everything up to the end of the link, which must be a fault; returns its code and message.
    #[track_caller]
    pub(crate) fn expect_fault(&mut self) -> (u16, String) {
        let mut fault = None;
        while let Some(frame) = self.next() {
            assert_eq!(fault, None, "a frame after the fault");
            if let ToPublisher::Fault(it) = frame {
                fault = Some((it.code, it.message));
            }
        }
        fault.expect("the link ended without a fault")
    }
}
