//! A worker without a thread: sockets in memory, and a clock that is turned by hand.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;

use lineside_hub::{HistoryLimits, PUBLISHERS_MAX};
use lineside_protocol::envelope::message;
use lineside_protocol::{Cursor, Epoch};
use lineside_token::{ConnectionDraft, Grant, Keys, sign_connection};
use serde_json::Value;

use super::super::*;
use crate::keyring::Keyring;

/// The wall clock when a test begins, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_800_000_000_000;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A socket that takes whatever it is given.
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

/// How a worker let go of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Reset,
}

/// What two ends of one socket share.
#[derive(Debug, Default)]
struct Line {
    said: VecDeque<u8>,
    heard: Vec<u8>,
    /// Bytes that the kernel will still take for the page.
    room: usize,
    /// Whether the page is gone.
    is_cut: bool,
    resets: bool,
    end: Option<End>,
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Memory(Rc<RefCell<Line>>);

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut line = self.0.borrow_mut();
        if line.said.is_empty() && !line.is_cut {
            return Err(ErrorKind::WouldBlock.into());
        }
        line.said.read(into)
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
        line.heard.extend(&taken);
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

/// The browser's end.
pub(super) struct Page {
    line: Rc<RefCell<Line>>,
    slot: usize,
}

/// One frame that a page was sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Text(Value),
    Ping,
    Close(u16),
}

impl Heard {
    /// The envelope's type.
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
            other => panic!("{other:?} is no envelope"),
        }
    }
}

impl Page {
    /// Every whole frame that came since the last look.
    pub(super) fn heard(&self) -> Vec<Heard> {
        let mut line = self.line.borrow_mut();
        let mut frames = Vec::new();
        while let [first, length, rest @ ..] = &line.heard[..] {
            let (length, rest) = match (length, rest) {
                (126, [one, two, rest @ ..]) => (u16::from_be_bytes([*one, *two]).into(), rest),
                (126, _) => break,
                (short, rest) => (usize::from(*short), rest),
            };
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                break;
            };
            frames.push(match first {
                0x81 => Heard::Text(serde_json::from_slice(payload).unwrap()),
                0x89 => Heard::Ping,
                0x88 => Heard::Close(u16::from_be_bytes([payload[0], payload[1]])),
                other => panic!("a frame that begins with {other:#x}"),
            });
            line.heard = rest.to_vec();
        }
        frames
    }

    /// The data of every message that came, and nothing else may have come.
    pub(super) fn messages(&self) -> Vec<u64> {
        let data = |heard: &Heard| heard.text()["data"][0].as_u64().unwrap();
        self.heard().iter().map(data).collect()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.line.borrow().end
    }
}

