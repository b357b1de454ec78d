//! What is counted while it happens: relaxed atomics, so that counting waits for nobody and nobody waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lineside_protocol::codes::{CLOSE_CODES, CloseCode};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that is what it was set to last.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a latency's buckets, in milliseconds: from what nobody sees to what everybody does.
pub(crate) const LATENCY_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// How long something took, how often.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// As many as took no longer than each bound and longer than the one before; the last are all that took longer.
    buckets: [Counter; LATENCY_MS.len() + 1],
    sum_ms: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, ms: u64) {
        let bucket = LATENCY_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].add(1);
        self.sum_ms.add(ms);
    }

    /// How many stand in each bucket.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Counter::count)
    }

    pub(crate) fn sum_ms(&self) -> u64 {
        self.sum_ms.count()
    }
}

/// What one shard counts. An allocation of its own for each, so that shards do not share a cache line.
#[derive(Debug, Default)]
pub(crate) struct ShardCounts {
    /// Connections that it was given.
    pub(crate) opened: Counter,
    /// Connections that ended, in the order of [`CLOSE_CODES`]; the last are those that left by themselves.
    closed: [Counter; CLOSE_CODES.len() + 1],
    /// Publications put into outboxes as they were published.
    pub(crate) deliveries: Counter,
    /// Publications put into outboxes by a resume.
    pub(crate) replayed: Counter,
    /// Channels that were resumed whole.
    pub(crate) recovered: Counter,
    /// Channels whose readers were told to fetch anew.
    pub(crate) lost: Counter,
    /// Bytes that the kernel took.
    pub(crate) sent_bytes: Counter,
    /// From the journal to the write, rounded up to a millisecond; once a write, of the first publication in it.
    pub(crate) latency: Histogram,
    /// Subscriptions of its connections.
    pub(crate) subscriptions: Gauge,
    /// Channels with one.
    pub(crate) channels: Gauge,
    /// The newest position that it has dispatched.
    pub(crate) dispatched: Gauge,
}

impl ShardCounts {
    /// Counts the end of a connection, with the code that it was sent, if any.
    pub(crate) fn close(&self, code: Option<CloseCode>) {
        let place = code.and_then(|code| CLOSE_CODES.iter().position(|it| *it == code));
        self.closed[place.unwrap_or(CLOSE_CODES.len())].add(1);
    }

    /// How many ended with each code, and how many by themselves.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (Option<&'static CloseCode>, u64)> {
        let codes = CLOSE_CODES.iter().map(Some).chain([None]);
        codes.zip(self.closed.iter().map(Counter::count))
    }
}

/// What is counted of requests, before they become connections.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    /// Sockets that the app handed over.
    pub(crate) hand_offs: Counter,
    /// Answers that were refusals, by status: as many entries as there are statuses in our code.
    refused: Mutex<BTreeMap<u16, u64>>,
}

impl RequestCounts {
    pub(crate) fn refuse(&self, status: u16) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(status).or_default() += 1;
    }

    pub(crate) fn refused(&self) -> BTreeMap<u16, u64> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.clone()
    }
}
