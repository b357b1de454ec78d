//! Bounded queue of entries from the broker to one shard.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use lineside_hub::{Interest, Publication, Revocation};
use lineside_protocol::Position;
use tokio::sync::Notify;

use super::runners::RunnerEvent;
use super::settles::Settle;

/// Maximum number of waiting entries. Beyond it links are not read. With payloads of 128 bytes they take about 4 MiB.
const ENTRIES_MAX: usize = 8 * 1024;

/// Number of waiting entries from which a sleeping shard is woken for a publication without a subscriber.
const QUIET_ENTRIES_MAX: usize = 1024;

/// Maximum size of waiting publications, in bytes. Beyond it links are not read.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// One entry of the journal, as a shard receives it.
#[derive(Debug)]
pub enum InboxEntry {
    /// A publication for its subscribers.
    Publication(Arc<Publication>),
    /// A revocation with its position. Closes the connections that it covers.
    Revocation(Position, Arc<Revocation>),
}

impl InboxEntry {
    fn bytes(&self) -> usize {
        match self {
            Self::Publication(publication) => publication.body.len(),
            // All shards share it.
            Self::Revocation(..) => 0,
        }
    }
}

/// Entries taken from an inbox.
#[derive(Debug)]
pub struct Taken {
    /// Entries in journal order.
    pub entries: VecDeque<InboxEntry>,
    /// Events of the processes that run channel classes, in the order of each process.
    pub runner_events: VecDeque<RunnerEvent>,
    /// Requests to wait for connections.
    pub settles: Vec<Settle>,
    /// Numbers of publishers' links that a newer one replaces. Another shard may have them.
    pub replaced_links: Vec<u64>,
    /// The links of all publishers must end.
    pub stop_links: bool,
    /// The sidecar drains, and the inbox is empty.
    pub drain: bool,
}

#[derive(Debug, Default)]
struct Queue {
    /// In journal order.
    entries: VecDeque<InboxEntry>,
    bytes: usize,
    runner_events: VecDeque<RunnerEvent>,
    runner_bytes: usize,
    /// Their senders limit the number.
    settles: Vec<Settle>,
    /// One for each hello of a publisher that had a link.
    replaced_links: Vec<u64>,
    stop_links: bool,
    /// The shard must drain once `entries` is empty.
    drain: bool,
    /// The shard sleeps until something is added.
    asleep: bool,
    /// Of a shard that sleeps, or has not taken anything since: time at which it wakes up by itself, and up to which publications without a subscriber do not wake it, in milliseconds
    /// of the hub's clock.
    quiet_until_ms: Option<u64>,
    /// Channels with a subscriber. `None` means any.
    interest: Option<Arc<Interest>>,
}

impl Queue {
    fn is_full(&self) -> bool {
        self.entries.len() + self.runner_events.len() >= ENTRIES_MAX
            || self.bytes + self.runner_bytes >= BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.runner_events.is_empty()
            && self.settles.is_empty()
            && self.replaced_links.is_empty()
            && !self.stop_links
            && !self.drain
    }

    /// Whether a sleeping shard is woken for these publications, which are among the entries already.
    fn must_wake_for(&self, publications: &[Arc<Publication>]) -> bool {
        let (Some(interest), Some(newest)) = (&self.interest, publications.last()) else {
            return true;
        };
        self.quiet_until_ms
            .is_none_or(|until_ms| newest.at_ms >= until_ms)
            || self.entries.len() >= QUIET_ENTRIES_MAX
            || publications.iter().any(|it| interest.may_have(&it.channel))
    }
}

/// Bounded queue from the broker to one shard.
#[derive(Debug)]
pub struct Inbox {
    queue: Mutex<Queue>,
    waker: Waker,
    room: Notify,
}

impl Inbox {
    /// Creates an empty inbox. `waker` is called when something is added while the shard [sleeps](Self::may_sleep).
    #[must_use]
    pub fn new(waker: Waker) -> Self {
        Self {
            queue: Mutex::default(),
            waker,
            room: Notify::new(),
        }
    }

