//! The publisher of the gem, `lineside-publisher`, with calls that wait for the answer.

use std::time::Instant;

use lineside_protocol::Cursor;
use lineside_publisher::{Flushed, Outcome, PublishOptions, Settings, Waiter};
use serde_json::Value;

use super::{Place, Sidecar, TIMEOUT};

/// One publisher on the link.
pub(crate) struct Publisher {
    pub(crate) inner: lineside_publisher::Publisher,
    waiter: Waiter,
}

impl Sidecar {
    pub(crate) fn publisher(&self) -> Publisher {
        self.place().publisher()
    }
}

impl Place {
    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::new(Settings::new(self.link(), "test"))
    }
}

impl Publisher {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            inner: lineside_publisher::Publisher::new(settings),
            waiter: Waiter::new().unwrap(),
        }
    }

    /// Publishes and waits for the receipt; returns its cursor.
    #[track_caller]
    pub(crate) fn publish(&self, channel: &str, data: impl Into<Value>) -> String {
        let payload = data.into().to_string();
        match self.try_publish(channel, payload.as_bytes(), None) {
            Outcome::Receipt {
                cursor,
                duplicate: false,
            } => cursor.to_string(),
            other => panic!("{channel} {payload}: {other:?}"),
        }
    }

    /// Publishes arbitrary bytes and waits for the answer.
    pub(crate) fn try_publish(&self, channel: &str, payload: &[u8], once: Option<&str>) -> Outcome {
        let options = PublishOptions {
            once,
            wants_receipt: true,
        };
        let sequence = self.inner.publish(channel, payload, options).unwrap();
        self.inner
            .wait_receipt(sequence, Instant::now() + TIMEOUT, &self.waiter)
    }

    /// Publishes without waiting for an answer.
    pub(crate) fn enqueue(&self, channel: &str, data: impl Into<Value>) {
        let payload = data.into().to_string();
        self.inner
            .publish(channel, payload.as_bytes(), PublishOptions::default())
            .unwrap();
    }

    /// Waits until everything published so far is acked.
    #[track_caller]
    pub(crate) fn flush(&self) {
        let flushed = self
            .inner
            .wait_flushed(Instant::now() + TIMEOUT, &self.waiter);
        assert_eq!(flushed, Flushed::Done, "{:?}", self.inner.status());
    }
}

/// Position of a cursor.
pub(crate) fn position(cursor: &str) -> u64 {
    Cursor::parse(cursor).expect(cursor).position.0
}

/// Whether a cursor has a higher position than another one of the same epoch.
pub(crate) fn is_after(cursor: &str, other: &str) -> bool {
    let (cursor, other) = (
        Cursor::parse(cursor).unwrap(),
        Cursor::parse(other).unwrap(),
    );
    assert_eq!(cursor.epoch, other.epoch);
    cursor.position > other.position
}
