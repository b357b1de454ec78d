//! What the rest of the sidecar hands to a shard.
//!
//! The hub's lock is held while a publication is appended and put into every inbox: so all shards see one order.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_hub::Publication;
use lineside_protocol::request::Connect;
use tokio::sync::Notify;

/// Publications that may wait for a shard before ingress pauses: at 128 bytes each some 4 MiB with all around them.
const PUBLICATIONS_MAX: usize = 8 * 1024;

/// Bytes of publications that may wait for a shard before ingress pauses.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// A browser whose upgrade was answered.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The socket, non-blocking.
    pub(crate) socket: TcpStream,
    /// For the log: who is at the other end.
    pub(crate) peer: SocketAddr,
    /// What came behind the request's head.
    pub(crate) received: Vec<u8>,
    /// What the URL or a subprotocol asked for.
    pub(crate) connect: Option<Connect>,
    /// Counts the connection as long as it lives.
    pub(crate) place: Place,
}

/// One of the places that `connections_max` allows; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place, unless all are taken.
    pub(crate) fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
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

/// What waits for a shard.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// In journal order.
    pub(crate) publications: VecDeque<Arc<Publication>>,
    /// Bounded by the places.
    pub(crate) arrivals: Vec<Arrival>,
    /// The sidecar stops as planned, and no publication is left.
    pub(crate) drain: bool,
    bytes: usize,
}

impl Waiting {
    fn is_full(&self) -> bool {
        self.publications.len() >= PUBLICATIONS_MAX || self.bytes >= BYTES_MAX
    }
}

/// The way into one shard.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    waker: mio::Waker,
    asleep: AtomicBool,
    room: Notify,
}

impl Inbox {
    pub(crate) fn new(waker: mio::Waker) -> Self {
        Self {
            waiting: Mutex::default(),
            waker,
            asleep: AtomicBool::new(false),
            room: Notify::new(),
        }
    }

    /// Hands over publications; the caller holds the hub's lock.
    pub(crate) fn publish(&self, publications: &[Arc<Publication>]) {
        let mut waiting = self.lock();
        waiting.bytes += publications
            .iter()
            .map(|publication| publication.body.len())
            .sum::<usize>();
        waiting.publications.extend(publications.iter().cloned());
        drop(waiting);
        self.wake();
    }

    /// Hands over a browser.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        self.lock().arrivals.push(arrival);
        self.wake();
    }

    /// Asks the shard to close everything and end.
    pub(crate) fn drain(&self) {
        self.lock().drain = true;
        self.wake();
    }

    /// Returns when the shard is not behind by more than the limits.
    pub(crate) async fn has_room(&self) {
        loop {
            let room = self.room.notified();
            if !self.lock().is_full() {
                return;
            }
            room.await;
        }
    }

    /// Takes up to `publications_max` publications and everything else.
    pub(crate) fn take(&self, publications_max: usize) -> Waiting {
        let mut waiting = self.lock();
        let count = waiting.publications.len().min(publications_max);
        let publications: VecDeque<_> = waiting.publications.drain(..count).collect();
        let bytes = publications
            .iter()
            .map(|publication| publication.body.len())
            .sum();
        waiting.bytes -= bytes;
        let drain = waiting.publications.is_empty() && std::mem::take(&mut waiting.drain);
        let arrivals = std::mem::take(&mut waiting.arrivals);
        let taken = Waiting {
            publications,
            bytes,
            arrivals,
            drain,
        };
        drop(waiting);
        if count > 0 {
            self.room.notify_waiters();
        }
        taken
    }

    /// Notes that the shard is about to sleep; false when something waits, and it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let waiting = self.lock();
        let is_empty =
            waiting.publications.is_empty() && waiting.arrivals.is_empty() && !waiting.drain;
        drop(waiting);
        if !is_empty {
            self.asleep.store(false, Ordering::SeqCst);
        }
        is_empty
    }

    /// Notes that the shard is at work.
    pub(crate) fn woke(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // The shard looks again within its next tick even if this should fail.
            let _late = self.waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