/// The worker, its journal and its clock.
pub(super) struct Stage {
    pub(super) worker: Worker<Memory>,
    pub(super) hub: Arc<Mutex<Hub>>,
    /// Landed, and not yet given to the worker.
    pub(super) inbox: VecDeque<Entry>,
    now_ms: u64,
    places: Arc<AtomicUsize>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let epoch = Epoch::new("e").unwrap();
        let hub = Hub::new(epoch.clone(), limits.history, PUBLISHERS_MAX);
        let hub = Arc::new(Mutex::new(hub));
        let rules = Rules {
            keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
            public_channels: vec![Grant::parse("*").unwrap()],
            heartbeat_seconds: limits.heartbeat_seconds,
            epoch,
        };
        let mut stage = Self {
            worker: Worker::new(Plan {
                hub: Arc::clone(&hub),
                rules: Arc::new(rules),
                limits,
                random: Random::from_fn(|| [7; 8]),
                dispatched: Position::default(),
            }),
            hub,
            inbox: VecDeque::new(),
            now_ms: 0,
            places: Arc::default(),
        };
        stage.pass_ms(0);
        stage
    }

    /// A page whose kernel takes all it is given.
    pub(super) fn open(&mut self) -> Page {
        let line = Rc::new(RefCell::new(Line {
            room: ENDLESS,
            ..Line::default()
        }));
        let id = self.worker.admit(Arrival {
            socket: Memory(Rc::clone(&line)),
            peer: ([127, 0, 0, 1], 1).into(),
            received: Vec::new(),
            identity: None,
            connect: None,
            place: Place::take(&self.places, usize::MAX).unwrap(),
        });
        self.turns();
        let slot = id.slot();
        Page { line, slot }
    }

    /// A page that was welcomed to the channel `a`, after this cursor if there is one.
    pub(super) fn page(&mut self, after: Option<&str>) -> Page {
        let page = self.open();
        self.say(&page, &connect(after));
        page
    }

    /// The same, but for what the kernel takes: this many bytes, of which the welcome is none.
    pub(super) fn narrow_page(&mut self, room: usize) -> Page {
        let page = self.page(None);
        assert_eq!(page.heard()[0].kind(), "welcome");
        self.narrow(&page, room);
        page
    }

    pub(super) fn narrow(&self, page: &Page, room: usize) {
        page.line.borrow_mut().room = room;
    }

    /// The kernel takes this many bytes more.
    pub(super) fn widen(&mut self, page: &Page, room: usize) {
        page.line.borrow_mut().room = room;
        self.worker.writable(page.slot);
        self.turns();
    }

    pub(super) fn say(&mut self, page: &Page, request: &Value) {
        self.send(page, 1, request.to_string().as_bytes());
    }

    /// Sends a frame.
    pub(super) fn send(&mut self, page: &Page, opcode: u8, payload: &[u8]) {
        Self::put(page, opcode, payload);
        self.worker.readable(page.slot);
        self.turns();
    }

    /// Has a frame sent that the worker is not told of yet; it is masked with zeros.
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
        page.line.borrow_mut().said.extend(frame);
    }

    /// What waits for the page, in items of its outbox.
    pub(super) fn owed(&self, page: &Page) -> usize {
        let id = self.worker.at(page.slot).unwrap();
        self.worker.shard.outbox(id).unwrap().items()
    }

    /// The page is gone, without a word: the kernel says so to whoever reads and to whoever writes.
    pub(super) fn cut(&mut self, page: &Page) {
        page.line.borrow_mut().is_cut = true;
        self.worker.writable(page.slot);
        self.worker.readable(page.slot);
        self.turns();
    }

    /// A token of the user that ends after so many seconds.
    pub(super) fn token(&self, user: &str, seconds: u64) -> String {
        let draft = ConnectionDraft {
            sub: Some(user.into()),
            ttl_s: seconds,
            ..ConnectionDraft::default()
        };
        let wall_ms = START_MS + self.now_ms;
        sign_connection(draft, &Keys::parse(SECRET).unwrap(), wall_ms).unwrap()
    }

    /// How many connections are noted as somebody's.
    pub(super) fn noted(&self) -> usize {
        self.worker.users.0.values().map(Vec::len).sum()
    }

    /// Lands `[number, "xxx…"]` on the channel, and hands it over; gives its cursor.
    pub(super) fn publish(&mut self, channel: &str, number: u64, bytes: usize) -> String {
        let cursor = self.land(channel, number, bytes);
        self.hand_over();
        cursor
    }

    /// Lands it, and leaves it in the inbox.
    pub(super) fn land(&mut self, channel: &str, number: u64, bytes: usize) -> String {
        let payload = format!(r#"[{number},"{}"]"#, "x".repeat(bytes));
        let mut hub = self.hub.lock().unwrap();
        let epoch = hub.journal.epoch().clone();
        let publication = hub.journal.append(channel, self.now_ms, |position| {
            message(channel, &epoch, position, payload.as_bytes(), false)
        });
        drop(hub);
        let cursor: Cursor = epoch.at(publication.position);
        self.inbox.push_back(Entry::Publication(publication));
        cursor.to_string()
    }

    /// Gives the worker what is in the inbox, as fast as it takes it.
    pub(super) fn hand_over(&mut self) {
        while !self.inbox.is_empty() {
            let count = self.inbox.len().min(self.worker.room());
            self.worker.take(self.inbox.drain(..count));
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

    /// Lets time pass and nothing happen, as when the process is stopped.
    pub(super) fn stand_still_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    pub(super) fn turns(&mut self) {
        self.worker.set_time(Now {
            ms: self.now_ms,
            wall_ms: START_MS + self.now_ms,
        });
        self.worker.turn();
        while self.worker.due_ms() <= self.now_ms {
            self.worker.turn();
        }
    }
}

/// A connect to the channel `a`, with a token that lives as many seconds.
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
