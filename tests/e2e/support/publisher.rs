//! A publisher as the gem has it: `lineside-publisher`, and waiting for every answer.

use std::time::Instant;

use lineside_protocol::Cursor;
use lineside_publisher::{Flushed, Outcome, PublishOptions, Settings, Waiter};
use serde_json::Value;

use super::{PATIENCE, Place, Sidecar};

/// One process on the link. What it publishes has landed when the call returns.
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

    /// Publishes, and gives the cursor of the receipt.
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

    /// Publishes any bytes, and gives the answer.
    pub(crate) fn try_publish(&self, channel: &str, payload: &[u8], once: Option<&str>) -> Outcome {
        let options = PublishOptions {
            once,
            wants_receipt: true,
        };
        let sequence = self.inner.publish(channel, payload, options).unwrap();
        self.inner
            .wait_receipt(sequence, Instant::now() + PATIENCE, &self.waiter)
    }

    /// Hands over without waiting.
    pub(crate) fn cast(&self, channel: &str, data: impl Into<Value>) {
        let payload = data.into().to_string();
        self.inner
            .publish(channel, payload.as_bytes(), PublishOptions::default())
            .unwrap();
    }

    /// Waits until all that was handed over is dealt with.
    #[track_caller]
    pub(crate) fn flush(&self) {
        let flushed = self
            .inner
            .wait_flushed(Instant::now() + PATIENCE, &self.waiter);
        assert_eq!(flushed, Flushed::Done, "{:?}", self.inner.status());
    }
}

/// The position of a cursor.
pub(crate) fn position(cursor: &str) -> u64 {
    Cursor::parse(cursor).expect(cursor).position.0
}

/// Whether one cursor stands behind another of the same epoch.
pub(crate) fn is_ahead(cursor: &str, of: &str) -> bool {
    let (cursor, of) = (Cursor::parse(cursor).unwrap(), Cursor::parse(of).unwrap());
    assert_eq!(cursor.epoch, of.epoch);
    cursor.position > of.position
}
