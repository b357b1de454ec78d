//! `once` ids: a publication with such an id lands once per channel, however often it is published.

mod snapshot;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::Position;

/// Lifetime of an id, in milliseconds. Longer than the retries in a job queue's first minute.
const AGE_MS_MAX: u64 = 120_000;

/// Maximum number of ids. They take 20 MB with names and ids of common length, and at most 150 MB.
const IDS_MAX: usize = 100_000;

/// A channel and an id within it. Two fields, because no separator is unambiguous.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    channel: Arc<str>,
    id: Bytes,
}

/// Positions of landed `once` ids by channel. An id is evicted after two minutes, or when 100,000 newer ones exist.
#[derive(Debug, Default)]
pub(crate) struct OnceIds {
    landed: HashMap<Arc<Key>, Position>,
    /// Keys with their time of landing, oldest first.
    order: VecDeque<(u64, Arc<Key>)>,
}

impl OnceIds {
    /// Position at which `id` landed in `channel`, unless it has been evicted.
    pub(crate) fn landing(&mut self, channel: &str, id: &[u8], now_ms: u64) -> Option<Position> {
        self.expire(now_ms);
        self.landed.get(&key(channel.into(), id)).copied()
    }

    /// Registers that `id` landed in `channel`.
    pub(crate) fn land(&mut self, channel: &Arc<str>, id: &[u8], position: Position, now_ms: u64) {
        let key = Arc::new(key(Arc::clone(channel), id));
        if self.landed.insert(Arc::clone(&key), position).is_none() {
            self.order.push_back((now_ms, key));
        }
        if self.order.len() > IDS_MAX {
            self.forget_oldest();
        }
    }

    fn expire(&mut self, now_ms: u64) {
        while self
            .order
            .front()
            .is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) > AGE_MS_MAX)
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.landed.remove(&key);
        }
    }
}

/// Key with a copy of the id. A slice would keep the whole received frame in memory.
fn key(channel: Arc<str>, id: &[u8]) -> Key {
    Key {
        channel,
        id: Bytes::copy_from_slice(id),
    }
}

#[cfg(test)]
mod tests;
