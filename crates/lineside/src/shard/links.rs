//! Links of publishers on one shard: reads their sockets, drives their [`Session`]s, and keeps their time-outs.
//!
//! The thread of a shard reads links and writes to browsers, so that a publication to one browser needs one wake-up
//! (docs/decisions/0035-shards-read-links.md).
//!
//! A link is not read while a shard is behind, or while its publisher does not read answers. Its frames then wait in the
//! publisher's own spool, and other links are not affected. A publisher that does not read answers is told no newer position
//! meanwhile, and does not delay a stop.

mod queue;

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lineside_protocol::Position;
use tokio::sync::{oneshot, watch};

use crate::broker::Broker;
use crate::clock::Now;
use crate::keyring::Keyring;
use crate::log::{Level, event};
use crate::session::{End, Session};
pub(crate) use queue::{LinkQueue, NewLink};

/// Size of one read, in bytes. About 100 publications of 128 bytes.
const READ_BYTES: usize = 16 * 1024;

/// Size of all reads of a turn from which links wait for the next turn, in bytes.
const TURN_BYTES_MAX: usize = 32 * 1024;

/// Time between a new entry and the next look at every link, in milliseconds.
const LOOK_MS: u64 = 5;

/// Deadline for sending the reason why a link ends, in milliseconds.
const REASON_MS_MAX: u64 = 1000;

/// Links of one shard, with sockets of the kind `S`.
pub(super) struct Links<S> {
    shard: usize,
    broker: Arc<Broker>,
    keys: Arc<Keyring>,
    /// By number.
    links: BTreeMap<u64, Link<S>>,
    /// Links to read, each once, the longest waiting first. Closed ones may be among them.
    unread: VecDeque<u64>,
    /// Links whose kernel buffer has become full.
    blocked: Vec<u64>,
    /// Newest position after the last read. The shard dispatches it before it reads again.
    landed: Position,
    /// Time until which no link is read, because another shard or the memory has no room, in milliseconds.
    pause_until_ms: u64,
    /// Newest position at the last look at every link.
    seen: Position,
    /// Time of the next look, in milliseconds.
    look_at_ms: u64,
    /// Buffer of one read.
    scratch: Box<[u8]>,
    is_stopping: bool,
}

struct Link<S> {
    socket: S,
    session: Session,
    /// The kernel may hold received bytes. Its edge-triggered events report only new ones.
    is_readable: bool,
    /// The publisher has ended, or receives nothing more. What it has sent is processed, and then the link is closed. No event reports
    /// the end again.
    is_ended: bool,
    /// It is among the links to read.
    is_queued: bool,
    /// Deadline for sending the reason, once the session is closed.
    closing_until_ms: Option<u64>,
    /// Dropped when the session is closed.
    is_served: Option<watch::Receiver<()>>,
    /// Dropped at the end.
    _open: oneshot::Sender<()>,
}

impl<S: Read + Write> Links<S> {
    pub(super) fn new(shard: usize, broker: Arc<Broker>, keys: Arc<Keyring>) -> Self {
        Self {
            shard,
            links: BTreeMap::new(),
            unread: VecDeque::new(),
            blocked: Vec::new(),
            landed: Position::default(),
            pause_until_ms: 0,
            seen: broker.newest(),
            look_at_ms: u64::MAX,
            scratch: vec![0; READ_BYTES].into(),
            is_stopping: false,
            broker,
            keys,
        }
    }

    /// Adds a link. Report it as readable when it is.
    pub(super) fn admit(&mut self, link: NewLink<S>, now: Now) {
        let number = link.number;
        let session = Session::new(number, Arc::clone(&self.keys), now.ms);
        self.look_by(session.due_ms());
        let link = Link {
            socket: link.socket,
            session,
            is_readable: false,
            is_ended: false,
            is_queued: false,
            closing_until_ms: None,
            is_served: Some(link.is_served),
            _open: link.open,
        };
        self.links.insert(number, link);
        if self.is_stopping {
            self.close(number, End::drain(), now.ms);
        }
    }

