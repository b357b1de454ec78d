//! One subscription of a connection of Action Cable.

use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::Framing;
use lineside_protocol::cable::{self, Identifier, Reply};
use serde_json::value::RawValue;

use crate::clock::{Deadline, Now};

/// One subscription: its identifier, and the channels whose publications it receives.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Text of the identifier.
    text: Box<str>,
    raw: Box<RawValue>,
    framing: Framing,
    streams: Vec<Arc<str>>,
    /// End of the right to it.
    deadline: Option<Deadline>,
}

impl Subscription {
    pub(super) fn new(
        identifier: &Identifier,
        stream: Option<Arc<str>>,
        deadline: Option<Deadline>,
    ) -> Self {
        Self {
            text: identifier.text.as_str().into(),
            raw: identifier.raw.clone(),
            framing: Framing {
                prefix: cable::message_prefix(identifier.raw.get()),
                encode: cable::message_head,
            },
            streams: stream.into_iter().collect(),
            deadline,
        }
    }

    pub(super) fn is(&self, identifier: &str) -> bool {
        *self.text == *identifier
    }

    pub(super) fn streams(&self) -> &[Arc<str>] {
        &self.streams
    }

    pub(super) fn has(&self, stream: &str) -> bool {
        self.streams.iter().any(|it| **it == *stream)
    }

    pub(super) fn framing(&self) -> &Framing {
        &self.framing
    }

    /// Time until the right to it ends, in milliseconds.
    pub(super) fn left_ms(&self, now: Now) -> Option<u64> {
        self.deadline.map(|it| it.left_ms(now))
    }

    /// Frame that tells the browser that the subscription is refused.
    pub(super) fn rejection(&self) -> Bytes {
        let identifier = &*self.raw;
        Reply::RejectSubscription { identifier }.frame()
    }
}
