//! A client as docs/protocol.md describes it: one cursor for the connection, and one of its own for each channel from asking
//! for a replay until it is caught up. It asks for things that the browser module never does.

use std::collections::BTreeMap;

use lineside_tests::page::{Act, Tags};
use lineside_tests::random::Random;
use serde_json::{Value, json};

use super::Client;

const CHANNELS: [&str; 6] = [
    "news", "board", "orders:7", "orders:8", "scores:1", "user:1",
];

/// Requests that may wait for their answers.
const ASKED_MAX: usize = 3;

/// The longest wait before it comes again, in milliseconds.
const RETRY_MS_MAX: u64 = 3_000;

/// Without a word for so long, in milliseconds, the line is dead: the longest heartbeat and ten seconds.
const SILENCE_MS_MAX: u64 = 35_000;

/// Whose replay is coming.
#[derive(Debug, PartialEq)]
enum Replay {
    Connect,
    Subscribe(String),
}

/// A channel that it follows.
#[derive(Debug, Default)]
struct Followed {
    /// A cursor of its own, where the connection's does not hold.
    own: Option<String>,
    /// It was asked for since the connect, whose replay says nothing about it.
    is_asked: bool,
}

#[derive(Debug)]
pub(crate) struct Plain {
    now_ms: u64,
    random: Random,
    acts: Vec<Act>,
    status: &'static str,
    token: Option<String>,
    /// What it was rendered with: up to there it has the state of everything.
    rendered: String,
    /// None before the first welcome.
    cursor: Option<String>,
    channels: BTreeMap<String, Followed>,
    replay: Option<Replay>,
    /// Subscribes that were not answered.
    asked: usize,
    sockets: u32,
    is_open: bool,
    heard_ms: u64,
    retry_ms: Option<u64>,
    is_fetching: bool,
    requests: u32,
    is_calm: bool,
}

impl Plain {
    pub(crate) fn new(now_ms: u64, tags: &Tags, random: Random) -> Self {
        let mut plain = Self {
            now_ms,
            random,
            acts: Vec::new(),
            status: "connecting",
            token: tags.token.clone(),
            rendered: tags.cursor.clone().unwrap_or_else(|| "unknown".into()),
            cursor: None,
            channels: BTreeMap::new(),
            replay: None,
            asked: 0,
            sockets: 0,
            is_open: false,
            heard_ms: now_ms,
            retry_ms: None,
            is_fetching: false,
            requests: 0,
            is_calm: false,
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
        self.heard_ms = self.now_ms;
        self.acts.push(Act::Open {
            socket: self.sockets,
            url: String::new(),
            protocol: String::new(),
        });
    }

    fn fetch(&mut self) {
        self.is_fetching = true;
        self.requests += 1;
        self.acts.push(Act::Fetch {
            request: self.requests,
            url: String::new(),
            csrf: String::new(),
        });
    }

    fn send(&mut self, frame: &Value) {
        self.acts.push(Act::Send {
            socket: self.sockets,
            text: frame.to_string(),
        });
    }

    /// Asks for something, whatever it is good for.
    fn ask(&mut self) {
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
            // What it has, or older: what it follows by the connection's cursor, it follows by that.
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
        // Until the answer says otherwise it continues there; what is only confirmed stays as it was.
        let own = after.or_else(|| held.unwrap_or_else(|| Some("unknown".to_owned())));
        let is_asked = true;
        self.channels.insert(channel, Followed { own, is_asked });
        self.asked += 1;
        self.send(&frame);
    }

    fn hear(&mut self, it: &Value) {
        let cursor = it["cursor"].as_str().map(ToOwned::to_owned);
        let channel = it["channel"].as_str().unwrap_or_default().to_owned();
        match it["type"].as_str().unwrap_or_default() {
            "welcome" => self.welcome(it, cursor),
            "subscribed" => {
                self.asked -= 1;
                match it["recovered"].as_bool() {
                    Some(true) => self.replay = Some(Replay::Subscribe(channel)),
                    Some(false) => self.settle(&channel),
                    // New: from here on it comes. Or only confirmed.
                    None if self.is_unknown(&channel) => self.settle(&channel),
                    None => {}
                }
            }
            "message" => match &self.replay {
                None => self.reach(cursor),
                Some(Replay::Connect) => {
                    self.of_connect(|own| own.clone_from(&cursor));
                }
                Some(Replay::Subscribe(of)) => {
                    if let Some(followed) = self.channels.get_mut(of) {
                        followed.own = cursor;
                    }
                }
            },
            "caught_up" => {
                match self.replay.take() {
                    Some(Replay::Connect) => self.of_connect(|own| *own = None),
                    Some(Replay::Subscribe(of)) => self.settle(&of),
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
        let names = |list: &Value| -> Vec<String> {
            let list = list.as_array().into_iter().flatten();
            list.filter_map(|it| it.as_str().map(ToOwned::to_owned))
                .collect()
        };
        let (channels, lost) = (names(&it["channels"]), names(&it["lost"]));
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
            self.of_connect(|own| *own = None);
        }
        // A new connection begins where its welcome says, even if that is further back.
        self.cursor = cursor;
        if !lost.is_empty() {
            self.acts.push(Act::Lost { channels: lost });
        }
    }

    /// What comes of the channel comes after the connection's cursor.
    fn settle(&mut self, channel: &str) {
        if let Some(followed) = self.channels.get_mut(channel) {
            followed.own = None;
        }
    }

    /// The cursors of what the connect asked for, and nothing since.
    fn of_connect(&mut self, act: impl Fn(&mut Option<String>)) {
        let channels = self.channels.values_mut();
        let of_connect = channels.filter(|followed| !followed.is_asked);
        of_connect.for_each(|followed| act(&mut followed.own));
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
    fn acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    fn due_ms(&self) -> Option<u64> {
        let silence_ms = self.is_open.then_some(self.heard_ms + SILENCE_MS_MAX);
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
        if self.is_open && self.heard_ms + SILENCE_MS_MAX <= self.now_ms {
            self.acts.push(Act::Close {
                socket: self.sockets,
            });
            self.closed(self.sockets, 1006);
        }
        let may_ask = self.status == "open" && self.is_open && self.asked < ASKED_MAX;
        if may_ask && !self.is_calm && self.random.percent(20) {
            self.ask();
        }
    }

    fn opened(&mut self, _socket: u32) {
        self.is_open = true;
        self.heard_ms = self.now_ms;
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
            self.heard_ms = self.now_ms;
            let envelope = serde_json::from_str(text).expect("an envelope is JSON");
            self.hear(&envelope);
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
        self.acts.push(Act::Close {
            socket: self.sockets,
        });
        self.drop_socket();
    }

    fn calm(&mut self) {
        self.is_calm = true;
    }
}
