//! A tab of a browser: the page that it shows, with the browser module itself in it, and the socket below.

mod hearing;
mod saying;
mod scripts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;

use lineside_tests::history::Event;
use lineside_tests::page::{Act, Page, Tags};
use lineside_tests::random::Random;
use serde_json::Value;

use crate::app::{PUBLIC, claims};
use crate::client::{Client, Plain};
use crate::network::{Shared, Side};
use crate::tally::Tally;
use crate::websocket::{self, Frames};
use crate::world::Time;

const READ_BYTES: usize = 4096;

/// The code of a connection that broke, or was never open (RFC 6455 §7.4.1).
const BROKEN: u16 = 1006;

/// What a page was rendered with.
pub(crate) struct Rendered {
    pub(crate) profile: usize,
    pub(crate) user: Option<String>,
    pub(crate) tags: Tags,
    /// How many rows its state contains.
    pub(crate) rows: usize,
    /// Channels with the tokens that came with it, and whose these are.
    pub(crate) channel_tokens: Vec<(String, String, Option<String>)>,
}

/// One listener, as the app in the page sees it.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// None for the user's own channel.
    pub(crate) channel: Option<String>,
    /// By channel, how many rows the state contains that it was given.
    pub(crate) rows: BTreeMap<String, usize>,
    /// What was applied to that, in which epoch last.
    pub(crate) ids: HashMap<String, String>,
    /// It was told that it is refused, and has not asked again.
    pub(crate) is_refused: bool,
}

/// The socket, from the dial on.
struct Line {
    number: u32,
    wire: Shared,
    /// How many sidecars there had been when it was dialled.
    starts: u64,
    is_open: bool,
    frames: Frames,
    unsent: Vec<u8>,
    /// The code of the close frame that came.
    closed: Option<u16>,
    /// A connect went out, so that the log knows the connection.
    is_told: bool,
    /// Tokens of the refreshes that were not answered.
    refreshes: BTreeMap<u64, String>,
    is_replaying: bool,
    /// What it is subscribed to, and what it was refused last.
    subscribed: BTreeSet<String>,
    refused: BTreeSet<String>,
    user: Option<String>,
    /// Subscribes that were not answered.
    asked: usize,
}

pub(crate) struct Tab {
    pub(crate) name: String,
    pub(crate) profile: usize,
    pub(crate) page: Box<dyn Client>,
    /// It runs a client of its own.
    pub(crate) is_plain: bool,
    tags: Tags,
    /// How many rows the state contains that it was rendered with.
    rows: usize,
    next_listener: u32,
    pub(crate) applied: BTreeMap<u32, Applied>,
    channel_tokens: Vec<(String, String, Option<String>)>,
    line: Option<Line>,
    /// What the page wants of the world: a socket, tokens, the state of what it lost.
    pub(crate) wanted: Option<u32>,
    pub(crate) fetching: Vec<u32>,
    pub(crate) refetching: Vec<Vec<String>>,
    /// Nothing runs in it.
    pub(crate) is_asleep: bool,
    /// It reads nothing from its socket.
    pub(crate) is_deaf: bool,
    pub(crate) is_offline: bool,
    pub(crate) is_hidden: bool,
    /// How far its clock is ahead of the one that never goes back.
    ahead_ms: u64,
    /// Of its last welcome.
    last: Option<(String, u64)>,
    random: Random,
}

impl Tab {
    pub(crate) fn new(name: String, rendered: &Rendered, time: Time, mut random: Random) -> Self {
        // A page's clock goes on from where the wall's was when it came, and may be wrong by some minutes.
        let ahead_ms = time.wall_ms() - time.ms;
        let ahead_ms = if random.percent(30) {
            ahead_ms + random.between(0, 600_000) - 300_000
        } else {
            ahead_ms
        };
        let seed = u32::try_from(random.between(0, u64::from(u32::MAX))).unwrap_or(0);
        let date_ms = time.ms + ahead_ms;
        let is_plain = random.percent(25);
        let page: Box<dyn Client> = if is_plain {
            Box::new(Plain::new(
                date_ms,
                &rendered.tags,
                Random::new(random.number()),
            ))
        } else {
            let mut page = Page::load(seed, date_ms, &rendered.tags);
            page.connect();
            Box::new(page)
        };
        let mut tab = Self {
            name,
            profile: rendered.profile,
            page,
            is_plain,
            tags: rendered.tags.clone(),
            rows: rendered.rows,
            next_listener: 0,
            applied: BTreeMap::new(),
            channel_tokens: rendered.channel_tokens.clone(),
            line: None,
            wanted: None,
            fetching: Vec::new(),
            refetching: Vec::new(),
            is_asleep: false,
            is_deaf: false,
            is_offline: false,
            is_hidden: false,
            ahead_ms,
            last: None,
            random,
        };
        if !is_plain {
            tab.listen(rendered);
        }
        tab
    }

