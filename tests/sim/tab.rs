//! Browser tab: its page with a client, and the socket.

mod receive;
mod scripts;
mod send;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::ErrorKind;

use lineside_tests::history::Event;
use lineside_tests::page::{Action, Page, Tags};
use lineside_tests::random::Random;
use serde_json::Value;

use crate::app::{PUBLIC, claims};
use crate::client::{Client, Plain};
use crate::network::{Shared, Side};
use crate::tally::Tally;
use crate::websocket::{self, Frames};
use crate::world::Time;

const READ_BYTES: usize = 4096;

/// Close code of a broken or refused connection (RFC 6455 §7.4.1).
const BROKEN: u16 = 1006;

/// Rendered page.
pub(crate) struct Rendered {
    pub(crate) profile: usize,
    pub(crate) user: Option<String>,
    pub(crate) tags: Tags,
    /// Number of database rows in its state.
    pub(crate) rows: usize,
    /// Rendered channel tokens: channel, token, user.
    pub(crate) channel_tokens: Vec<(String, String, Option<String>)>,
}

/// State of one listener of the page.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Channel; None for the user's own.
    pub(crate) channel: Option<String>,
    /// Number of database rows in the state, by channel.
    pub(crate) rows: BTreeMap<String, usize>,
    /// Applied messages, with the epoch of the last delivery.
    pub(crate) ids: HashMap<String, String>,
    /// True if the channel was refused and not requested again.
    pub(crate) is_refused: bool,
}

/// Socket, from the start of the connect.
struct Connection {
    number: u32,
    wire: Shared,
    /// Number of sidecar starts at the connect.
    starts: u64,
    is_open: bool,
    frames: Frames,
    unsent: Vec<u8>,
    /// Code of the received close frame.
    closed: Option<u16>,
    /// True if `connect` was sent, and so logged.
    is_logged: bool,
    /// Tokens of the unanswered `refresh` requests.
    refreshes: BTreeMap<u64, String>,
    is_replaying: bool,
    /// Subscribed channels, and refused ones.
    subscribed: BTreeSet<String>,
    refused: BTreeSet<String>,
    user: Option<String>,
    /// Number of unanswered `subscribe` requests.
    asked: usize,
}

pub(crate) struct Tab {
    pub(crate) name: String,
    pub(crate) profile: usize,
    pub(crate) page: Box<dyn Client>,
    /// True for the plain client.
    pub(crate) is_plain: bool,
    tags: Tags,
    /// User for whom the page was rendered.
    user: Option<String>,
    /// Number of database rows in the rendered state.
    rows: usize,
    next_listener: u32,
    pub(crate) applied: BTreeMap<u32, Applied>,
    channel_tokens: Vec<(String, String, Option<String>)>,
    connection: Option<Connection>,
    /// Requests of the page to the simulation: a socket, tokens, the state of lost channels.
    pub(crate) wanted: Option<u32>,
    pub(crate) fetching: Vec<u32>,
    pub(crate) refetching: Vec<Vec<String>>,
    /// True while the machine sleeps.
    pub(crate) is_asleep: bool,
    /// True while the page does not read its socket.
    pub(crate) is_stalled: bool,
    pub(crate) is_offline: bool,
    pub(crate) is_hidden: bool,
    /// Difference of its clock to the monotonic clock, in milliseconds.
    ahead_ms: u64,
    /// Epoch of the last welcome, and the number of sidecar starts at that time.
    last: Option<(String, u64)>,
    random: Random,
}

impl Tab {
    pub(crate) fn new(name: String, rendered: &Rendered, time: Time, mut random: Random) -> Self {
        // The page's clock starts at the wall clock, and may be wrong by some minutes.
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
            user: rendered.user.clone(),
            rows: rendered.rows,
            next_listener: 0,
            applied: BTreeMap::new(),
            channel_tokens: rendered.channel_tokens.clone(),
            connection: None,
            wanted: None,
            fetching: Vec::new(),
            refetching: Vec::new(),
            is_asleep: false,
            is_stalled: false,
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

    /// Time of the browser's clock.
    pub(crate) fn date_ms(&self, now_ms: u64) -> u64 {
        now_ms + self.ahead_ms
    }

    /// Wakes the machine, with or without a `visibilitychange` event.
    pub(crate) fn wake(&mut self, date_ms: u64, is_notified: bool) {
        self.page.sleep(date_ms);
        if is_notified {
            self.page.visibility(false);
            self.page.visibility(true);
        }
        self.page.advance(date_ms);
    }

    /// Time of the next timer.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        Some(self.page.due_ms()?.saturating_sub(self.ahead_ms))
    }

    pub(crate) fn has_stopped(&self) -> bool {
        ["stopped", "closed"].contains(&self.page.status())
    }

