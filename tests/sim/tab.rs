//! A tab of a browser: the page that it shows, with the browser module itself in it, and the socket below.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;

use lineside_tests::history::{Channel, Event};
use lineside_tests::page::{Act, Page, Tags};
use lineside_tests::random::Random;
use serde_json::Value;

use crate::app::{PUBLIC, claims};
use crate::network::{Shared, Side};
use crate::tally::Tally;
use crate::websocket::{self, Frames, Heard};
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
    pub(crate) page: Page,
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
        let mut page = Page::load(seed, time.ms + ahead_ms, &rendered.tags);
        page.connect();
        let mut tab = Self {
            name,
            profile: rendered.profile,
            page,
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
        tab.listen(rendered);
        tab
    }

    /// The scripts of a page that was rendered subscribe.
    fn listen(&mut self, rendered: &Rendered) {
        if rendered.user.is_some() && self.random.percent(70) {
            self.subscribe(None, None, rendered);
        }
        for (channel, token, _) in &rendered.channel_tokens {
            if self.random.percent(80) {
                self.subscribe(Some(channel), Some(token), rendered);
            }
        }
        for channel in ["news", "board", "orders:8", "scores:1"] {
            if self.random.percent(50) {
                self.subscribe(Some(channel), None, rendered);
            }
        }
    }

    fn subscribe(&mut self, channel: Option<&str>, token: Option<&str>, rendered: &Rendered) {
        let id = self.next_listener;
        self.next_listener += 1;
        match channel {
            Some(channel) => self.page.subscribe(id, channel, token),
            None => self.page.user(id),
        }
        let name = match (channel, &rendered.user) {
            (Some(channel), _) => Some(channel.to_owned()),
            (None, user) => user.as_ref().map(|user| format!("user:{user}")),
        };
        self.applied.insert(
            id,
            Applied {
                channel: channel.map(ToOwned::to_owned),
                rows: name.into_iter().map(|name| (name, rendered.rows)).collect(),
                ids: HashMap::new(),
                is_refused: false,
            },
        );
    }

    /// Another script of the same page subscribes, a little later.
    pub(crate) fn subscribe_more(&mut self) {
        let channel = ["news", "board", "orders:7", "scores:1"][self.random.index(4)];
        let token = self.channel_tokens.iter().find(|(of, ..)| of == channel);
        let token = token.map(|(_, token, _)| token.clone());
        let rendered = Rendered {
            profile: self.profile,
            user: None,
            tags: self.tags.clone(),
            rows: self.rows,
            channel_tokens: Vec::new(),
        };
        self.subscribe(Some(channel), token.as_deref(), &rendered);
    }

    pub(crate) fn unsubscribe_one(&mut self) {
        let ids: Vec<u32> = self.applied.keys().copied().collect();
        if let Some(id) = self.random.pick(&ids) {
            self.applied.remove(id);
            self.page.unsubscribe(*id);
        }
    }

    /// A Turbo visit: another page in the same document.
    pub(crate) fn visit(&mut self, rendered: &Rendered) {
        self.tags = rendered.tags.clone();
        self.rows = rendered.rows;
        self.channel_tokens.clone_from(&rendered.channel_tokens);
        if self.random.percent(70) {
            for id in std::mem::take(&mut self.applied).into_keys() {
                self.page.unsubscribe(id);
            }
        }
        self.page.visit(&rendered.tags);
        self.listen(rendered);
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

    fn send(&mut self, sent: &str, log: &mut Vec<Event>, tally: &mut Tally) {
        let frame: Value = serde_json::from_str(sent).expect("a page sends JSON");
        let grants = grants(frame["token"].as_str());
        let Some(line) = &mut self.line else {
            return;
        };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let browser = self.name.clone();
        match frame["type"].as_str().unwrap_or_default() {
            "connect" => {
                line.is_told = true;
                let token = frame["token"].as_str();
                let claims = claims(token);
                let entries = frame["subscribe"].as_array().into_iter().flatten();
                log.push(Event::Connect {
                    browser,
                    user: text(&claims["sub"]),
                    session: text(&claims["sid"]),
                    issued_ms: claims["iat_ms"].as_u64().unwrap_or(0),
                    grants,
                    after: text(&frame["after"]),
                    subscribe: entries
                        .map(|entry| Channel {
                            channel: text(&entry["channel"]).unwrap_or_default(),
                            after: text(&entry["after"]),
                        })
                        .collect(),
                });
            }
            "subscribe" => {
                line.asked += 1;
                log.push(Event::Subscribe {
                    browser,
                    channel: text(&frame["channel"]).unwrap_or_default(),
                    after: text(&frame["after"]),
                });
            }
            "refresh" => {
                tally.note("a refresh");
                let (number, token) = (frame["ref"].as_u64(), text(&frame["token"]));
                line.refreshes.extend(number.zip(token));
            }
            _ => {}
        }
        line.unsent.extend(websocket::text(sent, &mut self.random));
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

    fn hear(&mut self, heard: Heard, log: &mut Vec<Event>, tally: &mut Tally) {
        let Some(line) = &mut self.line else {
            return;
        };
        match heard {
            Heard::Ping(payload) => {
                let pong = websocket::pong(&payload, &mut self.random);
                line.unsent.extend(pong);
            }
            Heard::Close(code) => {
                line.closed = Some(code);
                tally_close(code, tally);
                let answer = websocket::close(&mut self.random);
                line.unsent.extend(answer);
            }
            Heard::Text(text) => {
                let number = line.number;
                let envelope: Value = serde_json::from_str(&text).expect("an envelope is JSON");
                self.note(&envelope, log, tally);
                self.page.received(number, &text);
            }
        }
    }

    fn note(&mut self, it: &Value, log: &mut Vec<Event>, tally: &mut Tally) {
        let browser = self.name.clone();
        let (channel, cursor) = (text(&it["channel"]), text(&it["cursor"]));
        let recovered = it["recovered"].as_bool();
        self.keep(it, tally);
        let event = match it["type"].as_str().unwrap_or_default() {
            "welcome" => Event::Welcome {
                browser,
                channels: list(&it["channels"]),
                cursor,
                recovered,
                lost: it.get("lost").map(list),
            },
            "subscribed" => Event::Subscribed {
                browser,
                channel,
                cursor,
                recovered,
            },
            "message" => Event::Message {
                browser,
                channel,
                cursor,
                id: text(&it["data"]["id"]),
                resent: it["resent"].as_bool().unwrap_or(false),
            },
            "caught_up" => Event::CaughtUp {
                browser,
                cursor,
                channel: it.get("channel").map(text),
            },
            "unsubscribed" => Event::Unsubscribed {
                browser,
                channel,
                unasked: it.get("code").is_some(),
            },
            "refreshed" => {
                let refreshes = &mut self.line.as_mut().expect("a line").refreshes;
                let token = it["ref"].as_u64().and_then(|it| refreshes.remove(&it));
                Event::Refreshed {
                    browser,
                    issued_ms: claims(token.as_deref())["iat_ms"].as_u64().unwrap_or(0),
                    grants: grants(token.as_deref()),
                    channels: list(&it["channels"]),
                }
            }
            "ping" => Event::Ping { browser, cursor },
            "error" if it.get("channel").is_some() => Event::Forbidden { browser, channel },
            "error" | "disconnect" => return,
            other => panic!("an envelope of type {other}: {it}"),
        };
        log.push(event);
    }

    /// Keeps what the connection is subscribed to.
    fn keep(&mut self, it: &Value, tally: &mut Tally) {
        let Some(line) = &mut self.line else {
            return;
        };
        let channel = text(&it["channel"]);
        match it["type"].as_str().unwrap_or_default() {
            "welcome" => {
                // Everything was asked for again.
                self.applied
                    .values_mut()
                    .for_each(|it| it.is_refused = false);
                line.subscribed = list(&it["channels"]).into_iter().collect();
                let refused = it["refused"].as_array().into_iter().flatten();
                line.refused = refused.map(|it| text(&it["channel"])).collect();
                line.user = it["user"].as_str().map(ToOwned::to_owned);
                let lost = list(&it["lost"]).len();
                let is_partly = lost < line.subscribed.len();
                line.is_replaying = it["recovered"].is_boolean() && (lost == 0 || is_partly);
                tally_welcome(it["recovered"].as_bool(), is_partly, tally);
                let epoch = epoch(it["cursor"].as_str().unwrap_or_default());
                if let Some((last, starts)) = &self.last {
                    if *last != epoch {
                        tally.note("a connect in a new epoch");
                    } else if *starts < line.starts && it["recovered"] == true {
                        tally.note("a connect recovered after a planned restart");
                    }
                }
                self.last = Some((epoch, line.starts));
            }
            "subscribed" => {
                line.asked -= 1;
                match it["recovered"].as_bool() {
                    Some(true) => tally.note("a subscribe recovered"),
                    Some(false) => tally.note("a subscribe lost"),
                    None => {}
                }
                line.is_replaying = it["recovered"] == true;
                line.refused.remove(&channel);
                line.subscribed.insert(channel);
            }
            "caught_up" => line.is_replaying = false,
            "unsubscribed" => {
                line.subscribed.remove(&channel);
                if it.get("code").is_some() {
                    tally.note("an unsubscribed unasked");
                    line.refused.insert(channel);
                }
            }
            "error" if it.get("channel").is_some() => {
                line.asked -= 1;
                line.refused.insert(channel);
            }
            "refreshed" => {
                tally.note("a refreshed");
                self.applied
                    .values_mut()
                    .for_each(|it| it.is_refused = false);
                line.subscribed = list(&it["channels"]).into_iter().collect();
            }
            "message" => {
                let replayed = line.is_replaying;
                tally.note(if replayed {
                    "a replayed message"
                } else {
                    "a live message"
                });
                tally.note_many("a resent message", u64::from(it["resent"] == true));
            }
            _ => {}
        }
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

fn tally_welcome(recovered: Option<bool>, is_partly: bool, tally: &mut Tally) {
    match recovered {
        Some(true) => tally.note("a connect recovered"),
        Some(false) if is_partly => tally.note("a connect lost in part"),
        Some(false) => tally.note("a connect lost"),
        None => {}
    }
}

fn tally_close(code: u16, tally: &mut Tally) {
    match code {
        4002 => tally.note("a close for a sign-out"),
        4003 => tally.note("a close for an expired token"),
        4100 => tally.note("a close for a drain"),
        4101 => tally.note("a close for slowness"),
        4102 => tally.note("a close for a silence"),
        4001 | 4004 | 4103 | 1000 => {}
        other => panic!("closed with {other}"),
    }
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
