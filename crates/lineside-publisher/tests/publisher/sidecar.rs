//! Scripted sidecar: the other end of the link.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lineside_protocol::frame::{
    Ack, Fault, Frame, Hello, Moved, PROTOCOL_VERSION, Publish, Receipt, Refusal, ToPublisher,
    ToSidecar, Welcome,
};
use lineside_protocol::{Epoch, Position};
use lineside_publisher::{PublishOptions, Publisher, Settings};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Time-out of every wait. Longer than any condition takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Returns a deadline that a passing test does not reach.
pub(crate) fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

/// Waits until a condition is true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = deadline();
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Temporary folder, removed on drop.
pub(crate) struct TestFolder(PathBuf);

impl TestFolder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "lineside-publisher-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn link(&self) -> PathBuf {
        self.0.join("link.sock")
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(self.settings())
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.link(), "test[1]")
    }

    pub(crate) fn listen(&self) -> Sidecar {
        Sidecar::at(&self.link())
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Returns a folder with a sidecar's socket, a publisher for it, and the sidecar.
pub(crate) fn pair() -> (TestFolder, Publisher, Sidecar) {
    let folder = TestFolder::new();
    let (publisher, sidecar) = (folder.publisher(), folder.listen());
    (folder, publisher, sidecar)
}

/// Publishes the numbers of a range.
pub(crate) fn publish(publisher: &Publisher, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        publisher
            .publish(
                "news",
                number.to_string().as_bytes(),
                PublishOptions::default(),
            )
            .unwrap();
    }
}

/// Returns the payload of a frame's first publication, as a number.
pub(crate) fn number(publish: &Publish) -> u64 {
    let (_, payload) = publish.publications.iter().next().unwrap();
    std::str::from_utf8(&payload).unwrap().parse().unwrap()
}

pub(crate) fn epoch(name: &str) -> Epoch {
    Epoch::new(name).unwrap()
}

/// Listener of the scripted sidecar.
pub(crate) struct Sidecar(UnixListener);

impl Sidecar {
    pub(crate) fn at(path: &Path) -> Self {
        if path.exists() {
            std::fs::remove_file(path).unwrap();
        }
        Self(UnixListener::bind(path).unwrap())
    }

    /// Accepts the next link, before its hello.
    pub(crate) fn accept(&self) -> Line {
        assert!(is_readable(&self.0, PATIENCE), "no connection");
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Line {
            stream,
            inbox: BytesMut::new(),
        }
    }

    /// Accepts the next link, reads its hello and sends a welcome.
    pub(crate) fn link(&self, last: u64, epoch: &str) -> Line {
        let mut line = self.accept();
        line.hello();
        line.welcome(last, epoch);
        line
    }
}

pub(crate) fn is_readable(descriptor: &impl AsFd, time: Duration) -> bool {
    let mut descriptors = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
    poll(&mut descriptors, PollTimeout::try_from(time).unwrap()).unwrap() > 0
}

/// One accepted link.
pub(crate) struct Line {
    pub(crate) stream: UnixStream,
    inbox: BytesMut,
}

impl Line {
    pub(crate) fn hello(&mut self) -> Hello {
        match self.next() {
            Some(ToSidecar::Hello(hello)) => hello,
            other => panic!("{other:?} instead of a hello"),
        }
    }

    pub(crate) fn welcome(&mut self, last: u64, name: &str) {
        self.send(&ToPublisher::Welcome(Welcome {
            version: PROTOCOL_VERSION,
            last,
            position: Position(100),
            fingerprint: [0; 8],
            epoch: epoch(name),
        }));
    }

    /// Reads the next frame. Returns `None` at the end of the link.
    pub(crate) fn next(&mut self) -> Option<ToSidecar> {
        loop {
            if let Some(frame) = Frame::split(&mut self.inbox).unwrap() {
                return Some(ToSidecar::decode(&frame).unwrap());
            }
            if self.read(64 * 1024) == 0 {
                return None;
            }
        }
    }

    /// Reads once, at most `bytes`. Returns the number of bytes.
    pub(crate) fn read(&mut self, bytes: usize) -> usize {
        let mut buffer = vec![0; bytes];
        let count = match self.stream.read(&mut buffer) {
            // The publisher closed the link before it had read everything.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            read => read.expect("the publisher sends or closes"),
        };
        self.inbox.extend_from_slice(&buffer[..count]);
        count
    }

    /// Returns the next frame that was read completely.
    pub(crate) fn buffered(&mut self) -> Option<ToSidecar> {
        Frame::split(&mut self.inbox)
            .unwrap()
            .map(|frame| ToSidecar::decode(&frame).unwrap())
    }

    pub(crate) fn publish(&mut self) -> Publish {
        match self.next() {
            Some(ToSidecar::Publish(publish)) => publish,
            other => panic!("{other:?} instead of a publish"),
        }
    }

    /// Reads the next frames, and returns their numbers.
    pub(crate) fn numbers(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| number(&self.publish())).collect()
    }

    /// Checks that no bytes are unread. A publisher without work sends nothing more.
    pub(crate) fn assert_quiet(&mut self) {
        assert!(self.inbox.is_empty());
        assert!(!is_readable(&self.stream, Duration::ZERO));
    }

    pub(crate) fn send(&mut self, frame: &ToPublisher) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn ack(&mut self, sequence: u64, position: u64) {
        self.send(&ToPublisher::Ack(Ack {
            sequence,
            position: Position(position),
        }));
    }

    pub(crate) fn receipt(&mut self, sequence: u64, position: u64) {
        self.send(&ToPublisher::Receipt(Receipt {
            sequence,
            position: Position(position),
            duplicate: false,
        }));
    }

    pub(crate) fn refuse(&mut self, sequence: u64, code: u16, message: &str) {
        self.send(&ToPublisher::Refusal(Refusal {
            sequence,
            code,
            message: message.into(),
        }));
    }

    pub(crate) fn moved(&mut self, position: u64) {
        self.send(&ToPublisher::Moved(Moved {
            position: Position(position),
        }));
    }

    pub(crate) fn fault(&mut self, code: u16, message: &str) {
        self.send(&ToPublisher::Fault(Fault {
            code,
            message: message.into(),
        }));
    }
}