    /// Socket of an open link.
    pub(super) fn socket(&mut self, number: u64) -> Option<&mut S> {
        self.links.get_mut(&number).map(|link| &mut link.socket)
    }

    /// Reports that a link is readable. `is_ended`: it has ended or failed.
    pub(super) fn readable(&mut self, number: u64, is_ended: bool) {
        if let Some(link) = self.links.get_mut(&number) {
            link.is_readable = true;
            link.is_ended |= is_ended;
            self.queue(number);
        }
    }

    /// Reports that a link is writable again.
    pub(super) fn writable(&mut self, number: u64, now: Now) {
        self.guarded(number, |links| {
            links.send(number);
            // The publisher was told no position while its buffer was full.
            links.tick(number, now.ms);
        });
    }

    /// A link whose kernel buffer has become full. Report when it is [writable](Self::writable).
    pub(super) fn next_blocked(&mut self) -> Option<u64> {
        self.blocked.pop()
    }

    /// Ends a link that a newer one replaces, if it is one of this shard.
    pub(super) fn replace(&mut self, number: u64, now: Now) {
        self.guarded(number, |links| {
            links.close(number, End::replaced(), now.ms);
        });
    }

    /// Ends every present and future link, after the frames that were read from it.
    pub(super) fn stop(&mut self, now: Now) {
        self.is_stopping = true;
        let numbers: Vec<u64> = self.links.keys().copied().collect();
        for number in numbers {
            self.guarded(number, |links| links.close(number, End::drain(), now.ms));
        }
        // A stop does not wait for publishers that do not read.
        self.links.clear();
    }

    /// Reads links, and runs their timers. `dispatched` is the position up to which the shard has dispatched.
    pub(super) fn turn(&mut self, now: Now, dispatched: Position) {
        if self.links.is_empty() {
            // Numbers and times of closed links would keep the shard awake.
            self.unread.clear();
            self.look_at_ms = u64::MAX;
            return;
        }
        self.read_queued(now, dispatched);
        if self.broker.newest() > self.seen {
            self.look_by(Some(now.ms + LOOK_MS));
        }
        if self.look_at_ms <= now.ms {
            self.look(now.ms);
        }
    }

    /// Latest time of the next turn, in milliseconds: `u64::MAX` if nothing waits.
    pub(super) fn due_ms(&self) -> u64 {
        if self.unread.is_empty() {
            self.look_at_ms
        } else {
            self.look_at_ms.min(self.pause_until_ms)
        }
    }

    fn look_by(&mut self, at_ms: Option<u64>) {
        self.look_at_ms = self.look_at_ms.min(at_ms.unwrap_or(u64::MAX));
    }

    /// Queues a link for a read, once. A link that sends without a pause is read as often as any other.
    fn queue(&mut self, number: u64) {
        if let Some(link) = self.links.get_mut(&number).filter(|it| !it.is_queued) {
            link.is_queued = true;
            self.unread.push_back(number);
        }
    }

    /// Reads links of the queue, each once and in its order. Without room, reads only those whose hello is missing.
    fn read_queued(&mut self, now: Now, dispatched: Position) {
        if self.unread.is_empty() || now.ms < self.pause_until_ms || dispatched < self.landed {
            return;
        }
        let room = self.broker.room_of_others(self.shard);
        let mut bytes = 0;
        for _ in 0..self.unread.len() {
            if bytes >= TURN_BYTES_MAX {
                break;
            }
            let Some(number) = self.unread.pop_front() else {
                break;
            };
            if room.is_err()
                && self
                    .links
                    .get(&number)
                    .is_some_and(|it| it.session.is_open())
            {
                self.unread.push_back(number);
                continue;
            }
            if let Some(link) = self.links.get_mut(&number) {
                link.is_queued = false;
                self.guarded(number, |links| bytes += links.read(number, now));
            }
        }
        if bytes > 0 {
            self.landed = self.broker.newest();
        }
        if let Err(pause_ms) = room {
            self.pause_until_ms = now.ms + pause_ms;
        }
    }