    /// What time it is in the browser.
    pub(crate) fn date_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.ahead_ms
    }

    /// The machine wakes; the page may be told.
    pub(crate) fn wake(&mut self, date_ms: u64, is_told: bool) {
        self.page.sleep(date_ms);
        if is_told {
            self.page.visibility(false);
            self.page.visibility(true);
        }
        self.page.advance(date_ms);
    }

    /// When its next timer is due.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        Some(self.page.due_ms()?.saturating_sub(self.ahead_ms))
    }

    pub(crate) fn is_over(&self) -> bool {
        ["stopped", "closed"].contains(&self.page.status())
    }

    pub(crate) fn wire(&self) -> Option<&Shared> {
        self.line.as_ref().map(|line| &line.wire)
    }

    pub(crate) fn is_dialling(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !line.is_open)
    }

    pub(crate) fn is_replaying(&self) -> bool {
        self.line.as_ref().is_some_and(|line| line.is_replaying)
    }

    /// The other end has answered the upgrade; the client is told later.
    pub(crate) fn dialled(&mut self, number: u32, wire: Shared, starts: u64) {
        self.line = Some(Line {
            number,
            wire,
            starts,
            is_open: false,
            frames: Frames::default(),
            unsent: Vec::new(),
            closed: None,
            is_told: false,
            refreshes: BTreeMap::new(),
            is_replaying: false,
            subscribed: BTreeSet::new(),
            refused: BTreeSet::new(),
            user: None,
            asked: 0,
        });
    }

    pub(crate) fn opened(&mut self) {
        if let Some(line) = &mut self.line {
            line.is_open = true;
            self.page.opened(line.number);
        }
    }

    /// Nobody answered.
    pub(crate) fn refused(&mut self, number: u32) {
        self.page.closed(number, BROKEN);
    }

    /// Does what the page asked for, and writes it to the log.
    pub(crate) fn act(&mut self, log: &mut Vec<Event>, tally: &mut Tally) {
        for act in self.page.acts() {
            match act {
                Act::Open { socket, .. } => self.wanted = Some(socket),
                Act::Send { text, .. } => self.send(&text, log, tally),
                Act::Close { socket } => {
                    self.wanted = self.wanted.filter(|wanted| *wanted != socket);
                    if self.line.as_ref().is_some_and(|line| line.number == socket) {
                        self.hang_up(log);
                    }
                }
                Act::Fetch { request, .. } => self.fetching.push(request),
                Act::Heard {
                    listener,
                    cursor,
                    data,
                    ..
                } => self.apply(listener, &cursor, &data),
                Act::Lost { channels } => self.refetching.push(channels),
                Act::Refused { channel, .. } => {
                    tally.note("a refused channel");
                    let all = self.applied.values_mut();
                    all.filter(|it| it.channel.as_ref().is_none_or(|of| *of == channel))
                        .for_each(|it| it.is_refused = true);
                }
                Act::Status { .. } => {}
                Act::Fault { message } => panic!("lineside.js: {message}"),
            }
        }
    }

    fn apply(&mut self, listener: u32, cursor: &str, data: &Value) {
        let Some(applied) = self.applied.get_mut(&listener) else {
            return;
        };
        let (id, epoch) = (text(&data["id"]), epoch(cursor));
        let before = applied.ids.insert(id.clone(), epoch.clone());
        let is_again = before.as_ref() == Some(&epoch);
        assert!(!is_again, "{} applies {id} again at {cursor}", self.name);
    }

    /// Lets go of the socket. Its last words may still arrive.
    fn hang_up(&mut self, log: &mut Vec<Event>) {
        let Some(mut line) = self.line.take() else {
            return;
        };
        let mut wire = line.wire.borrow_mut();
        if line.is_open && line.closed.is_none() && self.random.percent(50) {
            line.unsent.extend(websocket::close(&mut self.random));
        }
        // What the kernel does not take now goes nowhere: this end is closed.
        let _taken = wire.write(Side::Near, &line.unsent);
        wire.close(Side::Near);
        drop(wire);
        if line.is_told {
            let browser = self.name.clone();
            log.push(Event::Closed { browser });
        }
    }

    /// One round of the browser's network: what came, and what is to go.
    pub(crate) fn pump(&mut self, most: usize, log: &mut Vec<Event>, tally: &mut Tally) {
        let mut left = most;
        while left > 0 && self.pump_once(log, tally) {
            self.act(log, tally);
            left -= 1;
        }
        self.write();
    }

    /// Says whether something was heard.
    fn pump_once(&mut self, log: &mut Vec<Event>, tally: &mut Tally) -> bool {
        let is_deaf = self.is_deaf || self.is_asleep;
        let Some(line) = self.line.as_mut().filter(|line| line.is_open && !is_deaf) else {
            return false;
        };
        if let Some(heard) = line.frames.next() {
            self.hear(heard, log, tally);
            return true;
        }
        let mut bytes = [0; READ_BYTES];
        let read = line.wire.borrow_mut().read(Side::Near, &mut bytes);
        match read {
            Ok(count) if count > 0 => line.frames.receive(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                let (number, code) = (line.number, line.closed.unwrap_or(BROKEN));
                self.hang_up(log);
                self.page.closed(number, code);
            }
        }
        true
    }

    fn write(&mut self) {
        let Some(line) = self.line.as_mut().filter(|line| line.is_open) else {
            return;
        };
        if !line.unsent.is_empty()
            && let Ok(count) = line.wire.borrow_mut().write(Side::Near, &line.unsent)
        {
            line.unsent.drain(..count);
        }
    }

    pub(crate) fn shown(&self) -> String {
        let Self { name, page, .. } = self;
        let wanted: BTreeSet<_> = self
            .applied
            .values()
            .filter_map(|it| self.channel(it))
            .collect();
        let line = self.line.as_ref();
        let line = line.map(|it| {
            (
                it.asked,
                it.is_replaying,
                &it.refreshes,
                &it.subscribed,
                &it.refused,
            )
        });
        format!("{name} {} wants {wanted:?}, has {line:?}", page.status())
    }

    /// Whether it waits for nothing, and has an answer for each of its listeners.
    pub(crate) fn is_at_rest(&self) -> bool {
        let Some(line) = &self.line else {
            return self.is_over();
        };
        let is_answered =
            |channel: &String| line.subscribed.contains(channel) || line.refused.contains(channel);
        let channels = self.applied.values().filter_map(|it| self.channel(it));
        self.page.status() == "open"
            && line.asked == 0
            && !line.is_replaying
            && line.refreshes.is_empty()
            && channels.into_iter().all(|channel| is_answered(&channel))
    }

    /// The channel of a listener, now.
    pub(crate) fn channel(&self, applied: &Applied) -> Option<String> {
        let of_user = || Some(format!("user:{}", self.line.as_ref()?.user.as_ref()?));
        applied.channel.clone().or_else(of_user)
    }

    pub(crate) fn is_subscribed(&self, channel: &str) -> bool {
        let subscribed = self.line.as_ref().map(|line| &line.subscribed);
        subscribed.is_some_and(|it| it.contains(channel))
    }
}

/// What a token opens, and what is public.
fn grants(token: Option<&str>) -> Vec<String> {
    let claims = claims(token);
    let listed = [&claims["channels"], &claims["allow"]].map(list);
    let public = [PUBLIC.to_owned()];
    listed.into_iter().flatten().chain(public).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn epoch(cursor: &str) -> String {
    cursor.split('.').next().unwrap_or_default().to_owned()
}
