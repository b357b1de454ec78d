//! A worker without a thread: sockets in memory, and a manual clock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::Epoch;
use lineside_token::{ConnectionDraft, Grant, Keys, sign_connection};
use serde_json::Value;

use super::super::*;
use crate::broker::Inbox;
use crate::broker::tests::TestPublisher;
use crate::dialects::{self, Opening};
use crate::keyring::Keyring;

/// Wall clock at the start of a test, in milliseconds since the Unix epoch.
pub(super) const START_MS: u64 = 1_800_000_000_000;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Room of a kernel buffer that never fills up.
pub(super) const ENDLESS: usize = usize::MAX;

pub(super) const LIMITS: Limits = Limits {
    shards: 1,
    connections_max: 1_000,
    outbox_bytes_max: 64 * 1024,
    slow_seconds_max: 10,
    replay_seconds_max: 60,
    heartbeat_seconds: 25,
    drain_seconds_max: 10,
    history: HistoryLimits {
        channel_publications_max: 10_000,
        channel_bytes_max: 64 * 1024 * 1024,
        age_ms_max: 300_000,
        bytes_max: 64 * 1024 * 1024,
        channels_max: 1_000,
    },
};

/// End of a socket that the worker closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
}

/// State that both ends of one socket share.
#[derive(Debug, Default)]
struct Line {
    /// Bytes on their way to the worker.
    to_worker: VecDeque<u8>,
    /// Bytes that the page received.
    to_page: Vec<u8>,
    /// Free bytes of the kernel buffer towards the page.
    room: usize,
    /// The page is gone.
    is_cut: bool,
    resets: bool,
    end: Option<End>,
}

/// The worker's end of a socket.
#[derive(Debug)]
pub(super) struct Memory(Rc<RefCell<Line>>);

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut line = self.0.borrow_mut();
        if line.to_worker.is_empty() && !line.is_cut {
            return Err(ErrorKind::WouldBlock.into());
        }
        line.to_worker.read(into)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut line = self.0.borrow_mut();
        if line.is_cut {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if line.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let bytes = slices.iter().flat_map(|slice| slice.iter()).copied();
        let taken: Vec<u8> = bytes.take(line.room).collect();
        if line.room != ENDLESS {
            line.room -= taken.len();
        }
        line.to_page.extend(&taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Memory {
    fn reset_on_close(&mut self) {
        self.0.borrow_mut().resets = true;
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let mut line = self.0.borrow_mut();
        line.end = Some(if line.resets { End::Reset } else { End::Closed });
    }
}

/// The browser's end of a socket.
pub(super) struct Page {
    line: Rc<RefCell<Line>>,
    pub(super) id: ConnectionId,
}

/// One frame that a page received.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Received {
    Text(Value),
    Ping,
    Close(u16),
}

impl Received {
    /// Type of the envelope.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::Text(envelope) => envelope["type"].as_str().unwrap(),
            Self::Ping => "a ping of the WebSocket",
            Self::Close(_) => "a close frame",
        }
    }

    pub(super) fn text(&self) -> &Value {
        match self {
            Self::Text(envelope) => envelope,
            other => panic!("{other:?} is not an envelope"),
        }
    }
}

impl Page {
    /// Takes every complete frame that was received.
    pub(super) fn received(&self) -> Vec<Received> {
        let mut line = self.line.borrow_mut();
        let mut frames = Vec::new();
        while let [first, length, rest @ ..] = &line.to_page[..] {
            let (length, rest) = match (length, rest) {
                (126, [one, two, rest @ ..]) => (u16::from_be_bytes([*one, *two]).into(), rest),
                (126, _) => break,
                (short, rest) => (usize::from(*short), rest),
            };
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                break;
            };
            frames.push(match first {
                0x81 => Received::Text(serde_json::from_slice(payload).unwrap()),
                0x89 => Received::Ping,
                0x88 => Received::Close(u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("a frame that begins with {other:#x}"),
            });
            line.to_page = rest.to_vec();
        }
        frames
    }

    /// Takes the number of every message that was received. Fails if another frame was received.
    pub(super) fn messages(&self) -> Vec<u64> {
        let number = |frame: &Received| frame.text()["data"][0].as_u64().unwrap();
        self.received().iter().map(number).collect()
    }

