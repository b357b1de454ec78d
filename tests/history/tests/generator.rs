//! Random correct histories: a model of the sidecar, with pages that receive late and disconnect at any time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lineside_tests::history::{Channel, Event, Item};
use lineside_tests::random::Random;

const CHANNELS: [&str; 6] = ["news", "board", "orders:7", "orders:8", "user:1", "user:2"];

/// Journal entry.
#[derive(Clone)]
struct Entry {
    position: u64,
    channel: &'static str,
    id: String,
    resent: bool,
}

/// Unacked call of a publisher.
#[derive(Clone)]
struct Call {
    sequence: u64,
    items: Vec<(&'static str, String)>,
}

#[derive(Default)]
struct Publisher {
    sequence: u64,
    unacked: Vec<Call>,
    /// Unacked calls still to be resent in the new epoch.
    resending: VecDeque<Call>,
}

/// Page and its client.
struct Page {
    name: String,
    user: &'static str,
    grants: Vec<String>,
    issued_ms: u64,
    /// Cursor of each channel.
    cursors: BTreeMap<&'static str, Option<String>>,
    /// Events on their way to the page. None without a connection.
    in_flight: Option<VecDeque<Event>>,
    subscribed: BTreeSet<&'static str>,
    /// Channels whose `subscribed` the page received: the connection's cursor is valid for them.
    confirmed: BTreeSet<&'static str>,
    /// Channels of the replay that the page is receiving.
    replaying: Option<Vec<&'static str>>,
}

pub(crate) struct Generator {
    random: Random,
    events: Vec<Event>,
    epoch: u64,
    newest: u64,
    journal: Vec<Entry>,
    /// Number of positions that can be replayed.
    replayable: u64,
    publishers: Vec<Publisher>,
    pages: Vec<Page>,
    ids: u64,
    now_ms: u64,
}

/// Returns a history of `steps` steps.
pub(crate) fn history(seed: u64, steps: u64) -> Vec<Event> {
    let mut random = Random::new(seed);
    let replayable = random.between(3, 60);
    let mut generator = Generator {
        random,
        events: Vec::new(),
        epoch: 1,
        newest: 0,
        journal: Vec::new(),
        replayable,
        publishers: (0..3).map(|_| Publisher::default()).collect(),
        pages: Vec::new(),
        ids: 0,
        now_ms: 1_000,
    };
    for _ in 0..4 {
        generator.render();
    }
    for _ in 0..steps {
        generator.step();
    }
    generator.settle();
    generator.events
}

impl Generator {
    fn step(&mut self) {
        self.now_ms += 1;
        let page = self.random.index(self.pages.len());
        match self.random.between(0, 999) {
            0..250 => self.publish(),
            250..680 => self.receive(page),
            680..780 => self.connect(page),
            780..840 => self.subscribe(page),
            840..870 => self.unsubscribe(page),
            870..890 => self.ping(page),
            890..915 => self.disconnect(page),
            915..960 => self.ack(),
            960..970 => {
                let at = self.random.index(self.publishers.len());
                self.resend(at);
            }
            970..975 => self.sign_out(),
            975..980 => self.render(),
            980..993 => self.refresh(page),
            993..996 => self.crash(),
            _ => self.restart(),
        }
    }

    fn cursor(&self, position: u64) -> String {
        format!("e{}.{position}", self.epoch)
    }

    /// Resends unacked calls before any new one.
    fn resend(&mut self, at: usize) {
        while let Some(call) = self.publishers[at].resending.pop_front() {
            self.append(&call, true);
        }
    }

    fn publish(&mut self) {
        let at = self.random.index(self.publishers.len());
        self.resend(at);
        let count = self.random.size(1, 2);
        let items: Vec<_> = (0..count)
            .map(|_| {
                self.ids += 1;
                let channel = CHANNELS[self.random.index(CHANNELS.len())];
                (channel, format!("p{}", self.ids))
            })
            .collect();
        let publisher = &mut self.publishers[at];
        publisher.sequence += 1;
        let (name, sequence) = (at.to_string(), publisher.sequence);
        let known = self.cursor(self.newest);
        self.events.push(Event::Sent {
            publisher: name.clone(),
            sequence,
            items: items
                .iter()
                .map(|(channel, id)| Item {
                    channel: (*channel).into(),
                    id: id.clone(),
                })
                .collect(),
            once: None,
            known: Some(known),
        });
        match self.random.between(0, 19) {
            0 => self.events.push(Event::Declined {
                publisher: name,
                sequence,
            }),
            1 => self.events.push(Event::Refused {
                publisher: name,
                sequence,
            }),
            2 => self.events.push(Event::Dropped {
                publisher: name,
                sequence,
            }),
            _ => {
                let call = Call { sequence, items };
                self.append(&call, false);
                self.publishers[at].unacked.push(call);
            }
        }
    }

