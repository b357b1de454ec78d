//! App links: which of them follow a channel, and a bounded queue of publications for each. A queue that is full ends its
//! link, so that nothing waits for a process and nothing is lost silently.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_hub::Publication;
use lineside_protocol::frame::runner::Command;
use tokio::sync::Notify;

/// Maximum number of open app links.
const APP_LINKS_MAX: usize = 256;

/// Maximum number of waiting publications per app link.
pub(super) const QUEUE_PUBLICATIONS_MAX: usize = 16 * 1024;

/// Maximum size of waiting publications per app link, in bytes. They stay in memory even if the journal evicts them.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Error of opening an app link when [`APP_LINKS_MAX`] are open.
#[derive(Debug)]
pub(crate) struct AppLinksFull;

/// Error of an app link whose queue was full. The queue is empty, and nothing is added to it.
#[derive(Debug)]
pub(crate) struct Overflowed;

#[derive(Debug, Default)]
struct Waiting {
    /// In journal order.
    publications: VecDeque<Arc<Publication>>,
    bytes: usize,
    overflowed: bool,
    /// Commands for the process, if it runs channel classes: at most one for each of its connections, and one more for each that
    /// closes.
    commands: VecDeque<Command>,
}

/// Queue of one app link.
#[derive(Debug, Default)]
pub struct AppQueue {
    waiting: Mutex<Waiting>,
    added: Notify,
}

impl AppQueue {
    fn offer(&self, publication: &Arc<Publication>) {
        let mut waiting = lock(&self.waiting);
        if waiting.overflowed {
            return;
        }
        let bytes = waiting.bytes + publication.body.len();
        if bytes > QUEUE_BYTES_MAX || waiting.publications.len() == QUEUE_PUBLICATIONS_MAX {
            *waiting = Waiting {
                overflowed: true,
                ..Waiting::default()
            };
        } else {
            waiting.bytes = bytes;
            waiting.publications.push_back(Arc::clone(publication));
        }
        drop(waiting);
        self.added.notify_one();
    }

    /// Takes the next publication.
    ///
    /// # Errors
    /// Returns an error if the queue was full.
    pub(crate) fn take_next(&self) -> Result<Option<Arc<Publication>>, Overflowed> {
        let mut waiting = lock(&self.waiting);
        if waiting.overflowed {
            return Err(Overflowed);
        }
        let next = waiting.publications.pop_front();
        waiting.bytes -= next.as_ref().map_or(0, |next| next.body.len());
        Ok(next)
    }

    /// Adds a command for the process.
    pub(crate) fn command(&self, command: Command) {
        lock(&self.waiting).commands.push_back(command);
        self.added.notify_one();
    }

    /// Takes the next command.
    pub(crate) fn take_command(&self) -> Option<Command> {
        lock(&self.waiting).commands.pop_front()
    }

    /// Whether commands wait for the process.
    pub(crate) fn has_commands(&self) -> bool {
        !lock(&self.waiting).commands.is_empty()
    }

    /// Takes everything that waits.
    pub(super) fn take_all(&self) -> VecDeque<Arc<Publication>> {
        let mut waiting = lock(&self.waiting);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.publications)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.waiting).publications.is_empty()
    }

    /// Whether the queue was full.
    pub(crate) fn overflowed(&self) -> bool {
        lock(&self.waiting).overflowed
    }

    /// Waits until something may have been added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}

#[derive(Debug, Default)]
struct Table {
    links: usize,
    /// Queues of the links that follow a channel.
    followers: HashMap<Arc<str>, Vec<Arc<AppQueue>>>,
}

/// All open app links. Without any followed channel, a publication costs one atomic load.
#[derive(Debug, Default)]
pub(super) struct AppLinks {
    followed: AtomicUsize,
    table: Mutex<Table>,
}

impl AppLinks {
    /// Offers publications to every link that follows their channels. The caller holds the hub's lock.
    pub(super) fn offer(&self, publications: &[Arc<Publication>]) {
        if self.followed.load(Ordering::Relaxed) == 0 {
            return;
        }
        let table = lock(&self.table);
        for publication in publications {
            let queues = table.followers.get(&publication.channel);
            for queue in queues.into_iter().flatten() {
                queue.offer(publication);
            }
        }
    }

    /// Opens a link that follows nothing yet.
    pub(super) fn open(&self) -> Result<Arc<AppQueue>, AppLinksFull> {
        let mut table = lock(&self.table);
        if table.links == APP_LINKS_MAX {
            return Err(AppLinksFull);
        }
        table.links += 1;
        Ok(Arc::default())
    }

    /// Makes a link follow a channel. The caller holds the hub's lock.
    pub(super) fn follow(&self, queue: &Arc<AppQueue>, channel: &Arc<str>) {
        let mut table = lock(&self.table);
        let queues = table.followers.entry(Arc::clone(channel)).or_default();
        if !queues.iter().any(|it| Arc::ptr_eq(it, queue)) {
            queues.push(Arc::clone(queue));
        }
        self.followed
            .store(table.followers.len(), Ordering::Relaxed);
    }

    /// Ends that a link follows a channel.
    pub(super) fn unfollow(&self, queue: &Arc<AppQueue>, channel: &str) {
        let mut table = lock(&self.table);
        if let Some(queues) = table.followers.get_mut(channel) {
            queues.retain(|it| !Arc::ptr_eq(it, queue));
            if queues.is_empty() {
                table.followers.remove(channel);
            }
        }
        self.followed
            .store(table.followers.len(), Ordering::Relaxed);
    }

    /// Closes a link that follows nothing any more.
    pub(super) fn close(&self) {
        lock(&self.table).links -= 1;
    }

    /// Number of open links.
    pub(super) fn count(&self) -> usize {
        lock(&self.table).links
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
