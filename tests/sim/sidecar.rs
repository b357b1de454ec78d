//! The sidecar: the real hub, broker, ingress sessions and workers, without tasks and threads.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use lineside::broker::{Broker, Inbox};
use lineside::clock::{AWAY_MS_MAX, Now};
use lineside::dialects::lineside_v1;
use lineside::dialects::{self, Opening, Rules};
use lineside::keyring::Keyring;
use lineside::session::{End, Session};
use lineside::settings::Limits;
use lineside::shard::{self, Arrival, Place, Plan, Worker};
use lineside_hub::{ConnectionId, Hub, PUBLISHERS_MAX, SavedAt};
use lineside_protocol::Epoch;
use lineside_tests::random::Random;
use lineside_token::Grant;

use crate::network::{BrowserSocket, Shared, Side};
use crate::world::Time;

/// Maximum size of a read of a link, in bytes.
const READ_BYTES: usize = 4096;

/// Settings that every sidecar of a run shares.
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) keys: Arc<Keyring>,
    pub(crate) public: Vec<Grant>,
}

/// A shard.
struct Shard {
    worker: Worker<BrowserSocket>,
    inbox: Arc<Inbox>,
    connections: Vec<(ConnectionId, Shared)>,
}

/// A link of a publisher.
struct Link {
    number: u64,
    session: Session,
    wire: Shared,
    end: Option<End>,
    /// Received bytes are not processed yet.
    has_read: bool,
}

pub(crate) struct Sidecar {
    broker: Arc<Broker>,
    keys: Arc<Keyring>,
    shards: Vec<Shard>,
    links: Vec<Link>,
    next_link: u64,
    places: Arc<AtomicUsize>,
    /// Time of its clock at the start, in milliseconds.
    from_ms: u64,
    /// Time of the simulation at the start, in milliseconds.
    started_ms: u64,
    pub(crate) is_stopping: bool,
}