    fn append(&mut self, call: &Call, resent: bool) {
        for (channel, id) in &call.items {
            self.newest += 1;
            let entry = Entry {
                position: self.newest,
                channel,
                id: id.clone(),
                resent,
            };
            for page in 0..self.pages.len() {
                if self.pages[page].subscribed.contains(channel) {
                    self.deliver(page, &entry);
                }
            }
            self.journal.push(entry);
        }
    }

    fn deliver(&mut self, page: usize, entry: &Entry) {
        let cursor = self.cursor(entry.position);
        let page = &mut self.pages[page];
        if let Some(in_flight) = &mut page.in_flight {
            in_flight.push_back(Event::Message {
                browser: page.name.clone(),
                channel: entry.channel.into(),
                cursor,
                id: entry.id.clone(),
                resent: entry.resent,
            });
        }
    }

    fn ack(&mut self) {
        let at = self.random.index(self.publishers.len());
        self.resend(at);
        let count = self.random.size(0, self.publishers[at].unacked.len());
        let cursor = self.cursor(self.newest);
        if let Some(call) = self.publishers[at].unacked.drain(..count).next_back() {
            let publisher = at.to_string();
            self.events.push(Event::Acked {
                publisher,
                through: call.sequence,
                cursor,
            });
        }
    }

    /// Renders a page with the current state and a cursor sampled shortly before.
    fn render(&mut self) {
        let name = format!("page{}", self.pages.len());
        let before = self.random.between(0, 2);
        let cursor = self.cursor(self.newest.saturating_sub(before));
        let user = ["1", "2"][self.random.index(2)];
        let mut grants: Vec<String> = Vec::new();
        for grant in ["news", "board", "orders:*", "orders:7"] {
            if self.random.percent(60) {
                grants.push(grant.into());
            }
        }
        let opens = |channel: &&&str| {
            channel.strip_prefix("user:") == Some(user)
                || grants.iter().any(|grant| match grant.strip_suffix('*') {
                    Some(prefix) => channel.starts_with(prefix),
                    None => grant == **channel,
                })
        };
        let channels = CHANNELS.iter().filter(opens);
        let cursors = channels
            .map(|channel| (*channel, Some(cursor.clone())))
            .collect();
        self.events.push(Event::Fetched {
            browser: name.clone(),
            channels: Vec::new(),
            cursor: Some(cursor),
        });
        self.pages.push(Page {
            name,
            user,
            grants,
            issued_ms: self.now_ms,
            cursors,
            in_flight: None,
            subscribed: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            replaying: None,
        });
    }

    /// Returns the position after which a channel resumes, or None if it is lost.
    fn resumes(&mut self, after: &str) -> Option<u64> {
        let (epoch, position) = after.split_once('.')?;
        let position: u64 = position.parse().ok()?;
        let is_replayable = position + self.replayable >= self.newest && !self.random.percent(2);
        (epoch == format!("e{}", self.epoch) && is_replayable).then_some(position)
    }

