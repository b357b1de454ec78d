//! Client as docs/protocol.md describes it: one cursor for the connection, and a cursor of its own for each channel from its
//! `subscribe` to its `caught_up`. It sends requests that the browser module never sends.

use std::collections::BTreeMap;

use lineside_tests::page::{Action, Tags};
use lineside_tests::random::Random;
use serde_json::{Value, json};

use super::Client;
use crate::tab::list;

const CHANNELS: [&str; 6] = [
    "news", "board", "orders:7", "orders:8", "scores:1", "user:1",
];

/// Maximum number of unanswered requests.
const ASKED_MAX: usize = 3;

/// Maximum delay of a reconnect, in milliseconds.
const RETRY_MS_MAX: u64 = 3_000;

/// Time without a message after which the connection is dead, in milliseconds: the longest heartbeat and ten seconds.
const SILENCE_MS_MAX: u64 = 35_000;

/// Request of the current replay.
#[derive(Debug, PartialEq)]
enum Replay {
    Connect,
    Subscribe(String),
}

/// Channel of the client.
#[derive(Debug, Default)]
struct Followed {
    /// Cursor of the channel, if the connection's is not valid for it.
    own: Option<String>,
    /// True if it was requested after the connect, whose replay does not cover it.
    is_asked: bool,
}

#[derive(Debug)]
pub(crate) struct Plain {
    now_ms: u64,
    random: Random,
    actions: Vec<Action>,
    status: &'static str,
    token: Option<String>,
    /// Rendered cursor, up to which the page has the state of all channels.
    rendered: String,
    /// Cursor of the connection. None before the first welcome.
    cursor: Option<String>,
    channels: BTreeMap<String, Followed>,
    replay: Option<Replay>,
    /// Number of unanswered `subscribe` requests.
    asked: usize,
    sockets: u32,
    is_open: bool,
    received_ms: u64,
    retry_ms: Option<u64>,
    is_fetching: bool,
    requests: u32,
    is_quiet: bool,
}

impl Plain {
    pub(crate) fn new(now_ms: u64, tags: &Tags, random: Random) -> Self {
        let mut plain = Self {
            now_ms,
            random,
            actions: Vec::new(),
            status: "connecting",
            token: tags.token.clone(),
            rendered: tags.cursor.clone().unwrap_or_else(|| "unknown".into()),
            cursor: None,
            channels: BTreeMap::new(),
            replay: None,
            asked: 0,
            sockets: 0,
            is_open: false,
            received_ms: now_ms,
            retry_ms: None,
            is_fetching: false,
            requests: 0,
            is_quiet: false,
        };
        for channel in CHANNELS {
            if plain.random.percent(40) {
                let followed = Followed {
                    own: Some(plain.rendered.clone()),
                    is_asked: false,
                };
                plain.channels.insert(channel.into(), followed);
            }
        }
        plain.open();
        plain
    }

    fn open(&mut self) {
        self.status = "connecting";
        self.retry_ms = None;
        self.sockets += 1;
        self.received_ms = self.now_ms;
        self.actions.push(Action::Open {
            socket: self.sockets,
            url: String::new(),
            protocol: String::new(),
        });
    }

    fn fetch(&mut self) {
        self.is_fetching = true;
        self.requests += 1;
        self.actions.push(Action::Fetch {
            request: self.requests,
            url: String::new(),
            csrf: String::new(),
        });
    }

    fn send(&mut self, frame: &Value) {
        self.actions.push(Action::Send {
            socket: self.sockets,
            text: frame.to_string(),
        });
    }

    /// Sends a random request.
    fn send_random_request(&mut self) {
        let channel = CHANNELS[self.random.index(CHANNELS.len())].to_owned();
        match self.random.between(0, 9) {
            0..7 => self.subscribe_to(channel),
            7..9 => {
                self.channels.remove(&channel);
                let frame = json!({"type": "unsubscribe", "channel": channel});
                self.send(&frame);
            }
            _ => self.send(&json!({"type": "presence", "ref": 1})),
        }
    }

    fn subscribe_to(&mut self, channel: String) {
        let held = self.channels.get(&channel).map(|it| it.own.clone());
        let after = match self.random.between(0, 9) {
            0..3 => None,
            3 => Some("unknown".to_owned()),
            4 => Some("no cursor".to_owned()),
            // The channel's own cursor, or the connection's.
            5..8 => match &held {
                Some(own) => own.clone().or_else(|| self.cursor.clone()),
                None => Some(self.rendered.clone()),
            },
            _ => Some(self.rendered.clone()),
        };
        let mut frame = json!({"type": "subscribe", "channel": channel});
        if let Some(after) = &after {
            frame["after"] = json!(after);
        }
        // Valid until the answer. A mere confirmation leaves the cursor as it was.
        let own = after.or_else(|| held.unwrap_or_else(|| Some("unknown".to_owned())));
        let is_asked = true;
        self.channels.insert(channel, Followed { own, is_asked });
        self.asked += 1;
        self.send(&frame);
    }

