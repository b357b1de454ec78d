//! State of one page across its connections.

mod messages;
mod replies;

use std::collections::{HashMap, HashSet, VecDeque};

use super::subscription::Subscription;
use super::{At, Line};
use crate::history::event::{Channel, Event};
use crate::history::verdict::Fault;

/// Open connection.
#[derive(Debug)]
pub(super) struct Open<'a> {
    line: usize,
    user: Option<&'a str>,
    session: Option<&'a str>,
    issued_ms: u64,
    grants: &'a [String],
    /// Cursor of the `connect`, and the cursors of its channels.
    after: Option<&'a str>,
    asked: HashMap<&'a str, Option<&'a str>>,
    /// Channels that the page requested by name. The page may have no state of other channels of its token.
    named: HashSet<&'a str>,
    /// Epoch of the welcome.
    epoch: Option<&'a str>,
    /// Newest position, except in replays of a `subscribe`.
    newest: u64,
    /// True until the `caught_up` of the `connect`.
    is_replaying: bool,
    /// Cursors of the unanswered `subscribe` requests.
    requests: HashMap<&'a str, VecDeque<Option<&'a str>>>,
    subscriptions: HashMap<&'a str, Subscription<'a>>,
    /// Channels whose subscription has ended.
    left: HashSet<&'a str>,
}

/// State of a page.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) name: &'a str,
    open: Option<Open<'a>>,
    /// Channels granted by channel tokens, with the user of the token.
    granted: HashSet<(Option<&'a str>, &'a str)>,
    /// Cursor up to which the page has everything of a channel. None if any cursor that it received is allowed.
    covered: HashMap<&'a str, Option<At<'a>>>,
    /// Cursor rendered into the page.
    rendered: Option<At<'a>>,
    /// All cursors that the page received.
    cursors: HashSet<&'a str>,
    /// Cursor and line of each received publication.
    pub(super) received: HashMap<usize, Vec<(At<'a>, usize)>>,
    /// Ranges in which the page must receive everything, by channel and epoch: first (exclusive) and last position.
    pub(super) expected: HashMap<(&'a str, &'a str), Vec<(u64, u64)>>,
    /// Line of the newest state of a channel: fetched, or to be fetched after a `lost`.
    fetched: HashMap<&'a str, usize>,
    /// Line of the newest state of all channels. None if the log has no `fetched` of this page.
    fetched_all: Option<usize>,
    /// Channels requested by name and subscribed at the end of the log.
    pub(super) subscribed_at_end: Vec<&'a str>,
}

