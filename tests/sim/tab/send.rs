//! Frames that a page sends: written to the socket and logged.

use lineside_tests::history::{Channel, Event};
use serde_json::Value;

use super::{Tab, grants};
use crate::app::claims;
use crate::tally::Tally;
use crate::websocket;

impl Tab {
    pub(super) fn send(&mut self, sent: &str, log: &mut Vec<Event>, tally: &mut Tally) {
        let frame: Value = serde_json::from_str(sent).expect("a page sends JSON");
        let grants = grants(frame["token"].as_str());
        let Some(connection) = &mut self.connection else {
            return;
        };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let browser = self.name.clone();
        match frame["type"].as_str().unwrap_or_default() {
            "connect" => {
                connection.is_logged = true;
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
                connection.asked += 1;
                log.push(Event::Subscribe {
                    browser,
                    channel: text(&frame["channel"]).unwrap_or_default(),
                    after: text(&frame["after"]),
                });
            }
            "refresh" => {
                tally.note("a refresh");
                let (number, token) = (frame["ref"].as_u64(), text(&frame["token"]));
                connection.refreshes.extend(number.zip(token));
            }
            _ => {}
        }
        connection
            .unsent
            .extend(websocket::text(sent, &mut self.random));
    }
}
