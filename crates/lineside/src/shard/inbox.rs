//! What the rest of the sidecar hands to a shard.
//!
//! The hub's lock is held while a publication is appended and put into every inbox: so all shards see one order.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use lineside_hub::{Publication, Revocation};
use lineside_protocol::Position;
use lineside_protocol::request::Connect;
use tokio::sync::Notify;

/// Entries that may wait for a shard before ingress pauses: at 128 bytes each some 4 MiB with all around them.
const ENTRIES_MAX: usize = 8 * 1024;

/// Bytes of publications that may wait for a shard before ingress pauses.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// A browser whose upgrade was answered.
#[derive(Debug)]
pub struct Arrival<S> {
    /// The socket, non-blocking.
    pub socket: S,
    /// For the log: who is at the other end.
    pub peer: SocketAddr,
    /// What came behind the request's head.
    pub received: Vec<u8>,
    /// What the URL or a subprotocol asked for.
    pub connect: Option<Connect>,
    /// What its cookie says of who it is, not verified yet; counts where the connect brings no token.
    pub identity: Option<Box<str>>,
    /// Counts the connection as long as it lives.
    pub place: Place,
}

impl<S> Arrival<S> {
    /// The same browser, its socket made into another kind.
    pub(crate) fn map<T>(self, into: impl FnOnce(S) -> T) -> Arrival<T> {
        let Self {
            socket,
            peer,
            received,
            connect,
            identity,
            place,
        } = self;
        Arrival {
            socket: into(socket),
            peer,
            received,
            connect,
            identity,
            place,
        }
    }
}

/// One of the places that `connections_max` allows; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, unless all are taken.
    pub fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |count: usize| (count < most).then_some(count + 1);
        taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Self(Arc::clone(taken)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One entry of the journal, as a shard is given it.
#[derive(Debug)]
pub enum Entry {
    /// For its subscribers.
    Publication(Arc<Publication>),
    /// Ends connections; with its position.
    Revocation(Position, Arc<Revocation>),
}

impl Entry {
    fn bytes(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.body.len(),
            // The frame that it came in counts against the link, and one is kept for all shards.
            Self::Revocation(..) => 0,
        }
    }
}

/// What waits for a shard.
#[derive(Debug, Default)]
pub struct Waiting {
    /// In journal order.
    pub entries: VecDeque<Entry>,
    /// Bounded by the places.
    pub(crate) arrivals: Vec<Arrival<TcpStream>>,
    /// The sidecar stops as planned, and no entry is left.
    pub(crate) drain: bool,
    bytes: usize,
    /// The shard sleeps until something comes.
    asleep: bool,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MAX || self.bytes >= BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.arrivals.is_empty() && !self.drain
    }
}

/// The way into one shard.
#[derive(Debug)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    waker: Waker,
    room: Notify,
}

impl Inbox {
    /// An empty one. `waker` is used when something comes and the shard [sleeps](Self::may_sleep).
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            waiting: Mutex::default(),
            waker,
            room: Notify::new(),
        }
    }

    /// Hands over publications; the caller holds the hub's lock.
    pub(crate) fn publish(&self, publications: &[Arc<Publication>]) {
        self.hand_over(|waiting| {
            let bytes = publications.iter().map(|one| one.body.len());
            waiting.bytes += bytes.sum::<usize>();
            let entries = publications.iter().cloned().map(Entry::Publication);
            waiting.entries.extend(entries);
        });
    }

    /// Hands over a revocation; the caller holds the hub's lock.
    pub(crate) fn revoke(&self, position: Position, revocation: &Arc<Revocation>) {
        let entry = Entry::Revocation(position, Arc::clone(revocation));
        self.hand_over(|waiting| waiting.entries.push_back(entry));
    }

    /// Hands over a browser.
    pub(crate) fn arrive(&self, arrival: Arrival<TcpStream>) {
        self.hand_over(|waiting| waiting.arrivals.push(arrival));
    }

    /// Asks the shard to close everything and end.
    pub(crate) fn drain(&self) {
        self.hand_over(|waiting| waiting.drain = true);
    }

    fn hand_over(&self, put: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.lock();
        put(&mut waiting);
        let asleep = std::mem::take(&mut waiting.asleep);
        drop(waiting);
        if asleep {
            self.waker.wake_by_ref();
        }
    }

    /// Whether the shard is not behind by more than the limits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.lock().is_full()
    }

    /// Returns when it has room.
    pub(crate) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Takes up to `entries_max` entries and everything else.
    pub fn take(&self, entries_max: usize) -> Waiting {
        let mut waiting = self.lock();
        let count = waiting.entries.len().min(entries_max);
        let entries: VecDeque<_> = waiting.entries.drain(..count).collect();
        let bytes = entries.iter().map(Entry::bytes).sum();
        waiting.bytes -= bytes;
        let drain = waiting.entries.is_empty() && std::mem::take(&mut waiting.drain);
        let arrivals = std::mem::take(&mut waiting.arrivals);
        let taken = Waiting {
            entries,
            bytes,
            arrivals,
            drain,
            asleep: false,
        };
        drop(waiting);
        if count > 0 {
            self.room.notify_waiters();
        }
        taken
    }

    /// Notes that the shard is about to sleep; false when something waits, and it must not.
    pub fn may_sleep(&self) -> bool {
        let mut waiting = self.lock();
        waiting.asleep = waiting.is_empty();
        waiting.asleep
    }

    /// Notes that the shard is at work: nobody needs to wake it.
    pub fn woke(&self) {
        self.lock().asleep = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
