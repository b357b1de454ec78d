//! Sidecar with sockets in memory and a stopped clock.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

use lineside::broker::{Broker, Inbox};
use lineside::clock::Now;
use lineside::dialects::{self, Opening, Rules, lineside_v1};
use lineside::keyring::Keyring;
use lineside::session::Session;
use lineside::settings::{Settings, Source};
use lineside::shard::{Arrival, Place, Plan, Random, Socket, Worker};
use lineside_hub::{ConnectionId, HistoryLimits, Hub};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{Hello, PROTOCOL_VERSION, PublishHead, ToSidecar, encode_publish};
use lineside_token::{ConnectionDraft, Keys, sign_connection};

use crate::Outcome;

const SECRET: &str = "a secret of a measurement that is long enough";

/// A payload of 128 bytes.
pub(crate) const PAYLOAD: &str = concat!(
    r#"{"id":1234567,"total":"1499.90","state":"open","customer":"Ada Lovelace","note":""#,
    r#"deliver to the back door before noon, please"}"#
);

/// Settings with only a secret.
struct Defaults;

impl Source for Defaults {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        Ok((name == "LINESIDE_SECRET").then(|| SECRET.to_owned()))
    }

    fn names(&self) -> Vec<String> {
        vec!["LINESIDE_SECRET".to_owned()]
    }
}

/// Socket of a page that has sent some bytes, and takes everything.
#[derive(Debug, Default)]
struct Memory {
    unread: Vec<u8>,
    /// Number of bytes that the page received.
    received: u64,
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
        self.received += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let count = parts.iter().map(|part| part.len()).sum();
        self.received += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Memory {
    fn reset_on_close(&mut self) {}
}

/// One publisher, one shard and its pages.
pub(crate) struct Stage {
    broker: Arc<Broker>,
    inbox: Arc<Inbox>,
    publisher: Session,
    worker: Worker<Memory>,
    pages: Vec<ConnectionId>,
    keys: Keys,
    now: Now,
    sequence: u64,
}

impl Stage {
    pub(crate) fn new() -> Outcome<Self> {
        let hub = Hub::new(Epoch::new("counts")?, HistoryLimits::default(), 1);
        let start = hub.cursor();
        let inbox = Arc::new(Inbox::new(Waker::noop().clone()));
        let broker = Arc::new(Broker::new(hub, vec![Arc::clone(&inbox)], dialects::encode));
        let keyring = Arc::new(Keyring::new(Keys::parse(SECRET)?));
        let limits = Settings::read(&Defaults)?.limits;
        let now = Now {
            ms: 0,
            wall_ms: 1_800_000_000_000,
        };
        let mut worker = Worker::new(Plan {
            shard: 0,
            broker: Arc::clone(&broker),
            start,
            rules: Arc::new(Rules {
                keys: Arc::clone(&keyring),
                public_channels: Vec::new(),
                heartbeat_seconds: limits.heartbeat_seconds,
            }),
            limits,
            random: Random::from_fn(|| [4; 8]),
        });
        worker.set_time(now);
        let mut stage = Self {
            publisher: Session::new(1, keyring, now.ms),
            broker,
            inbox,
            worker,
            pages: Vec::new(),
            keys: Keys::parse(SECRET)?,
            now,
            sequence: 0,
        };
        let hello = ToSidecar::Hello(Hello {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            publisher: [1; 16],
            done: 0,
            fingerprint: [0; 8],
            name: "counts".into(),
        });
        let mut frame = Vec::new();
        hello.encode(&mut frame);
        stage.send(&frame)?;
        Ok(stage)
    }

    /// Signs a token of a user for the shared channel `board`.
    pub(crate) fn sign(&self, user: u64) -> Outcome<String> {
        let draft = ConnectionDraft {
            sub: Some(user.to_string()),
            channels: vec!["board".to_owned()],
            ttl_s: 3600,
            ..ConnectionDraft::default()
        };
        Ok(sign_connection(draft, &self.keys, self.now.wall_ms)?)
    }

    /// Connects a page.
    pub(crate) fn connect(&mut self, token: &str) -> Outcome<()> {
        let request = format!(r#"{{"type":"connect","token":"{token}"}}"#);
        let page = self.worker.admit(Arrival {
            socket: Memory {
                unread: masked(request.as_bytes())?,
                received: 0,
            },
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            received: Vec::new(),
            opening: Opening::LinesideV1(lineside_v1::Opening::default()),
            place: Place::take(&Arc::default(), 1).ok_or("no place is free")?,
        });
        self.pages.push(page);
        self.worker.readable(page.slot());
        self.turn();
        Ok(())
    }

    /// Publishes, and sends the publication to every page that has subscribed to the channel.
    pub(crate) fn publish(&mut self, channel: &str) -> Outcome<()> {
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            wants_receipt: false,
            once: None,
        };
        let mut frame = Vec::new();
        encode_publish(&mut frame, head, [(channel, PAYLOAD.as_bytes())]);
        self.send(&frame)?;
        self.worker.enqueue(self.inbox.take(usize::MAX).entries);
        self.turn();
        Ok(())
    }

    /// Number of bytes that all pages have received.
    pub(crate) fn received(&mut self) -> u64 {
        let Self { worker, pages, .. } = self;
        let received = pages
            .iter()
            .filter_map(|page| Some(worker.socket(*page)?.received));
        received.sum()
    }

    fn send(&mut self, frame: &[u8]) -> Outcome<()> {
        self.publisher.received().extend_from_slice(frame);
        self.publisher
            .process(&self.broker, self.now)
            .map_err(|end| format!("the link has ended: {end:?}"))?;
        let answers = self.publisher.unsent().len();
        self.publisher.sent(answers);
        Ok(())
    }

    /// Runs turns until nothing is due.
    fn turn(&mut self) {
        self.worker.turn();
        while self.worker.due_ms() <= self.now.ms {
            self.worker.turn();
        }
    }
}

/// A text frame of a page, with a mask of zeros.
fn masked(text: &[u8]) -> Outcome<Vec<u8>> {
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(u16::try_from(text.len())?.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(text);
    Ok(frame)
}
