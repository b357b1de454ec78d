//! Publications of the test itself, by which it knows how far everybody is.

use std::time::Instant;

use lineside_publisher::{Outcome, PublishOptions, Publisher, Settings, Waiter};
use lineside_tests::history::Item;
use serde_json::json;

use crate::record::{Event, Record};
use crate::support::{PATIENCE, Place};

/// The id of a mark in a channel.
pub(super) fn mark_id(channel: &str, mark: &str) -> String {
    format!("{}{mark}.{channel}", Record::MARK)
}

/// The test's own publisher, straight on the link, which waits for every answer.
pub(super) struct Marks {
    publisher: Publisher,
    waiter: Waiter,
    record: Record,
    calls: u64,
}

impl Marks {
    pub(super) fn new(place: &Place, record: &Record) -> Self {
        Self {
            publisher: Publisher::new(Settings::new(place.link(), "marks")),
            waiter: Waiter::new().unwrap(),
            record: record.clone(),
            calls: 0,
        }
    }

    /// The newest cursor that it knows, as a page is rendered with.
    pub(super) fn cursor(&self) -> String {
        self.publisher.cursor().expect("it is linked").to_string()
    }

    /// Publishes a mark; gives the epoch in which it landed.
    #[track_caller]
    pub(super) fn publish(&mut self, channel: &str, mark: &str) -> String {
        self.calls += 1;
        let id = match mark {
            // Of no interest to anybody, and many.
            "epoch" => format!("epoch.{}", self.calls),
            mark => mark_id(channel, mark),
        };
        self.record.push(Event::Sent {
            publisher: "marks".into(),
            sequence: self.calls,
            items: vec![Item {
                channel: channel.into(),
                id: id.clone(),
            }],
            once: None,
            known: None,
        });
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
                self.record.push(Event::Receipt {
                    publisher: "marks".into(),
                    sequence: self.calls,
                    cursor: cursor.to_string(),
                    duplicate,
                });
                self.record.push(Event::Acked {
                    publisher: "marks".into(),
                    through: self.calls,
                    cursor: cursor.to_string(),
                });
                cursor.epoch.to_string()
            }
            other => panic!("{channel} {id}: {other:?}"),
        }
    }
}
