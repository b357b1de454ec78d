//! Resume of pages with stock clients: the page's cursor and key are part of its identifiers, and pings with a position tell
//! what its browser has received.

use std::collections::VecDeque;
use std::sync::Arc;

use lineside_hub::{Begin, Confirmed, MarkKey, Resumed, Verdict, Want};
use lineside_protocol::cable::Parameters;
use lineside_protocol::envelope::websocket_ping_with;
use lineside_protocol::{After, Position};

use super::Connection;
use super::subscription::{Mark, Subscription};
use crate::dialects::{Turn, issue_time_ms};

/// Minimum time between two pings that ask what the browser has received, in milliseconds.
const ASK_MS_MIN: u64 = 1000;

/// Maximum number of ended subscriptions whose marks a connection forgets when its browser leaves the page.
const ENDED_MAX: usize = 64;

/// What the browser of a connection has received.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Number of pings with a position.
    pings: u64,
    /// Lineside's module has asked for cursors.
    pub(super) has_cursors: bool,
    /// Something was sent since the latest ping with a position.
    pub(super) is_behind: bool,
    asked_ms: Option<u64>,
    /// Position up to which everything is sent before the connection ends.
    end: Option<Position>,
    /// The subscription whose resume waits for the shard.
    waiting: Option<Box<Subscription>>,
    /// Marks of subscriptions that have ended, oldest first. At most [`ENDED_MAX`].
    ended: VecDeque<(MarkKey, u64)>,
}

impl Pages {
    /// Whether a resume waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Notes that a subscription has ended while its connection goes on.
    pub(super) fn note_ended(&mut self, mark: (MarkKey, u64)) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(mark);
    }

    /// Sends a ping with the position up to which everything was sent before it.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>) {
        self.is_behind = false;
        self.asked_ms = Some(turn.now.ms);
        self.pings += 1;
        let position = turn.fan_out.dispatched();
        let payload = [position.0, self.pings].map(u64::to_be_bytes).concat();
        turn.push(websocket_ping_with(&payload));
    }

    /// Sends such a ping behind publications, unless the latest one is too recent: then one of the regular pings asks.
    pub(super) fn ask_soon(&mut self, turn: &mut Turn<'_>) {
        let is_early = |asked_ms| turn.now.ms < asked_ms + ASK_MS_MIN;
        if self.is_behind && !self.asked_ms.is_some_and(is_early) {
            self.ask(turn);
        }
    }
}

impl Connection {
    /// Begins a subscription of a stream: after what the page has applied, if its module says so, otherwise after what its browser
    /// has received, if the page has a key and a cursor.
    pub(super) fn begin_stream(
        &mut self,
        mut subscription: Subscription,
        parameters: &Parameters,
        applied: Option<&str>,
        turn: &mut Turn<'_>,
    ) {
        let Some(channel) = subscription.streams().first().map(Arc::clone) else {
            return;
        };
        let own = parameters.after.as_deref().map(After::parse);
        let key = parameters.page.as_deref();
        let key = key.and_then(|page| MarkKey::new(page, &channel));
        let received = || Self::after(&key?, own?, turn);
        let after = applied.map(After::parse).or_else(received);
        subscription.mark = key.map(|key| Mark {
            key,
            number: None,
            confirmed: Confirmed::default(),
            first_ping: 0,
        });
        let want = Want { channel, after };
        match turn.resume(vec![want]) {
            Some(resumed) => self.finish(subscription, resumed, turn),
            None => self.pages.waiting = Some(Box::new(subscription)),
        }
    }

    /// Cursor after which a page's subscription begins. `own` is the page's.
    fn after(key: &MarkKey, own: After, turn: &Turn<'_>) -> Option<After> {
        let epoch = turn.fan_out.cursor_at(Position::default()).epoch;
        // A cursor of another epoch resumes as lost, which no forgotten mark makes worse.
        let position = match &own {
            After::Cursor(cursor) if cursor.epoch == epoch => cursor.position,
            _ => Position(u64::MAX),
        };
        let connection = (turn.shard, turn.id);
        let begin = turn
            .broker
            .begin_after(key, position, connection, turn.now.ms);
        match begin {
            Begin::Own => Some(own),
            Begin::After(position) => Some(After::Cursor(epoch.at(position))),
            Begin::Now => None,
        }
    }

