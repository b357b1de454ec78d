//! Metrics for Prometheus: the page `/metrics` of the [admin listener](crate::http::admin).
//!
//! Names follow Prometheus' conventions (<https://prometheus.io/docs/practices/naming/>). Counters start at zero with
//! the process. Rendering takes the hub's lock briefly, and no lock of a shard.

mod counts;
pub(crate) mod exposition;
mod memory;
mod process;

use std::sync::Arc;

use crate::broker::Broker;

pub(crate) use counts::{Counter, RequestCounts, ShardCounts};
use counts::{Gauge, LATENCY_MS};
use exposition::{Exposition, Family, Kind, Seconds};

/// Sources of the metrics.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Source of the counters of the journal and the publishers.
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
        page.family(
            "lineside_build_info",
            Kind::Gauge,
            "Version of the sidecar, as a label. Always 1.",
        )
        .sample(&version, 1);
        self.describe_connections(&mut page);
        self.describe_deliveries(&mut page);
        let newest = self.describe_journal(&mut page);
        self.describe_shards(&mut page, newest);
        memory::describe(&mut page, self.broker.memory());
        process::describe(&mut page, self.started_ms);
        page.into_text()
    }

    fn describe_connections(&self, page: &mut Exposition) {
        let opened = self.total(|shard| &shard.opened);
        let mut closed = vec![];
        for shard in &self.shards {
            for (index, (code, count)) in shard.closed().enumerate() {
                if closed.len() == index {
                    closed.push((code, 0));
                }
                closed[index].1 += count;
            }
        }
        let all_closed: u64 = closed.iter().map(|(_, count)| count).sum();
        // The counters change between the two reads, so the difference may be negative.
        let open = opened.saturating_sub(all_closed);
        page.family("lineside_connections", Kind::Gauge, "Open connections.")
            .value(open);
        page.family(
            "lineside_connections_limit",
            Kind::Gauge,
            "Maximum number of open connections.",
        )
        .value(self.connections_max);
        page.family(
            "lineside_connections_opened_total",
            Kind::Counter,
            "Connections opened.",
        )
        .value(opened);
        let mut family = page.family(
            "lineside_connections_closed_total",
            Kind::Counter,
            "Connections closed, by close code. The code is empty and the reason is left if the browser closed it.",
        );
        for (code, count) in closed {
            let number = code.map_or_else(String::new, |code| code.number.to_string());
            let reason = code.map_or("left", |code| code.name);
            family.sample(&[("code", &number), ("reason", reason)], count);
        }
        page.family(
            "lineside_hand_offs_total",
            Kind::Counter,
            "Browser sockets received from the app.",
        )
        .value(self.requests.hand_offs.count());
        let mut family = page.family(
            "lineside_requests_refused_total",
            Kind::Counter,
            "Requests refused, by HTTP status.",
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
            "Live publications queued for a subscriber.",
            |shard| &shard.deliveries,
        );
        add(
            "lineside_replayed_total",
            "Replayed publications queued for a subscriber.",
            |shard| &shard.replayed,
        );
        add(
            "lineside_sent_bytes_total",
            "Bytes that the kernel accepted for browsers.",
            |shard| &shard.sent_bytes,
        );
        let mut family = page.family(
            "lineside_resumed_channels_total",
            Kind::Counter,
            "Channels resumed after a cursor, by outcome: recovered or lost.",
        );
        let recovered = self.total(|shard| &shard.recovered);
        family.sample(&[("outcome", "recovered")], recovered);
        family.sample(&[("outcome", "lost")], self.total(|shard| &shard.lost));
        let family = page.family(
            "lineside_delivery_latency_seconds",
            Kind::Histogram,
            "Time from the journal to the write to a socket, rounded up to 1 ms. One observation per write.",
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

    /// Adds the metrics of the journal and the publishers. Returns the newest position.
    fn describe_journal(&self, page: &mut Exposition) -> u64 {
        let counts = self.broker.counts();
        let mut add = |name, kind, help, value: u64| page.family(name, kind, help).value(value);
        for (name, help, value) in [
            (
                "lineside_publications_total",
                "Publications added to the journal.",
                counts.landed,
            ),
            (
                "lineside_published_bytes_total",
                "Payload bytes of publications added to the journal.",
                counts.landed_bytes,
            ),
            (
                "lineside_duplicates_total",
                "Duplicate frames dropped, by once id or sequence.",
                counts.duplicates,
            ),
            (
                "lineside_revocations_total",
                "Revocations of users and sessions.",
                counts.revoked,
            ),
            (
                "lineside_sequence_gaps_total",
                "Gaps in the sequences of publishers: frames were lost on the way to the sidecar.",
                counts.gaps,
            ),
        ] {
            add(name, Kind::Counter, help, value);
        }
        let newest = counts.newest.0;
        for (name, help, value) in [
            (
                "lineside_publishers",
                "Publishers connected to the link.",
                counts.linked as u64,
            ),
            (
                "lineside_app_links",
                "Processes of the app that are connected to receive broadcasts.",
                self.broker.app_links() as u64,
            ),
            (
                "lineside_journal_publications",
                "Publications in the journal.",
                counts.journal_publications as u64,
            ),
            (
                "lineside_journal_bytes",
                "Size of the journal, as limited by LINESIDE_HISTORY_BYTES_MAX.",
                counts.journal_bytes as u64,
            ),
            (
                "lineside_journal_channels",
                "Channels with publications in the journal.",
                counts.journal_channels as u64,
            ),
            (
                "lineside_journal_position",
                "Newest position of the journal.",
                newest,
            ),
        ] {
            add(name, Kind::Gauge, help, value);
        }
        let mut family = page.family(
            "lineside_publications_refused_total",
            Kind::Counter,
            "Frames of publishers refused, by code.",
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
            "Channels with a subscriber.",
            &|shard| Gauge::value(&shard.channels),
        );
        add(
            "lineside_shard_lag_positions",
            "Positions of the journal that the shard has not dispatched yet.",
            &|shard| newest.saturating_sub(shard.dispatched.value()),
        );
    }

    fn total(&self, of: impl Fn(&ShardCounts) -> &Counter) -> u64 {
        let counts = self.shards.iter().map(|shard| of(shard).count());
        counts.sum()
    }
}
