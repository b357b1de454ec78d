//! Readers of a browser's frames: a worker with one in-memory connection and a virtual clock.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use lineside::keyring::Keyring;
use lineside::shard::{Arrival, Entry, Now, Place, Plan, Random, Rules, Socket, Worker};
use lineside_hub::{Checked, HistoryLimits, Hub, PublishOutcome};
use lineside_protocol::frame::{Frame, PublishHead, ToSidecar, encode_publish};
use lineside_protocol::{Epoch, PAYLOAD_BYTES_MAX, Position};
use lineside_token::Grant;

use super::{DEFAULTS, WALL_MS, cut, keys};

/// Prefix of a line that publishes to the channel after it.
const PUBLISH: char = '!';

/// Prefix of a line that advances the clock by the seconds after it.
const WAIT: char = '+';

/// Publisher id and link number of the publications.
const PUBLISHER: ([u8; 16], u64) = ([1; 16], 1);

/// Time after which a connection must have ended, in milliseconds: longer than a heartbeat and the close.
const END_MS_MAX: u64 = 120_000;

/// Reads raw bytes of a connection. The connection must end in time.
pub(super) fn frames(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let mut stage = Stage::new();
    for part in [first, rest] {
        stage.send(part);
        stage.publish("a");
    }
    stage.end();
}

/// Reads text frames, one a line, with publications (`!news`) and seconds of time (`+30`) between them. The connection must end
/// in time.
pub(super) fn requests(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let mut stage = Stage::new();
    for line in text.lines() {
        if let Some(channel) = line.strip_prefix(PUBLISH) {
            stage.publish(channel);
        } else if let Some(seconds) = line.strip_prefix(WAIT) {
            stage.wait(seconds.parse::<u16>().unwrap_or(1).into());
        } else {
            stage.send(&masked(line.as_bytes()));
        }
    }
    stage.end();
}

/// Returns a masked text frame. The mask is zero.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short @ ..126), _) => frame.push(0x80 | short),
        (_, Ok(medium)) => {
            frame.push(0x80 | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((text.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// In-memory socket with unread bytes of the browser. Takes and discards all writes.
#[derive(Debug, Default)]
struct Memory {
    unread: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.unread.len().min(into.len());
        into[..count].copy_from_slice(&self.unread[..count]);
        self.unread.drain(..count);
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Memory {
    fn reset_on_close(&mut self) {}
}

/// Worker with one connection.
struct Stage {
    hub: Arc<Mutex<Hub>>,
    worker: Worker<Memory>,
    connection: lineside_hub::ConnectionId,
    now: Now,
    sequence: u64,
}

impl Stage {
    fn new() -> Self {
        let epoch = Epoch::new("corpus").expect("it is one");
        let mut hub = Hub::new(epoch.clone(), HistoryLimits::default(), 1);
        let _greeting = hub.publishers.hello(PUBLISHER.0, 0, PUBLISHER.1, 0);
        let hub = Arc::new(Mutex::new(hub));
        let limits = DEFAULTS.limits;
        let rules = Rules {
            keys: Arc::new(Keyring::new(keys())),
            public_channels: vec![Grant::parse("*").expect("it is one")],
            heartbeat_seconds: limits.heartbeat_seconds,
            epoch,
        };
        let mut worker = Worker::new(Plan {
            hub: Arc::clone(&hub),
            rules: Arc::new(rules),
            limits,
            random: Random::from_fn(|| [4; 8]),
            dispatched: Position::default(),
        });
        let now = Now {
            ms: 0,
            wall_ms: WALL_MS,
        };
        worker.set_time(now);
        let connection = worker.admit(Arrival {
            socket: Memory::default(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            received: Vec::new(),
            connect: None,
            identity: None,
            place: Place::take(&Arc::default(), 1).expect("there is one"),
        });
        Self {
            hub,
            worker,
            connection,
            now,
            sequence: 0,
        }
    }

    /// Sends bytes of the browser and runs the worker.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(socket) = self.worker.socket(self.connection) {
            socket.unread.extend_from_slice(bytes);
            self.worker.readable(self.connection.slot());
        }
        self.turn();
    }

    /// Publishes to a channel, if the hub accepts it, and runs the worker.
    fn publish(&mut self, channel: &str) {
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            wants_receipt: false,
            once: None,
        };
        let mut written = Vec::new();
        encode_publish(&mut written, head, [(channel, b"1".as_slice())]);
        let frame = Frame::split(&mut written.as_slice().into()).ok().flatten();
        let Some(Ok(ToSidecar::Publish(publish))) = frame.as_ref().map(ToSidecar::decode) else {
            return;
        };
        let checked = Checked::inspect(&publish, PAYLOAD_BYTES_MAX);
        let mut hub = self.hub.lock().expect("nothing panicked under it");
        let outcome = hub.publish(PUBLISHER.0, PUBLISHER.1, &checked, self.now.ms);
        drop(hub);
        if let PublishOutcome::Landed { publications, .. } = outcome {
            self.worker
                .take(publications.into_iter().map(Entry::Publication));
        }
        self.turn();
    }

    fn wait(&mut self, seconds: u64) {
        self.now.ms += seconds * 1000;
        self.now.wall_ms += seconds * 1000;
        self.worker.set_time(self.now);
        self.turn();
    }

    /// Runs the worker until no timer is due.
    fn turn(&mut self) {
        self.worker.turn();
        while self.worker.due_ms() <= self.now.ms {
            self.worker.turn();
        }
    }

    /// Drains the worker, as a planned stop does.
    fn end(mut self) {
        self.worker.drain();
        self.turn();
        self.wait(END_MS_MAX / 1000);
        assert!(self.worker.is_drained(), "the connection did not end");
    }
}