    fn connect(&mut self, page: usize) {
        if self.pages[page].in_flight.is_some() {
            return;
        }
        let asked = self.pages[page].cursors.clone();
        let mut afters = BTreeMap::new();
        let mut lost = Vec::new();
        for (channel, after) in &asked {
            if let Some(after) = after {
                match self.resumes(after) {
                    Some(position) => _ = afters.insert(*channel, position),
                    None => lost.push((*channel).to_owned()),
                }
            }
        }
        let any_after = asked.values().any(Option::is_some);
        let has_replay = any_after && (lost.is_empty() || !afters.is_empty());
        let floor = afters.values().min().copied().unwrap_or(self.newest);
        let (floor, seam) = (self.cursor(floor), self.cursor(self.newest));
        let it = &mut self.pages[page];
        let browser = it.name.clone();
        self.events.push(Event::Connect {
            browser: browser.clone(),
            user: Some(it.user.into()),
            session: None,
            issued_ms: it.issued_ms,
            grants: it.grants.clone(),
            after: None,
            subscribe: asked
                .iter()
                .map(|(channel, after)| Channel {
                    channel: (*channel).into(),
                    after: after.clone(),
                })
                .collect(),
        });
        it.subscribed = asked.keys().copied().collect();
        it.in_flight = Some(VecDeque::from([Event::Welcome {
            browser: browser.clone(),
            channels: asked.keys().map(|channel| (*channel).into()).collect(),
            cursor: floor,
            recovered: any_after.then_some(lost.is_empty()),
            lost: any_after.then_some(lost),
        }]));
        self.replay(page, &afters);
        if has_replay {
            self.push(
                page,
                Event::CaughtUp {
                    browser,
                    cursor: seam,
                    channel: None,
                },
            );
        }
    }

    fn replay(&mut self, page: usize, afters: &BTreeMap<&str, u64>) {
        for entry in self.journal.clone() {
            if afters
                .get(entry.channel)
                .is_some_and(|after| *after < entry.position)
            {
                self.deliver(page, &entry);
            }
        }
    }

    fn push(&mut self, page: usize, event: Event) {
        if let Some(in_flight) = &mut self.pages[page].in_flight {
            in_flight.push_back(event);
        }
    }

    fn is_idle(&self, page: usize) -> bool {
        let page = &self.pages[page];
        page.in_flight.as_ref().is_some_and(VecDeque::is_empty) && page.replaying.is_none()
    }

    /// Subscribes again, with the channel's cursor or without one.
    fn subscribe(&mut self, page: usize) {
        if !self.is_idle(page) {
            return;
        }
        let cursors: Vec<_> = self.pages[page].cursors.clone().into_iter().collect();
        let Some((channel, after)) = self.random.pick(&cursors).cloned() else {
            return;
        };
        let after = after.filter(|_| self.random.percent(70));
        let browser = self.pages[page].name.clone();
        self.events.push(Event::Subscribe {
            browser: browser.clone(),
            channel: channel.into(),
            after: after.clone(),
        });
        let position = after.as_deref().and_then(|after| self.resumes(after));
        let seam = self.cursor(self.newest);
        let floor = position.map_or(seam.clone(), |position| self.cursor(position));
        self.pages[page].subscribed.insert(channel);
        let subscribed = Event::Subscribed {
            browser: browser.clone(),
            channel: channel.into(),
            cursor: floor,
            recovered: after.map(|_| position.is_some()),
        };
        self.push(page, subscribed);
        if let Some(position) = position {
            self.replay(page, &BTreeMap::from([(channel, position)]));
            let caught_up = Event::CaughtUp {
                browser,
                cursor: seam,
                channel: Some(channel.into()),
            };
            self.push(page, caught_up);
        }
    }

    fn unsubscribe(&mut self, page: usize) {
        let subscribed: Vec<_> = self.pages[page].subscribed.iter().copied().collect();
        if let (true, Some(channel)) = (self.is_idle(page), self.random.pick(&subscribed)) {
            let browser = self.pages[page].name.clone();
            self.pages[page].subscribed.remove(channel);
            let channel = (*channel).into();
            self.push(
                page,
                Event::Unsubscribed {
                    browser,
                    channel,
                    unasked: false,
                },
            );
        }
    }

    fn refresh(&mut self, page: usize) {
        if self.is_idle(page) {
            let it = &mut self.pages[page];
            it.issued_ms = self.now_ms;
            let event = Event::Refreshed {
                browser: it.name.clone(),
                issued_ms: it.issued_ms,
                grants: it.grants.clone(),
                channels: it.subscribed.iter().map(|it| (*it).into()).collect(),
            };
            self.push(page, event);
        }
    }

    fn ping(&mut self, page: usize) {
        let cursor = self.cursor(self.newest);
        let browser = self.pages[page].name.clone();
        self.push(page, Event::Ping { browser, cursor });
    }

