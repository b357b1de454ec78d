//! Bytes of a browser after its upgrade, to a worker with sockets in memory and a manual clock.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use lineside::broker::runners::{Report, RunnerId};
use lineside::broker::{Broker, Inbox};
use lineside::clock::Now;
use lineside::dialects::{self, Opening, Rules, lineside_v1};
use lineside::keyring::Keyring;
use lineside::session::Session;
use lineside::shard::{Arrival, Place, Plan, Random, Socket, Worker};
use lineside_hub::{HistoryLimits, Hub};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{
    Frame, FromApp, Hello, PROTOCOL_VERSION, PublishHead, ToSidecar, encode_publish, runner,
};
use lineside_token::Grant;

use super::{DEFAULTS, WALL_MS, cut, keys};

/// Prefix of a line that publishes to a channel.
const PUBLISH: char = '!';

/// Prefix of a line that lets seconds pass.
const WAIT: char = '+';

/// Decision of the app about a connection of Action Cable. The key of Turbo is `k`.
const DECIDED: &str = r#"{"identifier":"Z2lk","user":"42","session":"s","issued_ms":1800000000000,"turbo_keys":["aw=="],"empty":["HeartbeatChannel"],"context":"{}","disconnects":true,"process":"puma[1]"}"#;

/// Command that subscribes to a channel that runs in the app.
const SUBSCRIBE: &str = r#"{"command":"subscribe","identifier":"{\"channel\":\"RoomChannel\"}"}"#;

/// Prefix of the channels on which Rails ends connections.
const REMOTE_PREFIX: &str = "cable:action_cable/";
/// Publication with which Rails ends a connection.
const REMOTE: &str = r#"{"type":"disconnect","reconnect":true}"#;

/// Size of the part of a frame's head that its length includes, in bytes.
const FRAME_HEAD_BYTES: usize = 4;

/// Time after which every connection has ended, in seconds: more than a heartbeat and the wait for a close.
const END_SECONDS: u64 = 120;

/// Bytes of a browser, as the kernel delivers them. For all bytes the connection ends in time.
pub(super) fn frames(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let mut stage = Stage::lineside_v1();
    for part in [first, rest] {
        stage.send(part);
        stage.publish("a");
    }
    stage.end();
}

/// Text frames of a browser, one a line, and between them publications (`!news`) and seconds that pass (`+30`). For all lines
/// the connection ends in time.
pub(super) fn requests(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let mut stage = Stage::lineside_v1();
    text.lines().for_each(|line| stage.play(line));
    stage.end();
}

/// Commands of a stock client of Action Cable and of Lineside's module, one a line, with lines between them as in
/// [`requests`]. For all lines the connection ends in time.
pub(super) fn commands(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let mut stage = Stage::action_cable();
    text.lines().for_each(|line| stage.play(line));
    stage.end();
}

/// Frames of a process that runs a channel for the connection `0.0.0`, one a line (`51 {"connection":"0.0.0","id":1}`), with
/// lines between them as in [`commands`]. The line `-` ends the process as if it were killed, `=` ends its link alone, and `*`
/// opens another process. For all lines the connection ends in time.
pub(super) fn reports(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let mut stage = Stage::action_cable();
    let mut process = stage.open_runner();
    stage.play(SUBSCRIBE);
    for line in text.lines() {
        let runners = stage.broker.runners();
        match line {
            "-" | "=" => runners.close(process, line == "="),
            "*" => process = stage.open_runner(),
            _ => match report(line) {
                Some((connection, report)) => runners.report(process, &connection, report),
                None => stage.play(line),
            },
        }
        stage.take_inbox();
    }
    stage.end();
}

/// The frame of a line, as the app link passes it to the broker. `None` if the line has no valid frame.
fn report(line: &str) -> Option<(String, Report)> {
    let (kind, body) = line.split_once(' ')?;
    let kind: u8 = kind.parse().ok()?;
    let length = u32::try_from(FRAME_HEAD_BYTES + body.len()).ok()?;
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0, 0, 0]);
    bytes.extend_from_slice(body.as_bytes());
    let frame = Frame::split(&mut bytes).ok()??;
    Some(match FromApp::decode(&frame).ok()? {
        FromApp::Done(it) => {
            let (number, variables) = (it.id, it.variables);
            (it.connection, Report::Done { number, variables })
        }
        FromApp::Transmit(it) => (it.connection, Report::Text(it.text)),
        FromApp::Stream(runner::Stream {
            connection,
            identifier,
            stream,
        }) => (connection, Report::Stream { identifier, stream }),
        FromApp::StopStream(runner::StopStream {
            connection,
            identifier,
            stream,
        }) => (connection, Report::StopStream { identifier, stream }),
        FromApp::Left(it) => (it.connection, Report::Left),
        _ => return None,
    })
}

/// A text frame of a browser, with a mask of zeros.
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