    pub(crate) fn wire(&self) -> Option<&Shared> {
        self.connection.as_ref().map(|connection| &connection.wire)
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| !connection.is_open)
    }

    pub(crate) fn is_replaying(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_replaying)
    }

    /// Stores the upgraded socket. [`opened`](Self::opened) reports it to the client later.
    pub(crate) fn connected(&mut self, number: u32, wire: Shared, starts: u64) {
        self.connection = Some(Connection {
            number,
            wire,
            starts,
            is_open: false,
            frames: Frames::default(),
            unsent: Vec::new(),
            closed: None,
            is_logged: false,
            refreshes: BTreeMap::new(),
            is_replaying: false,
            subscribed: BTreeSet::new(),
            refused: BTreeSet::new(),
            user: None,
            asked: 0,
        });
    }

    pub(crate) fn opened(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.is_open = true;
            self.page.opened(connection.number);
        }
    }

    /// Reports a refused connection to the client.
    pub(crate) fn refused(&mut self, number: u32) {
        self.page.closed(number, BROKEN);
    }

    /// Carries out the actions of the page, and logs them.
    pub(crate) fn run_actions(&mut self, log: &mut Vec<Event>, tally: &mut Tally) {
        for action in self.page.actions() {
            match action {
                Action::Open { socket, .. } => self.wanted = Some(socket),
                Action::Send { text, .. } => self.send(&text, log, tally),
                Action::Close { socket } => {
                    self.wanted = self.wanted.filter(|wanted| *wanted != socket);
                    if self
                        .connection
                        .as_ref()
                        .is_some_and(|connection| connection.number == socket)
                    {
                        self.close_socket(log);
                    }
                }
                Action::Fetch { request, .. } => self.fetching.push(request),
                Action::Message {
                    listener,
                    cursor,
                    data,
                    ..
                } => self.apply(listener, &cursor, &data),
                Action::Lost { channels } => self.refetching.push(channels),
                Action::Refused { channel, .. } => {
                    tally.note("a refused channel");
                    let all = self.applied.values_mut();
                    all.filter(|it| it.channel.as_ref().is_none_or(|of| *of == channel))
                        .for_each(|it| it.is_refused = true);
                }
                Action::Status { .. } => {}
                Action::Exception { message } => panic!("lineside.js: {message}"),
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
        assert!(
            !is_again,
            "{} received {id} twice, again at {cursor}",
            self.name
        );
    }

    /// Closes the socket. Unsent bytes may still arrive.
    fn close_socket(&mut self, log: &mut Vec<Event>) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let mut wire = connection.wire.borrow_mut();
        if connection.is_open && connection.closed.is_none() && self.random.percent(50) {
            connection.unsent.extend(websocket::close(&mut self.random));
        }
        // Bytes that the kernel does not take now are lost.
        let _taken = wire.write(Side::Near, &connection.unsent);
        wire.close(Side::Near);
        drop(wire);
        if connection.is_logged {
            let browser = self.name.clone();
            log.push(Event::Closed { browser });
        }
    }

    /// Reads up to `most` frames, and writes unsent bytes.
    pub(crate) fn pump(&mut self, most: usize, log: &mut Vec<Event>, tally: &mut Tally) {
        let mut left = most;
        while left > 0 && self.pump_once(log, tally) {
            self.run_actions(log, tally);
            left -= 1;
        }
        self.write();
    }

    /// Reads one frame, or some bytes. Returns false if there is nothing to read.
    fn pump_once(&mut self, log: &mut Vec<Event>, tally: &mut Tally) -> bool {
        let is_stalled = self.is_stalled || self.is_asleep;
        let Some(connection) = self
            .connection
            .as_mut()
            .filter(|connection| connection.is_open && !is_stalled)
        else {
            return false;
        };
        if let Some(frame) = connection.frames.next() {
            self.receive(frame, log, tally);
            return true;
        }
        let mut bytes = [0; READ_BYTES];
        let read = connection.wire.borrow_mut().read(Side::Near, &mut bytes);
        match read {
            Ok(count) if count > 0 => connection.frames.receive(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                let (number, code) = (connection.number, connection.closed.unwrap_or(BROKEN));
                self.close_socket(log);
                self.page.closed(number, code);
            }
        }
        true
    }

    fn write(&mut self) {
        let Some(connection) = self
            .connection
            .as_mut()
            .filter(|connection| connection.is_open)
        else {
            return;
        };
        if !connection.unsent.is_empty()
            && let Ok(count) = connection
                .wire
                .borrow_mut()
                .write(Side::Near, &connection.unsent)
        {
            connection.unsent.drain(..count);
        }
    }

    pub(crate) fn description(&self) -> String {
        let Self { name, page, .. } = self;
        let wanted: BTreeSet<_> = self
            .applied
            .values()
            .filter_map(|it| self.channel(it))
            .collect();
        let connection = self.connection.as_ref();
        let connection = connection.map(|it| {
            (
                it.asked,
                it.is_replaying,
                &it.refreshes,
                &it.subscribed,
                &it.refused,
            )
        });
        format!(
            "{name} {} wants {wanted:?}, has {connection:?}",
            page.status()
        )
    }

    /// Returns true if no request is unanswered and each listener's channel is subscribed or refused.
    pub(crate) fn is_idle(&self) -> bool {
        let Some(connection) = &self.connection else {
            return self.has_stopped();
        };
        let is_answered = |channel: &String| {
            connection.subscribed.contains(channel) || connection.refused.contains(channel)
        };
        let channels = self.applied.values().filter_map(|it| self.channel(it));
        self.page.status() == "open"
            && connection.asked == 0
            && !connection.is_replaying
            && connection.refreshes.is_empty()
            && channels.into_iter().all(|channel| is_answered(&channel))
    }

    /// Returns the current channel of a listener.
    pub(crate) fn channel(&self, applied: &Applied) -> Option<String> {
        let of_user = || Some(format!("user:{}", self.connection.as_ref()?.user.as_ref()?));
        applied.channel.clone().or_else(of_user)
    }

    pub(crate) fn is_subscribed(&self, channel: &str) -> bool {
        let subscribed = self
            .connection
            .as_ref()
            .map(|connection| &connection.subscribed);
        subscribed.is_some_and(|it| it.contains(channel))
    }
}

/// Returns the grants of a token, and the public ones.
fn grants(token: Option<&str>) -> Vec<String> {
    let claims = claims(token);
    let listed = [&claims["channels"], &claims["allow"]].map(list);
    let public = [PUBLIC.to_owned()];
    listed.into_iter().flatten().chain(public).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Returns the strings of a JSON array.
pub(crate) fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

fn epoch(cursor: &str) -> String {
    cursor.split('.').next().unwrap_or_default().to_owned()
}
