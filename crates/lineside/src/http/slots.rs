//! Slots of the requests under way on a listener. If all are taken, a new request ends the oldest one.
//!
//! So a listener accepts without waiting, and the time for a request shrinks while many are open. Clients that send nothing do
//! not keep others from connecting, because an honest client sends its request within milliseconds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Part of the slots that is freed at once: 16 of 4,096, whose sockets close within a millisecond.
const BATCH_DIVISOR: usize = 256;

/// Requests under way, by the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    next: u64,
    requests: BTreeMap<u64, Arc<Notify>>,
}

/// Slot of one request. Free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
    ended: Arc<Notify>,
}

impl Slots {
    /// Takes a slot for a new request, among at most `max`. Returns the number of requests that this ended.
    pub(super) async fn take(self: &Arc<Self>, max: usize) -> (Slot, usize) {
        let mut ended = 0;
        if self.open().requests.len() >= max {
            // Requests that have arrived in the meantime are served first.
            tokio::task::yield_now().await;
            ended = self.make_room(max);
            // The tasks of the ended requests close their sockets.
            tokio::task::yield_now().await;
        }
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        let notify = Arc::new(Notify::new());
        open.requests.insert(number, Arc::clone(&notify));
        let slot = Slot {
            slots: Arc::clone(self),
            number,
            ended: notify,
        };
        (slot, ended)
    }

    /// Ends the oldest requests if fewer than one of `max` slots is free. Ends several of many at once, because each time
    /// costs a turn of all tasks.
    fn make_room(&self, max: usize) -> usize {
        let mut open = self.open();
        let mut ended = 0;
        if open.requests.len() < max {
            return ended;
        }
        let remaining = max - (max / BATCH_DIVISOR).max(1);
        while open.requests.len() > remaining {
            let Some((_, request)) = open.requests.pop_first() else {
                break;
            };
            request.notify_one();
            ended += 1;
        }
        ended
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Runs a request until its end, or until a newer request ends it.
    pub(super) async fn run(self, request: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = request => {}
            () = self.ended.notified() => {}
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open().requests.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
