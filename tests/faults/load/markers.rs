//! Markers: publications of the test itself, which show that pages have received everything before them.

use std::time::Instant;

use lineside_publisher::{Outcome, PublishOptions, Publisher, Settings, Waiter};
use serde_json::json;

use crate::record::Record;
use crate::support::{PATIENCE, Place};

/// Publisher name of the markers in the log.
const PUBLISHER: &str = "markers";

/// Returns the id of a marker in a channel.
pub(super) fn marker_id(channel: &str, marker: &str) -> String {
    format!("{}{marker}.{channel}", Record::MARKER)
}

/// Publisher of the markers. Connects without the proxy and waits for each receipt.
pub(super) struct Markers {
    publisher: Publisher,
    waiter: Waiter,
    record: Record,
    calls: u64,
}

impl Markers {
    pub(super) fn new(place: &Place, record: &Record) -> Self {
        Self {
            publisher: Publisher::new(Settings::new(place.link(), PUBLISHER)),
            waiter: Waiter::new().unwrap(),
            record: record.clone(),
            calls: 0,
        }
    }

    /// Newest cursor known to the publisher, to render into a page.
    pub(super) fn cursor(&self) -> String {
        self.publisher.cursor().expect("a known cursor").to_string()
    }

    /// Publishes a marker. Returns the epoch of its receipt.
    #[track_caller]
    pub(super) fn publish(&mut self, channel: &str, marker: &str) -> String {
        self.calls += 1;
        let id = match marker {
            // No page waits for these.
            "epoch" => format!("epoch.{}", self.calls),
            marker => marker_id(channel, marker),
        };
        self.record.sent(PUBLISHER, self.calls, channel, &id);
        let options = PublishOptions {
            once: None,
            wants_receipt: true,
        };
        let payload = json!({"id": id}).to_string();
        let sequence = self
            .publisher
            .publish(channel, payload.as_bytes(), options)
            .unwrap();
        let end = Instant::now() + PATIENCE;
        match self.publisher.wait_receipt(sequence, end, &self.waiter) {
            Outcome::Receipt { cursor, duplicate } => {
                self.record
                    .receipt(PUBLISHER, self.calls, &cursor.to_string(), duplicate);
                cursor.epoch.to_string()
            }
            other => panic!("{channel} {id}: {other:?}"),
        }
    }
}
