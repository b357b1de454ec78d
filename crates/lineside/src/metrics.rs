//! What the sidecar tells of itself, for Prometheus: `/metrics` of the [admin listener](crate::http::admin).
//!
//! Names follow Prometheus' conventions (<https://prometheus.io/docs/practices/naming/>). Counters start with the process.
//! Rendering takes the hub's lock for a moment, and does not disturb the shards.

mod counts;
pub(crate) mod exposition;
mod process;

use std::sync::Arc;

use crate::broker::Broker;

pub(crate) use counts::{Counter, RequestCounts, ShardCounts};
use counts::{Gauge, LATENCY_MS};
use exposition::{Exposition, Family, Kind, Seconds};

/// Sources of the metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Door to the hub.
    pub(crate) broker: Arc<Broker>,
    /// Counters of each shard.
    pub(crate) shards: Vec<Arc<ShardCounts>>,
    /// Counters of requests.
    pub(crate) requests: Arc<RequestCounts>,
    /// Maximum number of connections.
    pub(crate) connections_max: usize,
    /// Start of the process, in milliseconds since the Unix epoch.
    pub(crate) started_ms: u64,
}

impl Metrics {
    /// Renders the page.
    pub(crate) fn render(&self) -> String {
        let mut page = Exposition::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.family("lineside_build_info", Kind::Gauge, "What runs; always 1.")
            .sample(&version, 1);
        self.describe_connections(&mut page);
        self.describe_deliveries(&mut page);
        let newest = self.describe_journal(&mut page);
        self.describe_shards(&mut page, newest);
        process::describe(&mut page, self.started_ms);
        page.into_text()
    }

    fn describe_connections(&self, page: &mut Exposition) {
        let opened = self.total(|shard| &shard.opened);
        let mut closed = vec![];
        for shard in &self.shards {
            for (place, (code, count)) in shard.closed().enumerate() {
                if closed.len() == place {
                    closed.push((code, 0));
                }
                closed[place].1 += count;
            }
        }
        let all_closed: u64 = closed.iter().map(|(_, count)| count).sum();
        // The counters move in between, so the difference may be negative.
        let open = opened.saturating_sub(all_closed);
        page.family("lineside_connections", Kind::Gauge, "Browsers connected.")
            .value(open);
        page.family(
            "lineside_connections_limit",
            Kind::Gauge,
            "Browsers that may be connected.",
        )
        .value(self.connections_max);
        page.family(
            "lineside_connections_opened_total",
            Kind::Counter,
            "Browsers that connected.",
        )
        .value(opened);
        let mut family = page.family(
            "lineside_connections_closed_total",
            Kind::Counter,
            "Connections that ended, by the close code they were sent; without one they left by themselves.",
        );
        for (code, count) in closed {
            let number = code.map_or_else(String::new, |code| code.number.to_string());
            let reason = code.map_or("left", |code| code.name);
            family.sample(&[("code", &number), ("reason", reason)], count);
        }
        page.family(
            "lineside_hand_offs_total",
            Kind::Counter,
            "Sockets that the app handed over.",
        )
        .value(self.requests.hand_offs.count());
        let mut family = page.family(
            "lineside_requests_refused_total",
            Kind::Counter,
            "Requests that were answered with an error, by HTTP status.",
        );
        for (status, count) in self.requests.refused() {
            family.sample(&[("status", &status.to_string())], count);
        }
    }

    fn describe_deliveries(&self, page: &mut Exposition) {
        let mut add = |name, help, of: fn(&ShardCounts) -> &Counter| {
            page.family(name, Kind::Counter, help).value(self.total(of));
        };
        add(
            "lineside_deliveries_total",
            "Publications queued for a browser as they were published.",
            |shard| &shard.deliveries,
        );
        add(
            "lineside_replayed_total",
            "Publications queued for a browser that resumed.",
            |shard| &shard.replayed,
        );
        add(
            "lineside_sent_bytes_total",
            "Bytes that the kernel took for browsers.",
            |shard| &shard.sent_bytes,
        );
        let mut family = page.family(
            "lineside_resumed_channels_total",
            Kind::Counter,
            "Channels asked for after a cursor: given whole, or lost.",
        );
        let recovered = self.total(|shard| &shard.recovered);
        family.sample(&[("outcome", "recovered")], recovered);
        family.sample(&[("outcome", "lost")], self.total(|shard| &shard.lost));
        let family = page.family(
            "lineside_delivery_latency_seconds",
            Kind::Histogram,
            "From the journal to a write to a browser's socket, rounded up to 1 ms; one observation a write.",
        );
        self.describe_latency(family);
    }

