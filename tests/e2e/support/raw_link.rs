//! A publisher that sends whatever bytes it likes.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use bytes::{BufMut, BytesMut};
use lineside_protocol::frame::{
    Frame, Hello, PROTOCOL_VERSION, PublishHead, ToPublisher, ToSidecar, Welcome, encode_publish,
};

use super::{PATIENCE, Place, Sidecar};

/// An open link, before its hello.
pub(crate) struct RawLink {
    pub(crate) stream: UnixStream,
    buffer: BytesMut,
}

/// Ends when it is dropped.
pub(crate) struct Flood {
    stream: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Flood {
    fn drop(&mut self) {
        // The sidecar may have ended it before.
        self.stream.shutdown(Shutdown::Both).unwrap_or_default();
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

/// A good hello, to be changed.
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

/// The bytes of a frame with one publication.
pub(crate) fn publish(sequence: u64, channel: &str, payload: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let head = PublishHead {
        sequence,
        ..PublishHead::default()
    };
    encode_publish(&mut bytes, head, [(channel, payload.as_bytes())]);
    bytes
}

/// The kind of a publish frame.
pub(crate) const PUBLISH: u8 = 2;

/// A frame with any kind, flags and options.
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

/// The body of a publish frame for the channel `a`.
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
    /// A publisher that was welcomed.
    pub(crate) fn linked(&self, publisher: u8) -> RawLink {
        let mut link = self.raw_link();
        link.greet(hello(publisher));
        link
    }

    pub(crate) fn raw_link(&self) -> RawLink {
        self.place().raw_link()
    }

    /// A publisher that publishes to the channel `flood` without a pause, well under way.
    pub(crate) fn flood(&self, publisher: u8) -> Flood {
        let mut link = self.linked(publisher);
        let stream = link.stream.try_clone().unwrap();
        let mut acks = link.stream.try_clone().unwrap();
        let (sent, was_sent) = channel();
        let threads = vec![
            // Its acks are read, so that nothing of its own doing ends it.
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
                    // Nobody listens once it is under way.
                    sent.send(()).unwrap_or_default();
                }
            }),
        ];
        (0..10).for_each(|_| was_sent.recv_timeout(PATIENCE).unwrap());
        Flood { stream, threads }
    }
}

impl Place {
    pub(crate) fn raw_link(&self) -> RawLink {
        let stream = UnixStream::connect(self.link()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
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

    /// Says hello, and must be welcomed.
    #[track_caller]
    pub(crate) fn greet(&mut self, hello: Hello) -> Welcome {
        let mut bytes = Vec::new();
        ToSidecar::Hello(hello).encode(&mut bytes);
        self.send(&bytes);
        match self.next() {
            Some(ToPublisher::Welcome(welcome)) => welcome,
            other => panic!("a welcome, and not {other:?}"),
        }
    }

    /// The next frame; none when the link ended.
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

    /// Waits until everything up to this sequence is acked; gives what was said before that.
    #[track_caller]
    pub(crate) fn acked(&mut self, sequence: u64) -> Vec<ToPublisher> {
        let mut before = Vec::new();
        loop {
            match self.next().expect("the link lives") {
                ToPublisher::Ack(ack) if ack.sequence >= sequence => return before,
                ToPublisher::Ack(_) => {}
                other => before.push(other),
            }
        }
    }

    /// Hears the link to its end, which must be a fault; gives its code and sentence.
    #[track_caller]
    pub(crate) fn faulted(&mut self) -> (u16, String) {
        let mut fault = None;
        while let Some(frame) = self.next() {
            assert_eq!(fault, None, "nothing follows a fault");
            if let ToPublisher::Fault(it) = frame {
                fault = Some((it.code, it.message));
            }
        }
        fault.expect("a fault precedes the end")
    }
}