    /// Reads a link once, unless its publisher does not read answers. Queues it again if the kernel may have more. Returns the
    /// number of bytes.
    fn read(&mut self, number: u64, now: Now) -> usize {
        let Some(link) = self.links.get_mut(&number) else {
            return 0;
        };
        let must_wait = !link.session.unsent().is_empty() || link.closing_until_ms.is_some();
        if must_wait || !link.is_readable {
            return 0;
        }
        let read = link.socket.read(&mut self.scratch);
        let count = match read {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.is_readable = false;
                if link.is_ended {
                    self.close(number, End::Closed, now.ms);
                }
                return 0;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                self.queue(number);
                return 0;
            }
            Err(error) => {
                self.close(number, error.into(), now.ms);
                return 0;
            }
        };
        if count == 0 {
            self.close(number, End::Closed, now.ms);
            return 0;
        }
        // A read that does not fill the buffer has emptied the kernel's, and a further one would return nothing.
        link.is_readable = count == self.scratch.len() || link.is_ended;
        link.session
            .received()
            .extend_from_slice(&self.scratch[..count]);
        let processed = link.session.process(&self.broker, now);
        let due_ms = link.session.due_ms();
        if let Some(older) = link.session.replaces() {
            self.broker.replace_link(older);
        }
        if let Err(end) = processed {
            self.close(number, end, now.ms);
            return count;
        }
        self.look_by(due_ms);
        self.send(number);
        count
    }

    /// Sends answers until none is left or the kernel buffer is full. Never waits for the publisher.
    fn send(&mut self, number: u64) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        match send(&mut link.session, &mut link.socket) {
            Ok(true) if link.closing_until_ms.is_some() => drop(self.links.remove(&number)),
            Ok(true) if link.is_readable => self.queue(number),
            Ok(true) => {}
            Ok(false) => self.blocked.push(number),
            Err(_) if link.closing_until_ms.is_some() => drop(self.links.remove(&number)),
            Err(_) => {
                let count = link.session.unsent().len();
                link.session.sent(count);
                link.is_ended = true;
                link.is_readable = true;
                self.queue(number);
            }
        }
    }

    /// Closes the session of a link, and then the link, once the reason is sent or late.
    fn close(&mut self, number: u64, end: End, now_ms: u64) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if link.closing_until_ms.is_some() {
            return;
        }
        let until_ms = now_ms + REASON_MS_MAX;
        link.closing_until_ms = Some(until_ms);
        link.session.close(&self.broker, end, now_ms);
        link.is_served = None;
        self.look_by(Some(until_ms));
        self.send(number);
    }

    /// Looks at every link: checks its deadlines, sends its delayed ack, and tells its publisher a newer position.
    fn look(&mut self, now_ms: u64) {
        self.look_at_ms = u64::MAX;
        self.seen = self.broker.newest();
        let numbers: Vec<u64> = self.links.keys().copied().collect();
        for number in numbers {
            self.guarded(number, |links| links.tick(number, now_ms));
        }
    }

    fn tick(&mut self, number: u64, now_ms: u64) {
        let Some(link) = self.links.get_mut(&number) else {
            return;
        };
        if let Some(until_ms) = link.closing_until_ms {
            if until_ms <= now_ms {
                self.links.remove(&number);
            } else {
                self.look_by(Some(until_ms));
            }
            return;
        }
        let was_blocked = !link.session.unsent().is_empty();
        if let Err(end) = link.session.tick(&self.broker, now_ms) {
            return self.close(number, end, now_ms);
        }
        let due_ms = link.session.due_ms();
        let has_more = !link.session.unsent().is_empty();
        self.look_by(due_ms);
        if has_more && !was_blocked {
            self.send(number);
        }
    }

    /// Runs code for one link. A panic ends this link only.
    fn guarded(&mut self, number: u64, run: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| run(self))).is_err() {
            event!(Level::Error, "link_panicked", link = number);
            self.links.remove(&number);
        }
    }
}

/// Sends answers. Returns whether none is left.
fn send(session: &mut Session, socket: &mut impl Write) -> io::Result<bool> {
    while !session.unsent().is_empty() {
        match socket.write(session.unsent()) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => session.sent(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