    fn receive(&mut self, it: &Value) {
        let cursor = it["cursor"].as_str().map(ToOwned::to_owned);
        let channel = it["channel"].as_str().unwrap_or_default().to_owned();
        match it["type"].as_str().unwrap_or_default() {
            "welcome" => self.welcome(it, cursor),
            "subscribed" => {
                self.asked -= 1;
                match it["recovered"].as_bool() {
                    Some(true) => self.replay = Some(Replay::Subscribe(channel)),
                    Some(false) => self.follow_connection(&channel),
                    // New subscription, which starts here. Otherwise a confirmation.
                    None if self.is_unknown(&channel) => self.follow_connection(&channel),
                    None => {}
                }
            }
            "message" => match &self.replay {
                None => self.reach(cursor),
                Some(Replay::Connect) => {
                    self.update_connect_cursors(|own| own.clone_from(&cursor));
                }
                Some(Replay::Subscribe(of)) => {
                    if let Some(followed) = self.channels.get_mut(of) {
                        followed.own = cursor;
                    }
                }
            },
            "caught_up" => {
                match self.replay.take() {
                    Some(Replay::Connect) => self.update_connect_cursors(|own| *own = None),
                    Some(Replay::Subscribe(of)) => self.follow_connection(&of),
                    None => {}
                }
                self.reach(cursor);
            }
            "ping" => self.reach(cursor),
            "unsubscribed" => drop(self.channels.remove(&channel)),
            "error" if it.get("channel").is_some() => {
                self.asked -= 1;
                self.channels.remove(&channel);
            }
            _ => {}
        }
    }

    fn welcome(&mut self, it: &Value, cursor: Option<String>) {
        self.status = "open";
        let (channels, lost) = (list(&it["channels"]), list(&it["lost"]));
        self.channels
            .retain(|channel, it| it.is_asked || channels.contains(channel));
        let has_replay = it["recovered"].is_boolean()
            && (lost.is_empty() || channels.iter().any(|it| !lost.contains(it)));
        for (channel, followed) in &mut self.channels {
            if !followed.is_asked && (lost.contains(channel) || followed.own.is_none()) {
                followed.own.clone_from(&cursor);
            }
        }
        if has_replay {
            self.replay = Some(Replay::Connect);
        } else {
            self.update_connect_cursors(|own| *own = None);
        }
        // A new connection starts at the cursor of its welcome, even if that is older.
        self.cursor = cursor;
        if !lost.is_empty() {
            self.actions.push(Action::Lost { channels: lost });
        }
    }

    /// Lets the connection's cursor be valid for the channel.
    fn follow_connection(&mut self, channel: &str) {
        if let Some(followed) = self.channels.get_mut(channel) {
            followed.own = None;
        }
    }

    /// Changes the cursors of the channels of the connect.
    fn update_connect_cursors(&mut self, act: impl Fn(&mut Option<String>)) {
        let channels = self.channels.values_mut();
        let update_connect_cursors = channels.filter(|followed| !followed.is_asked);
        update_connect_cursors.for_each(|followed| act(&mut followed.own));
    }

    fn is_unknown(&self, channel: &str) -> bool {
        let own = self.channels.get(channel).map(|it| it.own.as_deref());
        own == Some(Some("unknown"))
    }

    fn reach(&mut self, cursor: Option<String>) {
        self.cursor = cursor;
    }

    fn drop_socket(&mut self) {
        self.is_open = false;
        self.replay = None;
        self.asked = 0;
    }
}

impl Client for Plain {
    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn due_ms(&self) -> Option<u64> {
        let silence_ms = self.is_open.then_some(self.received_ms + SILENCE_MS_MAX);
        self.retry_ms.into_iter().chain(silence_ms).min()
    }

    fn status(&self) -> &str {
        self.status
    }

    fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
        if self.retry_ms.is_some_and(|it| it <= self.now_ms) {
            self.open();
        }
        if self.is_open && self.received_ms + SILENCE_MS_MAX <= self.now_ms {
            self.actions.push(Action::Close {
                socket: self.sockets,
            });
            self.closed(self.sockets, 1006);
        }
        let may_ask = self.status == "open" && self.is_open && self.asked < ASKED_MAX;
        if may_ask && !self.is_quiet && self.random.percent(20) {
            self.send_random_request();
        }
    }

    fn opened(&mut self, _socket: u32) {
        self.is_open = true;
        self.received_ms = self.now_ms;
        let after = self.cursor.clone().unwrap_or_else(|| self.rendered.clone());
        self.channels
            .values_mut()
            .for_each(|it| it.is_asked = false);
        let entries = self.channels.iter().map(|(channel, it)| match &it.own {
            Some(own) => json!({"channel": channel, "after": own}),
            None => json!({"channel": channel}),
        });
        let mut frame =
            json!({"type": "connect", "after": after, "subscribe": entries.collect::<Vec<_>>()});
        if let Some(token) = &self.token {
            frame["token"] = json!(token);
        }
        self.send(&frame);
    }

    fn received(&mut self, socket: u32, text: &str) {
        if socket == self.sockets {
            self.received_ms = self.now_ms;
            let envelope = serde_json::from_str(text).expect("an envelope is JSON");
            self.receive(&envelope);
        }
    }

    fn closed(&mut self, socket: u32, code: u16) {
        if socket != self.sockets || ["stopped", "closed"].contains(&self.status) {
            return;
        }
        self.drop_socket();
        match code {
            4500.. => self.status = "stopped",
            4000..4100 => {
                self.status = "waiting";
                self.fetch();
            }
            _ => {
                self.status = "waiting";
                self.retry_ms = Some(self.now_ms + self.random.between(1, RETRY_MS_MAX));
            }
        }
    }

    fn give_token(&mut self, _request: u32, token: &str) {
        if std::mem::take(&mut self.is_fetching) {
            self.token = Some(token.to_owned());
            self.retry_ms = Some(self.now_ms + self.random.between(1, RETRY_MS_MAX));
        }
    }

    fn refuse_token(&mut self, _request: u32, status: u16) {
        if std::mem::take(&mut self.is_fetching) {
            if status == 503 {
                self.fetch();
            } else {
                self.status = "stopped";
            }
        }
    }

    fn close(&mut self) {
        self.status = "closed";
        self.actions.push(Action::Close {
            socket: self.sockets,
        });
        self.drop_socket();
    }

    fn quieten(&mut self) {
        self.is_quiet = true;
    }
}
