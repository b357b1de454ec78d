//! Ids under which a publication lands once per channel, however often it is tried.

mod state;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use lineside_protocol::Position;

/// How long an id is known, in milliseconds: longer than the retries of a job queue's first minute.
const AGE_MS_MAX: u64 = 120_000;

/// Ids known at a time: 20 MB with names and ids of a common length, at most 150 MB.
const IDS_MAX: usize = 100_000;

/// A channel and an id within it. Two fields, so that no two pairs are ever spelled alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    channel: Arc<str>,
    id: Bytes,
}

/// Where each `once` id landed, per channel: for two minutes, or until 100,000 newer ones.
#[derive(Debug, Default)]
pub struct OnceIds {
    landed: HashMap<Arc<Key>, Position>,
    /// Oldest first, with the time of landing.
    order: VecDeque<(u64, Arc<Key>)>,
}

impl OnceIds {
    /// Where `id` landed in `channel`, if that is still known at `now_ms`.
    pub fn landing(&mut self, channel: &str, id: &[u8], now_ms: u64) -> Option<Position> {
        self.expire(now_ms);
        self.landed.get(&key(channel.into(), id)).copied()
    }

    /// Notes that `id` landed in `channel`.
    pub fn land(&mut self, channel: &Arc<str>, id: &[u8], position: Position, now_ms: u64) {
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

/// Copies the id: a slice would keep the whole frame that it came in.
fn key(channel: Arc<str>, id: &[u8]) -> Key {
    Key {
        channel,
        id: Bytes::copy_from_slice(id),
    }
}

#[cfg(test)]
mod tests;