    /// Adds publications. The caller holds the hub's lock.
    pub(super) fn publish(&self, publications: &[Arc<Publication>]) {
        let mut queue = self.lock();
        let bytes = publications.iter().map(|one| one.body.len());
        queue.bytes += bytes.sum::<usize>();
        let entries = publications.iter().cloned().map(InboxEntry::Publication);
        queue.entries.extend(entries);
        if queue.asleep && queue.must_wake_for(publications) {
            self.wake(queue);
        }
    }

    /// Sets the channels with a subscriber. Other publications may then wait for up to the time that
    /// [`may_sleep`](Self::may_sleep) gives.
    pub fn set_interest(&self, interest: Arc<Interest>) {
        self.lock().interest = Some(interest);
    }

    /// Adds a revocation. The caller holds the hub's lock.
    pub(super) fn revoke(&self, position: Position, revocation: &Arc<Revocation>) {
        let entry = InboxEntry::Revocation(position, Arc::clone(revocation));
        self.add(|queue| queue.entries.push_back(entry));
    }

    /// Adds an event of a process that runs channel classes.
    pub(crate) fn report(&self, event: RunnerEvent) {
        self.add(|queue| {
            queue.runner_bytes += event.bytes();
            queue.runner_events.push_back(event);
        });
    }

    /// Adds a request to wait for connections.
    pub(super) fn settle(&self, settle: Settle) {
        self.add(|queue| queue.settles.push(settle));
    }

    /// Tells the shard to end a publisher's link.
    pub(super) fn replace_link(&self, number: u64) {
        self.add(|queue| queue.replaced_links.push(number));
    }

    /// Tells the shard to end the links of all publishers.
    pub(super) fn stop_links(&self) {
        self.add(|queue| queue.stop_links = true);
    }

    /// Tells the shard to drain once it has taken every entry.
    pub(crate) fn drain(&self) {
        self.add(|queue| queue.drain = true);
    }

    fn add(&self, add: impl FnOnce(&mut Queue)) {
        let mut queue = self.lock();
        add(&mut queue);
        if queue.asleep {
            self.wake(queue);
        }
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.asleep = false;
        drop(queue);
        self.waker.wake_by_ref();
    }

    /// Whether the inbox is below its limits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.lock().is_full()
    }

    /// Waits until the inbox is below its limits.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// Takes up to `entries_max` entries, or after a quiet sleep up to [`QUIET_ENTRIES_MAX`], so that what waited is dispatched at once.
    pub fn take(&self, entries_max: usize) -> Taken {
        let mut queue = self.lock();
        let quiet = queue.quiet_until_ms.take().map_or(0, |_| QUIET_ENTRIES_MAX);
        let entries_max = entries_max.max(quiet);
        let count = queue.entries.len().min(entries_max);
        let entries: VecDeque<_> = queue.entries.drain(..count).collect();
        queue.bytes -= entries.iter().map(InboxEntry::bytes).sum::<usize>();
        let runner_events = std::mem::take(&mut queue.runner_events);
        queue.runner_bytes = 0;
        let settles = std::mem::take(&mut queue.settles);
        let replaced_links = std::mem::take(&mut queue.replaced_links);
        let stop_links = std::mem::take(&mut queue.stop_links);
        let drain = queue.entries.is_empty() && std::mem::take(&mut queue.drain);
        drop(queue);
        if count > 0 || !runner_events.is_empty() {
            self.room.notify_waiters();
        }
        Taken {
            entries,
            runner_events,
            settles,
            replaced_links,
            stop_links,
            drain,
        }
    }

    /// Marks the shard as asleep. Returns false if something waits: then the shard must not sleep. Up to `quiet_until_ms` it is not
    /// woken for publications to channels outside its [interest](Self::set_interest), and must wake up by itself at that time.
    pub fn may_sleep(&self, quiet_until_ms: Option<u64>) -> bool {
        let mut queue = self.lock();
        queue.asleep = queue.is_empty();
        queue.quiet_until_ms = quiet_until_ms.filter(|_| queue.asleep);
        queue.asleep
    }

    /// Marks the shard as awake, so that additions do not wake it.
    pub fn woke(&self) {
        self.lock().asleep = false;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