    fn receive(&mut self, page: usize) {
        let page = &mut self.pages[page];
        let Some(event) = page.in_flight.as_mut().and_then(VecDeque::pop_front) else {
            return;
        };
        match &event {
            Event::Welcome {
                cursor,
                recovered,
                lost,
                ..
            } => {
                let lost = lost.as_deref().unwrap_or_default();
                for (channel, own) in &mut page.cursors {
                    if own.is_none() || lost.iter().any(|it| it == channel) {
                        *own = Some(cursor.clone());
                    }
                }
                let all: Vec<_> = page.cursors.keys().copied().collect();
                page.confirmed.extend(&all);
                let is_end = |it: &Event| matches!(it, Event::CaughtUp { .. });
                let has_replay = page.in_flight.iter().flatten().any(is_end);
                page.replaying = (recovered.is_some() && has_replay).then_some(all);
            }
            Event::Subscribed {
                channel,
                cursor,
                recovered,
                ..
            } => {
                page.set(channel, cursor);
                page.confirmed
                    .extend(CHANNELS.iter().find(|it| *it == channel));
                if *recovered == Some(true) {
                    page.replaying = CHANNELS
                        .iter()
                        .find(|it| *it == channel)
                        .map(|it| vec![*it]);
                }
            }
            Event::Message { cursor, .. } => {
                let moved = page.replaying.as_ref();
                for (channel, own) in &mut page.cursors {
                    let moves =
                        moved.map_or(page.confirmed.contains(channel), |it| it.contains(channel));
                    if moves {
                        *own = Some(cursor.clone());
                    }
                }
            }
            Event::CaughtUp { cursor, .. } => {
                for channel in page.replaying.take().unwrap_or_default() {
                    page.set(channel, cursor);
                }
            }
            Event::Ping { cursor, .. } => {
                for (channel, own) in &mut page.cursors {
                    if page.confirmed.contains(channel) {
                        *own = Some(cursor.clone());
                    }
                }
            }
            Event::Unsubscribed { channel, .. } => page.confirmed.retain(|it| it != channel),
            _ => {}
        }
        self.events.push(event);
    }

    fn disconnect(&mut self, page: usize) {
        let page = &mut self.pages[page];
        if page.in_flight.take().is_some() {
            page.subscribed.clear();
            page.confirmed.clear();
            page.replaying = None;
            let browser = page.name.clone();
            self.events.push(Event::Closed { browser });
        }
    }

    fn sign_out(&mut self) {
        let user = ["1", "2"][self.random.index(2)];
        self.newest += 1;
        self.events.push(Event::SignedOut {
            user: user.into(),
            session: None,
            until_ms: self.now_ms,
            cursor: self.cursor(self.newest),
        });
        self.now_ms += 1;
        for page in 0..self.pages.len() {
            if self.pages[page].user == user {
                self.disconnect(page);
                self.pages[page].issued_ms = self.now_ms;
            }
        }
    }

    /// Restarts the sidecar in the same epoch.
    fn restart(&mut self) {
        (0..self.pages.len()).for_each(|page| self.disconnect(page));
    }

    /// Restarts the sidecar in a new epoch, and has unacked calls resent.
    fn crash(&mut self) {
        self.restart();
        self.epoch += 1;
        self.newest = 0;
        self.journal.clear();
        for at in 0..self.publishers.len() {
            self.publishers[at].resending = self.publishers[at].unacked.clone().into();
        }
    }

    fn settle(&mut self) {
        for at in 0..self.publishers.len() {
            self.resend(at);
            let cursor = self.cursor(self.newest);
            let through = self.publishers[at].sequence;
            let publisher = at.to_string();
            self.events.push(Event::Acked {
                publisher,
                through,
                cursor,
            });
        }
        for page in 0..self.pages.len() {
            if self.random.percent(80) {
                self.connect(page);
            }
            while self.pages[page]
                .in_flight
                .as_ref()
                .is_some_and(|in_flight| !in_flight.is_empty())
            {
                self.receive(page);
            }
        }
        self.events.push(Event::Settled);
    }
}

impl Page {
    fn set(&mut self, channel: &str, cursor: &str) {
        if let Some(own) = self.cursors.get_mut(channel) {
            *own = Some(cursor.to_owned());
        }
    }
}