impl Sidecar {
    /// Starts a sidecar from the snapshot of its predecessor, or with a new epoch.
    pub(crate) fn start(
        settings: &Settings,
        saved: Option<&[u8]>,
        time: Time,
        random: &mut Random,
    ) -> Self {
        let history = settings.limits.history;
        let restored = saved.map(|saved| {
            Hub::restore(saved, history, PUBLISHERS_MAX).expect("the snapshot is valid")
        });
        let (hub, from_ms) = match restored {
            Some((hub, at)) => {
                let away_ms = time.wall_ms().saturating_sub(at.wall_ms).min(AWAY_MS_MAX);
                (hub, at.now_ms + away_ms)
            }
            None => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&random.number().to_be_bytes());
                let epoch = Epoch::from_random(bytes);
                (Hub::new(epoch, history, PUBLISHERS_MAX), 0)
            }
        };
        let start = hub.cursor();
        let inboxes: Vec<_> = (0..settings.limits.shards)
            .map(|_| Arc::new(Inbox::new(Waker::noop().clone())))
            .collect();
        let broker = Arc::new(Broker::new(hub, inboxes.clone(), dialects::encode));
        let rules = Arc::new(Rules {
            keys: Arc::clone(&settings.keys),
            public_channels: settings.public.clone(),
            heartbeat_seconds: settings.limits.heartbeat_seconds,
        });
        let shards: Vec<Shard> = inboxes
            .into_iter()
            .map(|inbox| {
                let mut names = Random::new(random.number());
                Shard {
                    worker: Worker::new(Plan {
                        shard: 0,
                        broker: Arc::clone(&broker),
                        start: start.clone(),
                        rules: Arc::clone(&rules),
                        limits: settings.limits,
                        random: shard::Random::from_fn(move || names.number().to_be_bytes()),
                    }),
                    inbox,
                    connections: Vec::new(),
                }
            })
            .collect();
        Self {
            broker,
            keys: Arc::clone(&settings.keys),
            shards,
            links: Vec::new(),
            next_link: 1,
            places: Arc::default(),
            from_ms,
            started_ms: time.ms,
            is_stopping: false,
        }
    }

    fn now(&self, time: Time) -> Now {
        Now {
            ms: self.from_ms + time.ms - self.started_ms,
            wall_ms: time.wall_ms(),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    pub(crate) fn links(&self) -> usize {
        self.links.len()
    }

    /// Admits a browser whose upgrade is answered.
    pub(crate) fn admit(&mut self, wire: &Shared, at: usize, time: Time) {
        let now = self.now(time);
        let shard = &mut self.shards[at];
        shard.worker.set_time(now);
        let id = shard.worker.admit(Arrival {
            socket: BrowserSocket::new(wire.clone()),
            peer: ([127, 0, 0, 1], 1).into(),
            received: Vec::new(),
            opening: Opening::LinesideV1(lineside_v1::Opening::default()),
            place: Place::take(&self.places, usize::MAX).expect("a place"),
        });
        shard.connections.push((id, wire.clone()));
    }

    /// Accepts the link of a publisher.
    pub(crate) fn link(&mut self, wire: &Shared, time: Time) {
        let number = self.next_link;
        self.next_link += 1;
        self.links.push(Link {
            number,
            session: Session::new(number, Arc::clone(&self.keys), self.now(time).ms),
            wire: wire.clone(),
            end: None,
            has_read: false,
        });
    }

    /// Runs one turn of a shard. One that lags takes no entries from its inbox.
    pub(crate) fn turn(&mut self, at: usize, lags: bool, time: Time) {
        let now = self.now(time);
        let shard = &mut self.shards[at];
        let worker = &mut shard.worker;
        worker.set_time(now);
        for (id, wire) in &shard.connections {
            let (readable, writable) = wire.borrow_mut().edges();
            if worker.socket(*id).is_none() {
                continue;
            }
            if writable {
                worker.writable(id.slot());
            }
            if readable {
                worker.readable(id.slot());
            }
        }
        let most = if lags { 0 } else { worker.room() };
        worker.enqueue(shard.inbox.take(most).entries);
        // As in the sidecar: once every link has ended and the inbox is empty.
        if self.is_stopping && self.links.is_empty() && shard.inbox.may_sleep(None) {
            worker.drain();
        }
        worker.turn();
        shard
            .connections
            .retain(|(id, _)| worker.socket(*id).is_some());
    }

    /// Runs one round of a link.
    pub(crate) fn serve(&mut self, at: usize, time: Time) {
        let now = self.now(time);
        let link = &mut self.links[at];
        if !link.flush() {
            return;
        }
        if self.is_stopping {
            link.end.get_or_insert(End::drain());
        }
        if let Some(end) = link.end.take() {
            let mut link = self.links.remove(at);
            link.session.close(&self.broker, end, now.ms);
            link.flush();
            link.wire.borrow_mut().close(Side::Far);
            return;
        }
        if let Err(end) = link.session.tick(&self.broker, now.ms) {
            link.end = Some(end);
            return;
        }
        if !link.has_read {
            link.read();
        }
        if link.has_read && (!link.session.is_open() || self.broker.has_room()) {
            link.has_read = false;
            if let Err(end) = link.session.process(&self.broker, now) {
                link.end = Some(end);
            }
        }
        if let Some(older) = link.session.replaces()
            && let Some(older) = self.links.iter_mut().find(|it| it.number == older)
        {
            older.end = Some(End::replaced());
        }
    }

    /// Expires history and revocations.
    pub(crate) fn expire(&self, time: Time) {
        self.broker.expire(self.now(time));
    }

    /// Begins a planned stop: links end, then browsers.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether its stop is complete.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_stopping && self.shards.iter().all(|shard| shard.worker.is_drained())
    }

    /// Ends a planned stop, complete or cut, and returns the snapshot for the successor.
    pub(crate) fn save(mut self, time: Time) -> Vec<u8> {
        self.links.clear();
        let now = self.now(time);
        let at = SavedAt {
            now_ms: now.ms,
            wall_ms: now.wall_ms,
        };
        let mut saved = Vec::new();
        self.broker.save(at, &mut saved).expect("memory has room");
        saved
    }

    /// Whether a replay waits for its next millisecond.
    pub(crate) fn has_replays(&self) -> bool {
        let mut shards = self.shards.iter();
        shards.any(|it| it.worker.replay_due_ms().is_some())
    }

    /// Time of its next timer.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let of_shards = self.shards.iter().map(|it| it.worker.due_ms());
        let of_links = self.links.iter().filter_map(|it| it.session.due_ms());
        let due = of_shards
            .chain(of_links)
            .filter(|it| *it < u64::MAX)
            .min()?;
        Some(due.saturating_sub(self.from_ms) + self.started_ms)
    }
}

impl Link {
    /// Writes what is unsent. Returns false while the kernel buffer towards the publisher is full.
    fn flush(&mut self) -> bool {
        while !self.session.unsent().is_empty() {
            match self
                .wire
                .borrow_mut()
                .write(Side::Far, self.session.unsent())
            {
                Ok(count) => self.session.sent(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    self.end = Some(error.into());
                    return true;
                }
            }
        }
        true
    }

    fn read(&mut self) {
        let mut bytes = [0; READ_BYTES];
        match self.wire.borrow_mut().read(Side::Far, &mut bytes) {
            Ok(0) => self.end = Some(End::Closed),
            Ok(count) => {
                self.session.received().extend_from_slice(&bytes[..count]);
                self.has_read = true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.end = Some(error.into()),
        }
    }
}

/// The kernel closes the links of a killed process.
impl Drop for Link {
    fn drop(&mut self) {
        self.wire.borrow_mut().close(Side::Far);
    }
}