/// Socket of a browser that sends the given bytes, and reads everything.
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

/// One worker with one connection, and a publisher.
struct Stage {
    broker: Arc<Broker>,
    inbox: Arc<Inbox>,
    publisher: Session,
    worker: Worker<Memory>,
    connection: lineside_hub::ConnectionId,
    now: Now,
    sequence: u64,
}

impl Stage {
    fn lineside_v1() -> Self {
        Self::new(Opening::LinesideV1(lineside_v1::Opening::default()))
    }

    /// A connection whose app has Turbo, an empty channel class, and classes that run in the app.
    fn action_cable() -> Self {
        Self::new(Opening::of_app(DECIDED.as_bytes()).expect("valid JSON"))
    }

    fn new(opening: Opening) -> Self {
        let epoch = Epoch::new("corpus").expect("a valid epoch");
        let hub = Hub::new(epoch, HistoryLimits::default(), 1);
        let start = hub.cursor();
        let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
        let broker = Broker::new(hub, vec![Arc::clone(&inbox)], dialects::encode);
        let broker = Arc::new(broker);
        let keys = Arc::new(Keyring::new(keys()));
        let limits = DEFAULTS.limits;
        let rules = Rules {
            keys: Arc::clone(&keys),
            public_channels: vec![Grant::parse("*").expect("a valid grant")],
            heartbeat_seconds: limits.heartbeat_seconds,
        };
        let mut worker = Worker::new(Plan {
            shard: 0,
            broker: Arc::clone(&broker),
            start,
            rules: Arc::new(rules),
            limits,
            random: Random::from_fn(|| [4; 8]),
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
            opening,
            place: Place::take(&Arc::default(), 1).expect("a free place"),
        });
        let mut publisher = Session::new(1, keys, now.ms);
        publisher.received().extend_from_slice(&hello());
        publisher.process(&broker, now).expect("a valid hello");
        Self {
            broker,
            inbox,
            publisher,
            worker,
            connection,
            now,
            sequence: 0,
        }
    }

    /// Runs one line: a publication, seconds that pass, or a text frame of the browser.
    fn play(&mut self, line: &str) {
        if let Some(channel) = line.strip_prefix(PUBLISH) {
            self.publish(channel);
        } else if let Some(seconds) = line.strip_prefix(WAIT) {
            self.wait(seconds.parse::<u16>().unwrap_or(1).into());
        } else {
            self.send(&masked(line.as_bytes()));
        }
    }

    /// Opens a process that runs channels. Nobody reads its commands.
    fn open_runner(&self) -> RunnerId {
        self.broker.runners().open("puma[1]", &Arc::default())
    }

    /// Sends bytes from the browser.
    fn send(&mut self, bytes: &[u8]) {
        if let Some(socket) = self.worker.socket(self.connection) {
            socket.unread.extend_from_slice(bytes);
            self.worker.readable(self.connection.slot());
        }
        self.turn();
    }

    /// Publishes to a channel. The sidecar refuses an invalid name. A name that fits into no frame is ignored.
    fn publish(&mut self, channel: &str) {
        if channel.len() > usize::from(u16::MAX) {
            return;
        }
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            wants_receipt: false,
            once: None,
        };
        let mut frame = Vec::new();
        let payload = if channel.starts_with(REMOTE_PREFIX) {
            REMOTE
        } else {
            "1"
        };
        encode_publish(&mut frame, head, [(channel, payload.as_bytes())]);
        self.publisher.received().extend_from_slice(&frame);
        self.publisher
            .process(&self.broker, self.now)
            .expect("a valid frame");
        let answers = self.publisher.unsent().len();
        self.publisher.sent(answers);
        self.take_inbox();
    }

    /// Passes the entries and runner events of the inbox to the worker.
    fn take_inbox(&mut self) {
        let taken = self.inbox.take(usize::MAX);
        self.worker.enqueue(taken.entries);
        self.worker.handle_runner_events(taken.runner_events);
        self.turn();
    }

    fn wait(&mut self, seconds: u64) {
        self.now.ms += seconds * 1000;
        self.now.wall_ms += seconds * 1000;
        self.worker.set_time(self.now);
        self.turn();
    }

    /// Runs turns until nothing is due.
    fn turn(&mut self) {
        self.worker.turn();
        while self.worker.due_ms() <= self.now.ms {
            self.worker.turn();
        }
    }

    /// Drains the worker.
    fn end(mut self) {
        self.worker.drain();
        self.turn();
        self.wait(END_SECONDS);
        assert!(self.worker.is_drained(), "a connection does not end");
    }
}

fn hello() -> Vec<u8> {
    let mut bytes = Vec::new();
    ToSidecar::Hello(Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        publisher: [1; 16],
        done: 0,
        fingerprint: [0; 8],
        name: "corpus".into(),
    })
    .encode(&mut bytes);
    bytes
}