    fn describe_latency(&self, mut family: Family<'_>) {
        let mut buckets = [0; LATENCY_MS.len() + 1];
        for shard in &self.shards {
            for (bucket, count) in buckets.iter_mut().zip(shard.latency.counts()) {
                *bucket += count;
            }
        }
        let mut so_far = 0;
        for (bound, count) in LATENCY_MS.iter().zip(buckets) {
            so_far += count;
            let bound = Seconds(*bound).to_string();
            family.suffixed("_bucket", &[("le", &bound)], so_far);
        }
        let count: u64 = buckets.iter().sum();
        let sum_ms = self.shards.iter().map(|shard| shard.latency.sum_ms()).sum();
        family.suffixed("_bucket", &[("le", "+Inf")], count);
        family.suffixed("_sum", &[], Seconds(sum_ms));
        family.suffixed("_count", &[], count);
    }

    /// Describes the journal and the publishers, and returns the newest position.
    fn describe_journal(&self, page: &mut Exposition) -> u64 {
        let counts = self.broker.counts();
        let mut add = |name, kind, help, value: u64| page.family(name, kind, help).value(value);
        for (name, help, value) in [
            (
                "lineside_publications_total",
                "Publications that landed in the journal.",
                counts.landed,
            ),
            (
                "lineside_published_bytes_total",
                "Bytes of their payloads.",
                counts.landed_bytes,
            ),
            (
                "lineside_duplicates_total",
                "Frames that were not taken again, for their once id or sequence.",
                counts.duplicates,
            ),
            (
                "lineside_revocations_total",
                "Sign-outs of users and sessions.",
                counts.revoked,
            ),
            (
                "lineside_sequence_gaps_total",
                "Frames lost between a publisher and the sidecar.",
                counts.gaps,
            ),
        ] {
            add(name, Kind::Counter, help, value);
        }
        let newest = counts.newest.0;
        for (name, help, value) in [
            (
                "lineside_publishers",
                "Processes on the link.",
                counts.linked as u64,
            ),
            (
                "lineside_journal_publications",
                "Publications that the journal holds.",
                counts.journal_publications as u64,
            ),
            (
                "lineside_journal_bytes",
                "What they count against LINESIDE_HISTORY_BYTES_MAX.",
                counts.journal_bytes as u64,
            ),
            (
                "lineside_journal_channels",
                "Channels of which it holds any.",
                counts.journal_channels as u64,
            ),
            ("lineside_journal_position", "Its newest position.", newest),
        ] {
            add(name, Kind::Gauge, help, value);
        }
        let mut family = page.family(
            "lineside_publications_refused_total",
            Kind::Counter,
            "Frames of publishers that were refused, by code.",
        );
        for (code, count) in counts.rejected {
            family.sample(&[("code", code)], count);
        }
        newest
    }

    fn describe_shards(&self, page: &mut Exposition, newest: u64) {
        let mut add = |name, help, of: &dyn Fn(&ShardCounts) -> u64| {
            let mut family = page.family(name, Kind::Gauge, help);
            for (number, shard) in self.shards.iter().enumerate() {
                family.sample(&[("shard", &number.to_string())], of(shard));
            }
        };
        add(
            "lineside_subscriptions",
            "Subscriptions of connections.",
            &|shard| Gauge::value(&shard.subscriptions),
        );
        add(
            "lineside_channels",
            "Channels with a subscriber on the shard.",
            &|shard| Gauge::value(&shard.channels),
        );
        add(
            "lineside_shard_lag_positions",
            "How far the shard is behind the journal.",
            &|shard| newest.saturating_sub(shard.dispatched.value()),
        );
    }

    fn total(&self, of: impl Fn(&ShardCounts) -> &Counter) -> u64 {
        let counts = self.shards.iter().map(|shard| of(shard).count());
        counts.sum()
    }
}
