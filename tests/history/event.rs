//! Log format: actions of publishers and browsers and what they received, one JSON object a line.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One published item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Channel of the publication.
    pub channel: String,
    /// Unique id, which the payload contains.
    pub id: String,
}

/// Channel in the `subscribe` list of a `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Name of the channel.
    pub channel: String,
    /// Cursor of this channel, as received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One line of the log. Cursors are strings, as on the wire. Each `browser` is one page load; a reconnect keeps its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// Call of `publish`. Written before the call.
    Sent {
        /// Name of the process.
        publisher: String,
        /// Number of the call, increasing.
        sequence: u64,
        /// Items published in one call.
        items: Vec<Item>,
        /// `once` id of the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
        /// Newest cursor known to the process before the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<String>,
    },
    /// `publish` returned false. The items must never be delivered.
    Declined {
        /// Name of the process.
        publisher: String,
        /// Number of the call.
        sequence: u64,
    },
    /// Ack of all calls up to `through`.
    Acked {
        /// Name of the process.
        publisher: String,
        /// Number of the newest acked call.
        through: u64,
        /// Newest position of the journal at the ack.
        cursor: String,
    },
    /// Receipt of one call.
    Receipt {
        /// Name of the process.
        publisher: String,
        /// Number of the call.
        sequence: u64,
        /// Cursor of the call's last publication.
        cursor: String,
        /// True if the `once` id was known and nothing was published again.
        #[serde(default)]
        duplicate: bool,
    },
    /// The sidecar refused one call. Its items must never be delivered.
    Refused {
        /// Name of the process.
        publisher: String,
        /// Number of the call.
        sequence: u64,
    },
    /// The publisher dropped one call unsent. Its items must never be delivered.
    Dropped {
        /// Name of the process.
        publisher: String,
        /// Number of the call.
        sequence: u64,
    },
    /// The publisher sent one call and stopped waiting for its answer. Its items may or may not be delivered.
    GivenUp {
        /// Name of the process.
        publisher: String,
        /// Number of the call.
        sequence: u64,
    },
    /// The publisher's process ended. Unacked calls may or may not be delivered.
    Gone {
        /// Name of the process.
        publisher: String,
    },
    /// Sign-out in the journal.
    SignedOut {
        /// User id.
        user: String,
        /// Session id, if only one session is signed out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Tokens issued up to this time are revoked, in milliseconds since the Unix epoch.
        until_ms: u64,
        /// Cursor of the sign-out.
        cursor: String,
    },

    /// The page shows the app's state of these channels, which contains everything sent in the lines above. The cursor was
    /// sampled before the state was read, and the page may resume after it.
    Fetched {
        /// Name of the page.
        browser: String,
        /// Names of the channels; empty for all.
        channels: Vec<String>,
        /// Cursor rendered into the page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// The page opened a socket and sent `connect`.
    Connect {
        /// Name of the page.
        browser: String,
        /// User of the token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Session of the token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Time of issue of the token, in milliseconds since the Unix epoch.
        #[serde(default)]
        issued_ms: u64,
        /// Granted and public channels except `user:<user>`: names, and prefixes that end in `*`.
        grants: Vec<String>,
        /// Cursor of the connection, as received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// Channels requested by name.
        subscribe: Vec<Channel>,
    },
    /// The page received channel tokens, which grant channels beyond its connection token.
    Granted {
        /// Name of the page.
        browser: String,
        /// User of the tokens; None if any user may use them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// Names of the channels.
        channels: Vec<String>,
    },
    /// Reply to `connect`.
    Welcome {
        /// Name of the page.
        browser: String,
        /// All subscribed channels.
        channels: Vec<String>,
        /// Copied from the envelope.
        cursor: String,
        /// Copied from the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// Copied from the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Vec<String>>,
    },
    /// The page sent `subscribe`.
    Subscribe {
        /// Name of the page.
        browser: String,
        /// Name of the channel.
        channel: String,
        /// Cursor of the request, as received.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Reply to `subscribe`. Requests for one channel are answered in order.
    Subscribed {
        /// Name of the page.
        browser: String,
        /// Name of the channel.
        channel: String,
        /// Copied from the envelope.
        cursor: String,
        /// Copied from the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// Error reply to `subscribe`.
    Forbidden {
        /// Name of the page.
        browser: String,
        /// Name of the channel.
        channel: String,
    },
    /// The page received a publication.
    Message {
        /// Name of the page.
        browser: String,
        /// Copied from the envelope.
        channel: String,
        /// Copied from the envelope.
        cursor: String,
        /// Id from the payload.
        id: String,
        /// Copied from the envelope.
        #[serde(default)]
        resent: bool,
    },
    /// End of a replay.
    CaughtUp {
        /// Name of the page.
        browser: String,
        /// Copied from the envelope.
        cursor: String,
        /// Channel of the `subscribe`; None for a `connect`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// End of a subscription.
    Unsubscribed {
        /// Name of the page.
        browser: String,
        /// Name of the channel.
        channel: String,
        /// True if the grant ended. Messages not sent by then are never sent.
        #[serde(default)]
        unasked: bool,
    },
    /// Reply to `refresh`: a new token is in use.
    Refreshed {
        /// Name of the page.
        browser: String,
        /// Time of issue of the token, in milliseconds since the Unix epoch.
        #[serde(default)]
        issued_ms: u64,
        /// Grants of the new token, which replace the old ones.
        grants: Vec<String>,
        /// All subscribed channels after the refresh.
        channels: Vec<String>,
    },
    /// Unsolicited `lost`.
    Lost {
        /// Name of the page.
        browser: String,
        /// Names of the channels.
        channels: Vec<String>,
        /// Copied from the envelope.
        cursor: String,
    },
    /// Heartbeat.
    Ping {
        /// Name of the page.
        browser: String,
        /// Copied from the envelope.
        cursor: String,
    },
    /// The socket was closed by either end.
    Closed {
        /// Name of the page.
        browser: String,
    },

    /// End of the run. Nothing more is sent, and every connected page has received everything.
    Settled,
}

impl Event {
    /// Returns the event of an envelope that a page received. None for types that say nothing about delivery, and for
    /// `refreshed`, which does not contain the new grants.
    ///
    /// # Panics
    /// Panics if a field is missing.
    #[must_use]
    pub fn from_envelope(browser: &str, envelope: &Value) -> Option<Self> {
        let browser = browser.to_owned();
        let text = |name: &str| envelope[name].as_str().expect(name).to_owned();
        let texts = |name: &str| {
            let list = envelope[name].as_array()?.iter();
            let list = list.map(|it| it.as_str().expect(name).to_owned());
            Some(list.collect())
        };
        Some(match text("type").as_str() {
            "welcome" => Self::Welcome {
                browser,
                channels: texts("channels").expect("channels"),
                cursor: text("cursor"),
                recovered: envelope["recovered"].as_bool(),
                lost: texts("lost"),
            },
            "subscribed" => Self::Subscribed {
                browser,
                channel: text("channel"),
                cursor: text("cursor"),
                recovered: envelope["recovered"].as_bool(),
            },
            "message" => Self::Message {
                browser,
                channel: text("channel"),
                cursor: text("cursor"),
                id: envelope["data"]["id"].as_str().expect("an id").to_owned(),
                resent: envelope["resent"] == true,
            },
            "caught_up" => Self::CaughtUp {
                browser,
                cursor: text("cursor"),
                channel: envelope["channel"].as_str().map(ToOwned::to_owned),
            },
            "unsubscribed" => Self::Unsubscribed {
                browser,
                channel: text("channel"),
                unasked: envelope.get("code").is_some(),
            },
            "lost" => Self::Lost {
                browser,
                channels: texts("channels").expect("channels"),
                cursor: text("cursor"),
            },
            "ping" => Self::Ping {
                browser,
                cursor: text("cursor"),
            },
            "error" if envelope.get("channel").is_some() => Self::Forbidden {
                browser,
                channel: text("channel"),
            },
            _ => return None,
        })
    }
}

/// Writes a log.
///
/// # Errors
/// Returns the writer's error.
pub fn write<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    mut to: impl Write,
) -> io::Result<()> {
    for event in events {
        serde_json::to_writer(&mut to, event)?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

/// Reads a log. Ignores empty lines.
///
/// # Errors
/// Returns the reader's error, or the number of a line that is no [`Event`].
pub fn read(from: impl BufRead) -> io::Result<Vec<Event>> {
    let parse = |(index, line): (usize, io::Result<String>)| {
        let line = line?;
        serde_json::from_str(&line).map_err(|error| {
            let number = index + 1;
            let what = format!("line {number} of the log is no event ({error}): {line}");
            io::Error::new(io::ErrorKind::InvalidData, what)
        })
    };
    from.lines()
        .enumerate()
        .filter(|(_, line)| !line.as_ref().is_ok_and(|line| line.trim().is_empty()))
        .map(parse)
        .collect()
}