impl<'a> Page<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self {
            name,
            open: None,
            granted: HashSet::new(),
            covered: HashMap::new(),
            rendered: None,
            cursors: HashSet::new(),
            received: HashMap::new(),
            expected: HashMap::new(),
            fetched: HashMap::new(),
            fetched_all: None,
            subscribed_at_end: Vec::new(),
        }
    }

    pub(super) fn note(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        self.note_cursor(event);
        match event {
            Event::Fetched {
                channels, cursor, ..
            } => self.fetch(channels, cursor.as_deref(), line),
            Event::Connect { .. } => {
                self.close(line);
                self.connect(event, line);
            }
            Event::Subscribe { channel, after, .. } => {
                self.check_cursor_received(after.as_deref(), line);
                if let Some(open) = &mut self.open {
                    open.named.insert(channel);
                    let requests = open.requests.entry(channel).or_default();
                    requests.push_back(after.as_deref());
                }
            }
            Event::Forbidden { channel, .. } => {
                if let Some(open) = &mut self.open {
                    open.named.insert(channel);
                    let requests = open.requests.get_mut(channel.as_str());
                    requests.and_then(VecDeque::pop_front);
                }
            }
            Event::Closed { .. } => self.close(line),
            Event::Granted { user, channels, .. } => {
                let granted = channels.iter().map(|it| (user.as_deref(), it.as_str()));
                self.granted.extend(granted);
            }
            Event::Message { .. } => self.message(event, line),
            Event::Ping { cursor, .. } => {
                self.reach(At::of(cursor), line);
            }
            _ => self.reply(event, line),
        }
    }

    /// Returns the line of the newest state of a channel, if the log has a `fetched` of this page.
    pub(super) fn fetched(&self, channel: &str) -> Option<usize> {
        let all = self.fetched_all?;
        Some(self.fetched.get(channel).map_or(all, |line| all.max(*line)))
    }

    /// Ends the log: reports unfinished replies and missing publications.
    pub(super) fn settle(&mut self, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        if open.epoch.is_none() {
            let what = format!("page {name} connected and received no welcome");
            line.find(Fault::Unfinished, [open.line], what);
        }
        let replays = open
            .subscriptions
            .values()
            .filter(|subscription| subscription.is_replaying);
        if open.is_replaying || replays.count() > 0 {
            let what = format!("page {name} received no caught_up");
            line.find(Fault::Unfinished, [open.line], what);
        }
        let fault = open.fault();
        for subscription in open.subscriptions.values_mut() {
            subscription.reach(u64::MAX, fault, line);
            if open.named.contains(subscription.channel) {
                self.subscribed_at_end.push(subscription.channel);
            }
        }
        self.close(line);
    }

    /// Notes newer state. Messages after its cursor stay valid.
    fn fetch(&mut self, channels: &'a [String], cursor: Option<&'a str>, line: &Line<'_, 'a>) {
        let cursor = cursor.and_then(At::read);
        if channels.is_empty() {
            self.fetched_all = Some(line.number);
            for covered in self.covered.values_mut().flatten() {
                *covered = covered.later(cursor);
            }
            self.rendered = self.rendered.map(|it| it.later(cursor)).or(cursor);
        }
        for channel in channels {
            self.fetched.insert(channel, line.number);
            if let Some(cursor) = cursor {
                self.cover(channel, cursor);
            }
        }
    }

    fn connect(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        let Event::Connect {
            user,
            session,
            issued_ms,
            grants,
            after,
            subscribe,
            ..
        } = event
        else {
            return;
        };
        self.check_cursor_received(after.as_deref(), line);
        let mut asked = HashMap::<&str, Option<&str>>::new();
        for Channel {
            channel,
            after: own,
        } in subscribe
        {
            self.check_cursor_received(own.as_deref(), line);
            let own = own.as_deref().or(after.as_deref());
            asked
                .entry(channel)
                .and_modify(|it| *it = lower(*it, own))
                .or_insert(own);
        }
        self.open = Some(Open {
            line: line.number,
            user: user.as_deref(),
            session: session.as_deref(),
            issued_ms: *issued_ms,
            grants,
            after: after.as_deref(),
            named: asked.keys().copied().collect(),
            asked,
            epoch: None,
            newest: 0,
            is_replaying: false,
            requests: HashMap::new(),
            subscriptions: HashMap::new(),
            left: HashSet::new(),
        });
    }

    fn close(&mut self, line: &mut Line<'_, 'a>) {
        for (_, subscription) in self
            .open
            .take()
            .map(|open| open.subscriptions)
            .unwrap_or_default()
        {
            self.end(subscription, line);
        }
    }

    /// Ends a subscription: notes its range and reports missing publications.
    fn end(&mut self, mut subscription: Subscription<'a>, line: &mut Line<'_, 'a>) {
        subscription.end(self.name, line);
        match subscription.through() {
            Some(through) => self.cover(subscription.channel, through),
            None => _ = self.covered.insert(subscription.channel, None),
        }
        if let Some(expected) = subscription.known {
            let key = (subscription.channel, subscription.epoch);
            self.expected.entry(key).or_default().push(expected);
        }
    }

    fn cover(&mut self, channel: &'a str, through: At<'a>) {
        let covered = self.covered.entry(channel).or_default();
        *covered = Some(covered.map_or(through, |it| it.later(Some(through))));
    }

    /// Moves the connection to a position.
    fn reach(&mut self, at: At<'a>, line: &mut Line<'_, 'a>) {
        let Some(open) = &mut self.open else {
            return;
        };
        if open.epoch != Some(at.epoch) {
            let what = format!(
                "page {} received {at:?} on a connection to {:?}",
                self.name, open.epoch
            );
            return line.find(Fault::StaleEpoch, [open.line], what);
        }
        let fault = open.fault();
        for subscription in open
            .subscriptions
            .values_mut()
            .filter(|it| !it.is_replaying)
        {
            // Lost and new channels start at the end of the replay.
            if subscription.known.is_some() || !open.is_replaying {
                subscription.reach(at.position, fault, line);
            }
        }
        open.newest = open.newest.max(at.position);
    }

    fn note_cursor(&mut self, event: &'a Event) {
        let cursor = match event {
            Event::Fetched { cursor, .. } => cursor.as_deref(),
            Event::Welcome { cursor, .. }
            | Event::Subscribed { cursor, .. }
            | Event::Message { cursor, .. }
            | Event::CaughtUp { cursor, .. }
            | Event::Ping { cursor, .. }
            | Event::Lost { cursor, .. } => Some(cursor.as_str()),
            _ => None,
        };
        self.cursors.extend(cursor);
    }

    /// Reports a cursor that the page did not receive. Text that is no cursor is allowed.
    fn check_cursor_received(&self, after: Option<&str>, line: &mut Line<'_, 'a>) {
        if let Some(after) = after
            && At::read(after).is_some()
            && !self.cursors.contains(after)
        {
            let what = format!(
                "page {} sent the cursor {after}, which it did not receive",
                self.name
            );
            line.find(Fault::UnknownCursor, [], what);
        }
    }

    /// Reports a channel requested by name that resumes after a later cursor than the page has. Other channels of the token
    /// are not checked: the page may have no state of them.
    fn check_cursor_reached(&self, channel: &str, after: At<'_>, line: &mut Line<'_, 'a>) {
        let covered = self.covered.get(channel).copied().unwrap_or(self.rendered);
        let is_rendered = self
            .rendered
            .is_some_and(|it| it.epoch == after.epoch && after.position <= it.position);
        if let Some(covered) = covered
            && covered.epoch == after.epoch
            && covered.position < after.position
            && !is_rendered
        {
            let what = format!(
                "page {} resumed {channel} after {}, and has it only up to {} of epoch {}",
                self.name, after.position, covered.position, after.epoch
            );
            line.find(Fault::AheadOfState, [], what);
        }
    }
}

impl<'a> Open<'a> {
    /// Returns the finding for a gap at this moment.
    fn fault(&self) -> Fault {
        if self.is_replaying {
            Fault::FalseRecovery
        } else {
            Fault::Lost
        }
    }

    fn grants(&self, channel: &'a str, granted: &HashSet<(Option<&'a str>, &'a str)>) -> bool {
        let of_user = self.user.zip(channel.strip_prefix("user:"));
        let opens = |grant: &String| match grant.strip_suffix('*') {
            Some(prefix) => channel.starts_with(prefix),
            None => grant == channel,
        };
        of_user.is_some_and(|(user, of)| user == of)
            || self.grants.iter().any(opens)
            || granted.contains(&(None, channel))
            || self.user.is_some() && granted.contains(&(self.user, channel))
    }
}

/// Returns the earlier cursor, or `unknown`, which resumes as lost, if they cannot be compared.
fn lower<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<&'a str> {
    let (Some(first), Some(second)) = (one, other) else {
        return one.or(other);
    };
    match (At::read(first), At::read(second)) {
        (Some(a), Some(b)) if a.epoch == b.epoch => Some(if a.position <= b.position {
            first
        } else {
            second
        }),
        _ => Some("unknown"),
    }
}