    /// Number of sent bytes that the worker has not read.
    pub(super) fn unread(&self) -> usize {
        self.line.borrow().to_worker.len()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.line.borrow().end
    }
}

/// A worker with its broker and its clock.
pub(super) struct Stage {
    pub(super) worker: Worker<Memory>,
    pub(super) broker: Arc<Broker>,
    pub(super) publisher: TestPublisher,
    /// Applied entries that the worker has not enqueued.
    pub(super) inbox: Arc<Inbox>,
    now_ms: u64,
    /// Time by which the wall clock was set back.
    behind_ms: u64,
    places: Arc<AtomicUsize>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let epoch = Epoch::new("e").unwrap();
        let hub = Hub::new(epoch, limits.history, PUBLISHERS_MAX);
        let start = hub.cursor();
        let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
        let broker = Broker::new(hub, vec![Arc::clone(&inbox)], dialects::encode);
        let broker = Arc::new(broker);
        let rules = Rules {
            keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
            public_channels: vec![Grant::parse("*").unwrap()],
            heartbeat_seconds: limits.heartbeat_seconds,
        };
        let mut stage = Self {
            worker: Worker::new(Plan {
                shard: 0,
                broker: Arc::clone(&broker),
                start,
                rules: Arc::new(rules),
                limits,
                random: Random::from_fn(|| [7; 8]),
            }),
            publisher: TestPublisher::greet(&broker, 1),
            broker,
            inbox,
            now_ms: 0,
            behind_ms: 0,
            places: Arc::default(),
        };
        stage.pass_ms(0);
        stage
    }

    /// Opens a page with a kernel buffer that never fills up.
    pub(super) fn open(&mut self) -> Page {
        let line = Rc::new(RefCell::new(Line {
            room: ENDLESS,
            ..Line::default()
        }));
        let id = self.worker.admit(Arrival {
            socket: Memory(Rc::clone(&line)),
            peer: ([127, 0, 0, 1], 1).into(),
            received: Vec::new(),
            opening: Opening::LinesideV1(dialects::lineside_v1::Opening::default()),
            place: Place::take(&self.places, usize::MAX).unwrap(),
        });
        self.turns();
        Page { line, id }
    }

    /// Opens a page, and connects it to the channel `a`, after a cursor if there is one.
    pub(super) fn page(&mut self, after: Option<&str>) -> Page {
        let page = self.open();
        self.request(&page, &connect(after));
        page
    }

    /// Opens a page, connects it to the channel `a`, and limits its kernel buffer to `room` bytes behind the welcome.
    pub(super) fn narrow_page(&mut self, room: usize) -> Page {
        let page = self.page(None);
        assert_eq!(page.received()[0].kind(), "welcome");
        self.narrow(&page, room);
        page
    }

    /// Limits the kernel buffer of a page to `room` free bytes.
    pub(super) fn narrow(&self, page: &Page, room: usize) {
        page.line.borrow_mut().room = room;
    }

    /// Lets the page read, so that its kernel buffer has `room` free bytes.
    pub(super) fn widen(&mut self, page: &Page, room: usize) {
        page.line.borrow_mut().room = room;
        self.worker.writable(page.id.slot());
        self.turns();
    }

    /// Sends a request from a page.
    pub(super) fn request(&mut self, page: &Page, request: &Value) {
        self.send(page, 1, request.to_string().as_bytes());
    }

    /// Sends a frame from a page.
    pub(super) fn send(&mut self, page: &Page, opcode: u8, payload: &[u8]) {
        Self::put(page, opcode, payload);
        self.worker.readable(page.id.slot());
        self.turns();
    }

    /// Sends a frame from a page without telling the worker. Its mask is zero.
    pub(super) fn put(page: &Page, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            long => {
                frame.push(0x80 | 127);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        page.line.borrow_mut().to_worker.extend(frame);
    }

    /// Sends bytes from a page as they are.
    pub(super) fn send_raw(&mut self, page: &Page, bytes: &[u8]) {
        page.line.borrow_mut().to_worker.extend(bytes);
        self.worker.readable(page.id.slot());
        self.turns();
    }

    /// Number of items in the outbox of a page.
    pub(super) fn outbox_items(&self, page: &Page) -> usize {
        self.worker.fan_out.outbox(page.id).unwrap().items()
    }

    /// Cuts the connection of a page without a close frame. Reads and writes of the worker fail from then on.
    pub(super) fn cut(&mut self, page: &Page) {
        page.line.borrow_mut().is_cut = true;
        self.worker.writable(page.id.slot());
        self.worker.readable(page.id.slot());
        self.turns();
    }

    /// Signs a token of a user that lives for this number of seconds.
    pub(super) fn token(&self, user: &str, seconds: u64) -> String {
        let draft = ConnectionDraft {
            sub: Some(user.into()),
            ttl_s: seconds,
            ..ConnectionDraft::default()
        };
        let wall_ms = START_MS + self.now_ms;
        sign_connection(draft, &Keys::parse(SECRET).unwrap(), wall_ms).unwrap()
    }

    /// Number of connections in the table of users.
    pub(super) fn noted(&self) -> usize {
        self.worker.users.0.values().map(Vec::len).sum()
    }

    /// Publishes `[number, "xxx…"]`, delivers it, and returns its cursor.
    pub(super) fn publish(&mut self, channel: &str, number: u64, bytes: usize) -> String {
        let cursor = self.land(channel, number, bytes);
        self.deliver();
        cursor
    }

    /// Publishes `[number, "xxx…"]`, leaves it in the inbox, and returns its cursor.
    pub(super) fn land(&mut self, channel: &str, number: u64, bytes: usize) -> String {
        let payload = format!(r#"[{number},"{}"]"#, "x".repeat(bytes));
        self.publisher
            .publish(&self.broker, channel, &payload, self.now_ms);
        self.broker.cursor().to_string()
    }

    /// Enqueues everything in the inbox without a turn.
    pub(super) fn enqueue_all(&mut self) {
        self.worker.enqueue(self.inbox.take(usize::MAX).entries);
    }

    /// Enqueues everything in the inbox, as the worker has room for it.
    pub(super) fn deliver(&mut self) {
        loop {
            let entries = self.inbox.take(self.worker.room()).entries;
            if entries.is_empty() {
                break;
            }
            self.worker.enqueue(entries);
            self.turns();
        }
    }

    /// Lets time pass, with a turn whenever one is due.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while self.worker.due_ms() < end_ms {
            self.now_ms = self.worker.due_ms().max(self.now_ms);
            self.turns();
        }
        self.now_ms = end_ms;
        self.turns();
    }

    /// Time of the sidecar's clock, in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Sets the wall clock back.
    pub(super) fn set_back(&mut self, ms: u64) {
        self.behind_ms += ms;
    }

    /// Lets time pass without a turn, as when the process is suspended.
    pub(super) fn suspend_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Runs turns until nothing is due. Lets time pass while replays wait for their next millisecond.
    pub(super) fn turns(&mut self) {
        loop {
            self.worker.set_time(Now {
                ms: self.now_ms,
                wall_ms: START_MS + self.now_ms - self.behind_ms,
            });
            self.worker.turn();
            while self.worker.due_ms() <= self.now_ms {
                self.worker.turn();
            }
            if self.worker.replay_due_ms().is_none() {
                break;
            }
            self.now_ms += 1;
        }
    }
}

/// A connect to the channel `a`, with a token that lives for this number of seconds.
pub(super) fn connect_for(seconds: u64, after: &str) -> Value {
    let draft = ConnectionDraft {
        ttl_s: seconds,
        ..ConnectionDraft::default()
    };
    let mut connect = connect(Some(after));
    let keys = Keys::parse(SECRET).unwrap();
    connect["token"] = sign_connection(draft, &keys, START_MS).unwrap().into();
    connect
}

/// A connect to the channel `a`.
pub(super) fn connect(after: Option<&str>) -> Value {
    let mut entry = serde_json::json!({"channel": "a"});
    if let Some(after) = after {
        entry["after"] = after.into();
    }
    serde_json::json!({"type": "connect", "subscribe": [entry]})
}
