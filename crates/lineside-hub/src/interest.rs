//! Channels that have a subscriber on one shard, for the threads that publish.

use std::sync::atomic::{AtomicU16, Ordering};

/// Number of buckets. They take 128 KiB. Channels in one bucket count as one, so a collision can wake a shard unnecessarily, but never
/// lets one sleep that has a subscriber.
const BUCKETS: usize = 64 * 1024;

/// Channels that have a subscriber on one shard, by buckets of their names. Other threads may read it at any time.
#[derive(Debug)]
pub struct Interest(Box<[AtomicU16]>);

impl Default for Interest {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU16::new(0)).collect())
    }
}

impl Interest {
    /// Whether a channel may have a subscriber. Certain if false.
    #[must_use]
    pub fn may_have(&self, channel: &str) -> bool {
        self.0[bucket(channel)].load(Ordering::Relaxed) > 0
    }

    /// Registers the first subscriber of a channel.
    pub fn add(&self, channel: &str) {
        self.0[bucket(channel)].fetch_add(1, Ordering::Relaxed);
    }

    /// Registers the end of a channel's last subscriber.
    pub fn remove(&self, channel: &str) {
        self.0[bucket(channel)].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bucket of a channel by FNV-1a, 64 bits (draft-eastlake-fnv). The upper half is mixed in, because names often differ in their last
/// byte alone.
fn bucket(channel: &str) -> usize {
    let hash = channel
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    usize::try_from((hash ^ (hash >> 32)) % BUCKETS as u64).unwrap_or_default()
}