    /// Completes a resume that had to wait.
    pub(in crate::dialects) fn resumed(&mut self, resumed: Resumed, turn: &mut Turn<'_>) {
        let Some(subscription) = self.pages.waiting.take() else {
            return;
        };
        // A revocation or the end of the name or token can have passed while the subscription waited.
        let is_revoked = |issued_ms| {
            let user = self.user().unwrap_or_default();
            let issued_ms = issue_time_ms(issued_ms, turn.now.wall_ms);
            turn.broker.is_revoked(user, None, issued_ms)
        };
        let is_over = subscription.left_ms(turn.now) == Some(0);
        if is_over || subscription.issued_ms().is_some_and(is_revoked) {
            self.leave(&subscription, turn);
            return turn.push(subscription.rejection());
        }
        self.finish(*subscription, resumed, turn);
    }

    fn finish(&mut self, mut subscription: Subscription, resumed: Resumed, turn: &mut Turn<'_>) {
        let verdict = resumed.verdicts.first().map(|it| it.verdict);
        let cursor = |position| turn.fan_out.cursor_at(position);
        let (floor, seam) = (cursor(resumed.floor), cursor(resumed.seam));
        if self.pages.has_cursors {
            subscription.show_cursors();
        }
        turn.push(subscription.confirmation(self.pages.has_cursors.then_some(floor)));
        if self.pages.has_cursors && verdict == Some(Verdict::Lost) {
            turn.push(subscription.loss(seam));
        }
        if let Some(mark) = &mut subscription.mark {
            mark.first_ping = self.pages.pings + 1;
            let confirmed = mark.confirmed.clone();
            let connection = (turn.shard, turn.id);
            let begun = resumed.floor;
            mark.number = Some(
                turn.broker
                    .open_mark(mark.key, begun, confirmed, connection),
            );
        }
        match verdict {
            Some(Verdict::Recovered) => turn.counts.recovered.add(1),
            Some(Verdict::Lost) => turn.counts.lost.add(1),
            _ => {}
        }
        if !resumed.replay.is_empty() {
            turn.counts.replayed.add(resumed.replay.len() as u64);
            let framing = subscription.framing().clone();
            turn.fan_out
                .push_framed_replay(turn.id, resumed.replay, framing);
            self.pages.is_behind = true;
        }
        self.subscriptions.push(subscription);
    }

    /// Handles the answer to a ping with a position: the browser has received everything up to there, except of subscriptions
    /// that began after the ping.
    pub(in crate::dialects) fn pong(&self, payload: &[u8]) {
        let Some((position, number)) = payload.split_first_chunk() else {
            return;
        };
        let Ok(number) = number.try_into().map(u64::from_be_bytes) else {
            return;
        };
        let position = Position(u64::from_be_bytes(*position));
        let marks = self.subscriptions.iter().filter_map(|it| it.mark.as_ref());
        for mark in marks.filter(|mark| mark.first_ping <= number) {
            mark.confirmed.raise(position);
        }
    }

    /// Notes that everything up to now is sent before the connection ends.
    pub(in crate::dialects) fn note_end(&mut self, turn: &Turn<'_>) {
        self.pages.end = Some(turn.fan_out.dispatched());
    }

    /// Notes that the browser has received everything before the end.
    pub(in crate::dialects) fn confirm_close(&self) {
        let Some(end) = self.pages.end else {
            return;
        };
        let marks = self.subscriptions.iter().filter_map(|it| it.mark.as_ref());
        marks.for_each(|mark| mark.confirmed.raise(end));
    }

    /// Forgets the marks of this connection and of its earlier Turbo visits. A page that the browser loads again from its HTTP
    /// cache has the same key but shows its first state, so it must resume from its own cursor.
    pub(in crate::dialects) fn leave_page(&mut self, turn: &Turn<'_>) {
        let open = self
            .subscriptions
            .iter()
            .filter_map(Subscription::open_mark);
        let mut marks = open.chain(self.pages.ended.drain(..)).peekable();
        if marks.peek().is_some() {
            turn.broker.forget_marks(marks);
        }
    }

    /// Notes the end of the connection for its pages.
    pub(super) fn end_pages(&self, turn: &Turn<'_>) {
        let marks = self
            .subscriptions
            .iter()
            .filter_map(Subscription::open_mark);
        let mut marks = marks.peekable();
        if marks.peek().is_some() {
            turn.broker.end_marks(marks, None, turn.now.ms);
        }
    }
}
