//! One page: what it was given, on one connection after the other.

mod answers;
mod messages;

use std::collections::{HashMap, HashSet, VecDeque};

use super::stint::Stint;
use super::{At, Line};
use crate::history::event::{Channel, Event};
use crate::history::verdict::Fault;

/// An open connection.
#[derive(Debug)]
pub(super) struct Open<'a> {
    line: usize,
    user: Option<&'a str>,
    session: Option<&'a str>,
    issued_ms: u64,
    grants: &'a [String],
    /// What `connect` named, for all channels and for each.
    after: Option<&'a str>,
    asked: HashMap<&'a str, Option<&'a str>>,
    /// What it asked for by name on this connection: of what a token merely brings the page may have no state at all.
    named: HashSet<&'a str>,
    /// Of the welcome.
    epoch: Option<&'a str>,
    /// Where the connection stands, replays of a `subscribe` apart.
    newest: u64,
    /// The replay of the `connect` is coming.
    is_replaying: bool,
    /// `subscribe`s that were not answered: the cursor that each named.
    requests: HashMap<&'a str, VecDeque<Option<&'a str>>>,
    stints: HashMap<&'a str, Stint<'a>>,
    /// Channels that were subscribed and are not any longer.
    left: HashSet<&'a str>,
}

/// All that is known of a page.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) name: &'a str,
    open: Option<Open<'a>>,
    /// What channel tokens open, and for whom alone.
    granted: HashSet<(Option<&'a str>, &'a str)>,
    /// Up to where it has everything of a channel; none where it may name any cursor that it was given.
    covered: HashMap<&'a str, Option<At<'a>>>,
    /// The cursor rendered into it.
    rendered: Option<At<'a>>,
    /// Every cursor that it was given.
    given: HashSet<&'a str>,
    /// Where each publication came, and in which line.
    pub(super) received: HashMap<usize, Vec<(At<'a>, usize)>>,
    /// By channel and epoch: after where, and through where, it was owed everything.
    pub(super) owed: HashMap<(&'a str, &'a str), Vec<(u64, u64)>>,
    /// The line of the newest state that it has of a channel, fetched or to be fetched because it was told to.
    fetched: HashMap<&'a str, usize>,
    /// The same of all channels; none for a page whose log does not say what it fetches.
    fetched_all: Option<usize>,
    /// Channels that it was subscribed to at the end, because it asked for them by name.
    pub(super) settled: Vec<&'a str>,
}

impl<'a> Page<'a> {
    pub(super) fn new(name: &'a str) -> Self {
        Self {
            name,
            open: None,
            granted: HashSet::new(),
            covered: HashMap::new(),
            rendered: None,
            given: HashSet::new(),
            received: HashMap::new(),
            owed: HashMap::new(),
            fetched: HashMap::new(),
            fetched_all: None,
            settled: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, event: &'a Event, line: &mut Line<'_, 'a>) {
        self.note_given(event);
        match event {
            Event::Fetched {
                channels, cursor, ..
            } => self.fetch(channels, cursor.as_deref(), line),
            Event::Connect { .. } => {
                self.close(line);
                self.connect(event, line);
            }
            Event::Subscribe { channel, after, .. } => {
                self.judge_given(after.as_deref(), line);
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
            _ => self.answer(event, line),
        }
    }

    /// The newest line of state that the page has of a channel, if its log says what it fetches.
    pub(super) fn fetched(&self, channel: &str) -> Option<usize> {
        let all = self.fetched_all?;
        Some(self.fetched.get(channel).map_or(all, |line| all.max(*line)))
    }

    /// Everything has come that comes.
    pub(super) fn settle(&mut self, line: &mut Line<'_, 'a>) {
        let name = self.name;
        let Some(open) = &mut self.open else {
            return;
        };
        if open.epoch.is_none() {
            let what = format!("page {name} connected and was never welcomed");
            line.find(Fault::Unfinished, [open.line], what);
        }
        let replays = open.stints.values().filter(|stint| stint.is_replaying);
        if open.is_replaying || replays.count() > 0 {
            let what = format!("page {name} was never told that it is caught up");
            line.find(Fault::Unfinished, [open.line], what);
        }
        let fault = open.fault();
        for stint in open.stints.values_mut() {
            stint.reach(u64::MAX, fault, line);
            if open.named.contains(stint.channel) {
                self.settled.push(stint.channel);
            }
        }
        self.close(line);
    }

    /// Newer state; what the page has beyond its cursor it keeps.
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
        self.judge_given(after.as_deref(), line);
        let mut asked = HashMap::<&str, Option<&str>>::new();
        for Channel {
            channel,
            after: own,
        } in subscribe
        {
            self.judge_given(own.as_deref(), line);
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
            stints: HashMap::new(),
            left: HashSet::new(),
        });
    }

    fn close(&mut self, line: &mut Line<'_, 'a>) {
        for (_, stint) in self.open.take().map(|open| open.stints).unwrap_or_default() {
            self.end(stint, line);
        }
    }

    /// Notes what a subscription covered, and what of that never came.
    fn end(&mut self, mut stint: Stint<'a>, line: &mut Line<'_, 'a>) {
        stint.end(self.name, line);
        match stint.through() {
            Some(through) => self.cover(stint.channel, through),
            None => _ = self.covered.insert(stint.channel, None),
        }
        if let Some(owed) = stint.known {
            let key = (stint.channel, stint.epoch);
            self.owed.entry(key).or_default().push(owed);
        }
    }

    fn cover(&mut self, channel: &'a str, through: At<'a>) {
        let covered = self.covered.entry(channel).or_default();
        *covered = Some(covered.map_or(through, |it| it.later(Some(through))));
    }

    /// The connection as a whole has come to a position.
    fn reach(&mut self, at: At<'a>, line: &mut Line<'_, 'a>) {
        let Some(open) = &mut self.open else {
            return;
        };
        if open.epoch != Some(at.epoch) {
            let what = format!(
                "page {} was given {at:?} on a connection to {:?}",
                self.name, open.epoch
            );
            return line.find(Fault::StaleEpoch, [open.line], what);
        }
        let fault = open.fault();
        for stint in open.stints.values_mut().filter(|it| !it.is_replaying) {
            // What is lost or new begins where the replay of the others ends.
            if stint.known.is_some() || !open.is_replaying {
                stint.reach(at.position, fault, line);
            }
        }
        open.newest = open.newest.max(at.position);
    }

    fn note_given(&mut self, event: &'a Event) {
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
        self.given.extend(cursor);
    }

    /// A page names only what it was given, as it was given it; or what is no cursor at all.
    fn judge_given(&self, after: Option<&str>, line: &mut Line<'_, 'a>) {
        if let Some(after) = after
            && At::read(after).is_some()
            && !self.given.contains(after)
        {
            let what = format!("page {} named {after}, which nobody gave it", self.name);
            line.find(Fault::Invented, [], what);
        }
    }

    /// A page resumes no later than it has everything, where it names the channel: of what its token merely brings it may
    /// have no state at all.
    fn judge_reached(&self, channel: &str, after: At<'_>, line: &mut Line<'_, 'a>) {
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
                "page {} resumed {channel} after {}, and has it only through {} of epoch {}",
                self.name, after.position, covered.position, after.epoch
            );
            line.find(Fault::Skipped, [], what);
        }
    }
}

impl<'a> Open<'a> {
    /// What a hole is, now.
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

/// The cursor that leaves out less; of two that cannot be compared none, which resumes as lost.
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
