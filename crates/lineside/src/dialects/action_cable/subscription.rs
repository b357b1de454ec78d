//! One subscription of a connection of Action Cable.

use std::sync::Arc;

use bytes::Bytes;
use lineside_hub::{Confirmed, Framing, MarkKey, Revocation};
use lineside_protocol::Cursor;
use lineside_protocol::cable::{self, Identifier, Reply};
use lineside_token::ChannelClaims;
use serde_json::value::RawValue;

use crate::clock::{Deadline, Now};
use crate::dialects::issue_time_ms;

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
    /// Issue time of a channel token for one user, in milliseconds since the Unix epoch.
    issued_ms: Option<u64>,
    /// State of a subscription whose channel runs in the app.
    pub(super) running: Option<Running>,
    /// How far the page has received the stream.
    pub(super) mark: Option<Mark>,
}

/// How far a page has received the stream of a subscription.
#[derive(Debug)]
pub(super) struct Mark {
    pub(super) key: MarkKey,
    /// Number in the table of marks, once the subscription has begun.
    pub(super) number: Option<u64>,
    pub(super) confirmed: Confirmed,
    /// Number of the first ping behind the subscription's replay.
    pub(super) first_ping: u64,
}

/// State of a subscription whose channel runs in the app.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// `subscribed` was run.
    pub(super) is_subscribed: bool,
    /// The browser has the confirmation.
    pub(super) is_confirmed: bool,
    /// Streams of the channel object of an earlier runner, until the new one has run `subscribed`.
    stale: Vec<Arc<str>>,
    /// Variables of the channel object, as the runner sent them last.
    variables: Option<Box<str>>,
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
            issued_ms: None,
            running: None,
            mark: None,
        }
    }

    /// A subscription of the channel of a token. A revocation of the user ends it, if the token is for one.
    pub(super) fn of_token(
        identifier: &Identifier,
        claims: ChannelClaims,
        deadline: Deadline,
    ) -> Self {
        Self {
            issued_ms: claims.sub.map(|_| claims.iat_ms),
            ..Self::new(identifier, Some(claims.channel.into()), Some(deadline))
        }
    }

    /// Issue time of the channel token that opened it, if that is for one user.
    pub(super) fn issued_ms(&self) -> Option<u64> {
        self.issued_ms
    }

    /// Whether a revocation of the connection's user covers the channel token that opened it. Such a token names no session.
    pub(super) fn is_ended_by(&self, revocation: &Revocation, wall_ms: u64) -> bool {
        let issued_ms = self.issued_ms.map(|it| issue_time_ms(it, wall_ms));
        issued_ms.is_some_and(|it| revocation.covers(None, it))
    }

    /// Key and number of the page's mark.
    pub(super) fn open_mark(&self) -> Option<(MarkKey, u64)> {
        let mark = self.mark.as_ref()?;
        Some((mark.key, mark.number?))
    }

    /// Frame that tells the browser that the subscription has begun, with a cursor if its connection has asked for them.
    pub(super) fn confirmation(&self, cursor: Option<Cursor>) -> Bytes {
        let identifier = &*self.raw;
        Reply::ConfirmSubscription { identifier, cursor }.frame()
    }

    /// Frame that tells Lineside's module that publications are missing.
    pub(super) fn loss(&self, cursor: Cursor) -> Bytes {
        let identifier = &*self.raw;
        Reply::LinesideLost { identifier, cursor }.frame()
    }

    /// Puts the cursor into every message.
    pub(super) fn show_cursors(&mut self) {
        self.framing.encode = cable::message_head_with_cursor;
    }

    /// A subscription whose channel runs in the app.
    pub(super) fn of_app(identifier: &Identifier) -> Self {
        Self {
            running: Some(Running::default()),
            ..Self::new(identifier, None, None)
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Adds a stream. Returns false if it has it already.
    pub(super) fn add(&mut self, stream: &Arc<str>) -> bool {
        if let Some(running) = &mut self.running {
            running.stale.retain(|it| it != stream);
        }
        let is_new = !self.streams.contains(stream);
        if is_new {
            self.streams.push(Arc::clone(stream));
        }
        is_new
    }

    /// Removes a stream.
    pub(super) fn remove(&mut self, stream: &str) {
        self.streams.retain(|it| **it != *stream);
    }

    /// Notes that its channel object is gone. It keeps its streams until the next one has run `subscribed`. Returns whether
    /// the lost one has run `subscribed`.
    pub(super) fn lose_object(&mut self) -> Option<bool> {
        let running = self.running.as_mut()?;
        running.stale.clone_from(&self.streams);
        Some(std::mem::take(&mut running.is_subscribed))
    }

    /// Notes the variables of the channel object.
    pub(super) fn note_variables(&mut self, variables: Option<String>) {
        if let Some(running) = &mut self.running {
            running.variables = variables.map(String::into_boxed_str);
        }
    }

    /// Variables of the channel object.
    pub(super) fn variables(&self) -> Option<&str> {
        self.running.as_ref()?.variables.as_deref()
    }

    /// Takes the variables of a channel object that has ended.
    pub(super) fn take_variables(&mut self) -> Option<String> {
        Some(self.running.as_mut()?.variables.take()?.into_string())
    }

    /// Notes that `subscribed` was run. Returns the streams that the channel object has not opened again.
    pub(super) fn note_subscribed(&mut self) -> Vec<Arc<str>> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        running.is_subscribed = true;
        let stale = std::mem::take(&mut running.stale);
        self.streams.retain(|it| !stale.contains(it));
        stale
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
