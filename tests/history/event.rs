//! The log: what publishers and browsers did and heard, one JSON object a line.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

/// One published item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Where it was published.
    pub channel: String,
    /// Stands in its payload, and in no other's.
    pub id: String,
}

/// A channel that is asked for by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Its name.
    pub channel: String,
    /// A cursor of its own, as given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// One line of the log. Cursors are texts, as on the wire. A `browser` is one page: a reload is another one, a reconnect
/// is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Event {
    /// A publisher called `publish`. To be written before the call.
    Sent {
        /// The process.
        publisher: String,
        /// Counts its calls; increases.
        sequence: u64,
        /// What it published, together.
        items: Vec<Item>,
        /// The id under which it lands once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        once: Option<String>,
        /// The newest cursor that it knew just before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<String>,
    },
    /// `publish` said false: it must never land.
    Declined {
        /// The process.
        publisher: String,
        /// The call.
        sequence: u64,
    },
    /// Everything up to `through` was dealt with.
    Acked {
        /// The process.
        publisher: String,
        /// The newest call that is covered.
        through: u64,
        /// The journal's newest position then.
        cursor: String,
    },
    /// One call landed.
    Receipt {
        /// The process.
        publisher: String,
        /// The call.
        sequence: u64,
        /// Where its last publication stands.
        cursor: String,
        /// All of it had landed before, under its `once` id.
        #[serde(default)]
        duplicate: bool,
    },
    /// The sidecar refused one call: it must never land.
    Refused {
        /// The process.
        publisher: String,
        /// The call.
        sequence: u64,
    },
    /// The publisher dropped one call unsent: it must never land.
    Dropped {
        /// The process.
        publisher: String,
        /// The call.
        sequence: u64,
    },
    /// The publisher gave one call up that it had sent: it landed, or it did not.
    GivenUp {
        /// The process.
        publisher: String,
        /// The call.
        sequence: u64,
    },
    /// The publisher's process is gone: what was not acked has an unknown fate.
    Gone {
        /// The process.
        publisher: String,
    },
    /// A sign-out landed.
    SignedOut {
        /// The user.
        user: String,
        /// Only this session of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Tokens made up to then are over, in milliseconds since the Unix epoch.
        until_ms: u64,
        /// Where it stands in the journal.
        cursor: String,
    },

    /// The page has the app's state of these channels: everything sent in the lines above. With a cursor, one that was
    /// sampled before that state was read, and that the page may resume after.
    Fetched {
        /// The page.
        browser: String,
        /// Which; none stands for all.
        channels: Vec<String>,
        /// The cursor rendered into it, as given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// A socket was opened and `connect` sent.
    Connect {
        /// The page.
        browser: String,
        /// Whose token it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// The session that the token names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// When the token was made, in milliseconds since the Unix epoch.
        #[serde(default)]
        issued_ms: u64,
        /// All that the token opens beside `user:<user>`, and what is public: names, and prefixes that end in `*`.
        grants: Vec<String>,
        /// Where to resume, as given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// The channels asked for by name.
        subscribe: Vec<Channel>,
    },
    /// The page was given channel tokens, which open more than its connection token does.
    Granted {
        /// The page.
        browser: String,
        /// Who alone may use them; none for anybody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// For which channels.
        channels: Vec<String>,
    },
    /// The answer to `connect`.
    Welcome {
        /// The page.
        browser: String,
        /// All that it is subscribed to.
        channels: Vec<String>,
        /// As in the envelope.
        cursor: String,
        /// As in the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
        /// As in the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Vec<String>>,
    },
    /// `subscribe` was sent.
    Subscribe {
        /// The page.
        browser: String,
        /// Which.
        channel: String,
        /// As given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Its answer; requests for one channel are answered in order.
    Subscribed {
        /// The page.
        browser: String,
        /// Which.
        channel: String,
        /// As in the envelope.
        cursor: String,
        /// As in the envelope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recovered: Option<bool>,
    },
    /// Its answer was an error.
    Forbidden {
        /// The page.
        browser: String,
        /// Which.
        channel: String,
    },
    /// A publication came.
    Message {
        /// The page.
        browser: String,
        /// As in the envelope.
        channel: String,
        /// As in the envelope.
        cursor: String,
        /// Out of the payload.
        id: String,
        /// As in the envelope.
        #[serde(default)]
        resent: bool,
    },
    /// A replay ended.
    CaughtUp {
        /// The page.
        browser: String,
        /// As in the envelope.
        cursor: String,
        /// The channel of a `subscribe`; none for a `connect`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
    },
    /// A subscription ended.
    Unsubscribed {
        /// The page.
        browser: String,
        /// Which.
        channel: String,
        /// Because the right to it ended: what was not sent of it by then never comes.
        #[serde(default)]
        unasked: bool,
    },
    /// A fresh token was taken.
    Refreshed {
        /// The page.
        browser: String,
        /// When the token was made, in milliseconds since the Unix epoch.
        #[serde(default)]
        issued_ms: u64,
        /// In the place of the old ones.
        grants: Vec<String>,
        /// All that it is subscribed to now.
        channels: Vec<String>,
    },
    /// The page was told, unasked, that continuity is gone.
    Lost {
        /// The page.
        browser: String,
        /// Which.
        channels: Vec<String>,
        /// As in the envelope.
        cursor: String,
    },
    /// A heartbeat came.
    Ping {
        /// The page.
        browser: String,
        /// As in the envelope.
        cursor: String,
    },
    /// The socket is closed, by whom and how ever.
    Closed {
        /// The page.
        browser: String,
    },

    /// From here on nothing is sent, and whatever was had all the time it needs: who is connected has everything.
    Settled,
}

/// Writes a log.
///
/// # Errors
/// What the writer says.
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

/// Reads a log. Empty lines are left out.
///
/// # Errors
/// What the reader says, and a line that is no [`Event`], by its number.
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
