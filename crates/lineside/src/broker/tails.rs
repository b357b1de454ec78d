//! Tails: bounded queues of new publications for `lineside tail`. Publications that do not fit are counted and dropped, so
//! that nothing waits for a tail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_hub::Publication;
use lineside_protocol::channel;
use tokio::sync::Notify;

/// Maximum number of open tails.
pub(super) const TAILS_MAX: usize = 16;

/// Maximum number of waiting publications per tail.
pub(super) const QUEUE_PUBLICATIONS_MAX: usize = 1024;

/// Maximum size of waiting publications per tail, in bytes. They stay in memory even if the journal evicts them.
const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Error of opening a tail when [`TAILS_MAX`] are open.
#[derive(Debug)]
pub(crate) struct TailsFull;

/// Channels that a tail receives.
#[derive(Debug)]
pub(crate) enum Filter {
    /// One channel.
    Channel(String),
    /// All channels with this prefix.
    Prefix(String),
}

impl Filter {
    /// Reads a channel name, or a prefix that ends in `*`.
    ///
    /// # Errors
    /// The reason why the text is not a channel name.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(prefix) = text.strip_suffix('*')
            && !prefix.contains('*')
        {
            return Ok(Self::Prefix(prefix.to_owned()));
        }
        channel::check(text).map_err(|error| error.to_string())?;
        Ok(Self::Channel(text.to_owned()))
    }

    pub(super) fn passes(&self, channel: &str) -> bool {
        match self {
            Self::Channel(name) => name == channel,
            Self::Prefix(prefix) => channel.starts_with(prefix.as_str()),
        }
    }
}

/// Publications taken from a tail.
#[derive(Debug, Default)]
pub(crate) struct TailBatch {
    /// Publications in journal order.
    pub(crate) publications: VecDeque<Arc<Publication>>,
    bytes: usize,
    /// Number of publications dropped behind them.
    pub(crate) missed: u64,
}

/// Queue of one tail.
#[derive(Debug)]
pub(crate) struct Tail {
    filter: Filter,
    batch: Mutex<TailBatch>,
    added: Notify,
}

impl Tail {
    fn offer(&self, publications: &[Arc<Publication>]) {
        let mut batch = lock(&self.batch);
        let passing = publications
            .iter()
            .filter(|it| self.filter.passes(&it.channel));
        for publication in passing {
            let bytes = batch.bytes + publication.body.len();
            // Behind a dropped publication everything is dropped, until the batch is taken.
            let is_full = bytes > QUEUE_BYTES_MAX
                || batch.publications.len() == QUEUE_PUBLICATIONS_MAX
                || batch.missed > 0;
            if is_full {
                batch.missed += 1;
            } else {
                batch.bytes = bytes;
                batch.publications.push_back(Arc::clone(publication));
            }
        }
        drop(batch);
        self.added.notify_one();
    }

    /// Takes everything that waits.
    pub(crate) fn take(&self) -> TailBatch {
        std::mem::take(&mut *lock(&self.batch))
    }

    /// Waits until something may have been added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}

/// All open tails. Without any, a publication costs one atomic load.
#[derive(Debug, Default)]
pub(super) struct Tails {
    count: AtomicUsize,
    tails: Mutex<Vec<Arc<Tail>>>,
}

impl Tails {
    /// Offers publications to every tail. The caller holds the hub's lock.
    pub(super) fn offer(&self, publications: &[Arc<Publication>]) {
        if self.count.load(Ordering::Relaxed) > 0 {
            for tail in lock(&self.tails).iter() {
                tail.offer(publications);
            }
        }
    }

    /// Opens a tail. The caller holds the hub's lock.
    pub(super) fn open(&self, filter: Filter) -> Result<Arc<Tail>, TailsFull> {
        let mut tails = lock(&self.tails);
        if tails.len() == TAILS_MAX {
            return Err(TailsFull);
        }
        let tail = Arc::new(Tail {
            filter,
            batch: Mutex::default(),
            added: Notify::new(),
        });
        tails.push(Arc::clone(&tail));
        self.count.store(tails.len(), Ordering::Relaxed);
        Ok(tail)
    }

    pub(super) fn close(&self, tail: &Arc<Tail>) {
        let mut tails = lock(&self.tails);
        tails.retain(|it| !Arc::ptr_eq(it, tail));
        self.count.store(tails.len(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
