//! Frames that a page receives: passed to the page, logged and counted.

use lineside_tests::history::Event;
use serde_json::Value;

use super::{Tab, epoch, grants, list, text};
use crate::app::claims;
use crate::tally::Tally;
use crate::websocket::{self, Frame};

impl Tab {
    pub(super) fn receive(&mut self, frame: Frame, log: &mut Vec<Event>, tally: &mut Tally) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        match frame {
            Frame::Ping(payload) => {
                let pong = websocket::pong(&payload, &mut self.random);
                connection.unsent.extend(pong);
            }
            Frame::Close(code) => {
                connection.closed = Some(code);
                tally_close(code, tally);
                let answer = websocket::close(&mut self.random);
                connection.unsent.extend(answer);
            }
            Frame::Text(text) => {
                let number = connection.number;
                let envelope: Value = serde_json::from_str(&text).expect("an envelope is JSON");
                self.receive_envelope(&envelope, log, tally);
                self.page.received(number, &text);
            }
        }
    }

    fn receive_envelope(&mut self, it: &Value, log: &mut Vec<Event>, tally: &mut Tally) {
        self.update_connection(it, tally);
        let event = match it["type"].as_str().unwrap_or_default() {
            "refreshed" => Some(self.refreshed(it)),
            "error" | "disconnect" if it.get("channel").is_none() => None,
            _ => {
                let event = Event::from_envelope(&self.name, it);
                assert!(event.is_some(), "unexpected envelope: {it}");
                event
            }
        };
        log.extend(event);
    }

    fn refreshed(&mut self, it: &Value) -> Event {
        let refreshes = &mut self.connection.as_mut().expect("a connection").refreshes;
        let token = it["ref"].as_u64().and_then(|it| refreshes.remove(&it));
        Event::Refreshed {
            browser: self.name.clone(),
            issued_ms: claims(token.as_deref())["iat_ms"].as_u64().unwrap_or(0),
            grants: grants(token.as_deref()),
            channels: list(&it["channels"]),
        }
    }

    /// Updates the state of the connection.
    fn update_connection(&mut self, it: &Value, tally: &mut Tally) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let channel = text(&it["channel"]);
        match it["type"].as_str().unwrap_or_default() {
            "welcome" => {
                // The connect requested all channels again.
                self.applied
                    .values_mut()
                    .for_each(|it| it.is_refused = false);
                connection.subscribed = list(&it["channels"]).into_iter().collect();
                let refused = it["refused"].as_array().into_iter().flatten();
                connection.refused = refused.map(|it| text(&it["channel"])).collect();
                connection.user = it["user"].as_str().map(ToOwned::to_owned);
                let lost = list(&it["lost"]).len();
                let is_partly = lost < connection.subscribed.len();
                connection.is_replaying = it["recovered"].is_boolean() && (lost == 0 || is_partly);
                tally_welcome(it["recovered"].as_bool(), is_partly, tally);
                let epoch = epoch(it["cursor"].as_str().unwrap_or_default());
                if let Some((last, starts)) = &self.last {
                    if *last != epoch {
                        tally.note("a connect in a new epoch");
                    } else if *starts < connection.starts && it["recovered"] == true {
                        tally.note("a connect recovered after a planned restart");
                    }
                }
                self.last = Some((epoch, connection.starts));
            }
            "subscribed" => {
                connection.asked -= 1;
                match it["recovered"].as_bool() {
                    Some(true) => tally.note("a subscribe recovered"),
                    Some(false) => tally.note("a subscribe lost"),
                    None => {}
                }
                connection.is_replaying = it["recovered"] == true;
                connection.refused.remove(&channel);
                connection.subscribed.insert(channel);
            }
            "caught_up" => connection.is_replaying = false,
            "unsubscribed" => {
                connection.subscribed.remove(&channel);
                if it.get("code").is_some() {
                    tally.note("an unsolicited unsubscribed");
                    connection.refused.insert(channel);
                }
            }
            "error" if it.get("channel").is_some() => {
                connection.asked -= 1;
                connection.refused.insert(channel);
            }
            "refreshed" => {
                tally.note("a refreshed reply");
                self.applied
                    .values_mut()
                    .for_each(|it| it.is_refused = false);
                connection.subscribed = list(&it["channels"]).into_iter().collect();
            }
            "message" => {
                let replayed = connection.is_replaying;
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
        4101 => tally.note("a close for a slow reader"),
        4102 => tally.note("a close for a heartbeat time-out"),
        4001 | 4004 | 4103 | 4104 | 1000 => {}
        other => panic!("unexpected close code {other}"),
    }
}
