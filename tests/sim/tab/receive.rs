//! What a page hears: to the page, to the log and to the tally.

use lineside_tests::history::Event;
use serde_json::Value;

use super::{Tab, epoch, grants, list, text};
use crate::app::claims;
use crate::tally::Tally;
use crate::websocket::{self, Heard};

impl Tab {
    pub(super) fn hear(&mut self, heard: Heard, log: &mut Vec<Event>, tally: &mut Tally) {
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
