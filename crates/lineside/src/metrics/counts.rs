//! Counters, gauges and histograms of the hot path, in relaxed atomics without locks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lineside_protocol::codes::{CLOSE_CODES, CloseCode};

/// Number that only increases.
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

/// Number that goes up and down.
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

/// Upper bounds of the latency buckets, in milliseconds.
pub(crate) const LATENCY_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// Distribution of durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Observations per bucket: at most its bound, and more than the previous bound. The last bucket has no bound.
    buckets: [Counter; LATENCY_MS.len() + 1],
    sum_ms: Counter,
}

impl Histogram {
    pub(crate) fn observe(&self, ms: u64) {
        let bucket = LATENCY_MS.partition_point(|bound| *bound < ms);
        self.buckets[bucket].add(1);
        self.sum_ms.add(ms);
    }

    /// Returns the number of observations in each bucket.
    pub(crate) fn counts(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Counter::count)
    }

    pub(crate) fn sum_ms(&self) -> u64 {
        self.sum_ms.count()
    }
}

/// Counters of one shard. Each shard has its own allocation, so that shards share no cache line.
#[derive(Debug, Default)]
pub(crate) struct ShardCounts {
    /// Connections opened.
    pub(crate) opened: Counter,
    /// Connections closed, in the order of [`CLOSE_CODES`]. The last counter is for connections without a close code.
    closed: [Counter; CLOSE_CODES.len() + 1],
    /// Live publications added to outboxes.
    pub(crate) deliveries: Counter,
    /// Replayed publications added to outboxes.
    pub(crate) replayed: Counter,
    /// Channels resumed without a loss.
    pub(crate) recovered: Counter,
    /// Channels answered `lost`.
    pub(crate) lost: Counter,
    /// Bytes that the kernel accepted.
    pub(crate) sent_bytes: Counter,
    /// Time from the journal to the write, rounded up to 1 ms. One observation per write, of its first publication.
    pub(crate) latency: Histogram,
    /// Current subscriptions.
    pub(crate) subscriptions: Gauge,
    /// Current channels with a subscriber.
    pub(crate) channels: Gauge,
    /// Newest position that the shard has dispatched.
    pub(crate) dispatched: Gauge,
}

impl ShardCounts {
    /// Counts a closed connection with its close code, if any.
    pub(crate) fn close(&self, code: Option<CloseCode>) {
        let index = code.and_then(|code| CLOSE_CODES.iter().position(|it| *it == code));
        self.closed[index.unwrap_or(CLOSE_CODES.len())].add(1);
    }

    /// Returns the number of connections closed with each code, and without a code.
    pub(crate) fn closed(&self) -> impl Iterator<Item = (Option<&'static CloseCode>, u64)> {
        let codes = CLOSE_CODES.iter().map(Some).chain([None]);
        codes.zip(self.closed.iter().map(Counter::count))
    }
}

/// Counters of requests, before they become connections.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    /// Browser sockets received from the app.
    pub(crate) hand_offs: Counter,
    /// Refused requests by status. Bounded, because the code has few statuses.
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
