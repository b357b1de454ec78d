//! Frames of Action Cable's protocol `actioncable-v1-json`, as Rails' server and `@rails/actioncable` speak it.
//!
//! An identifier is the JSON text by which a browser names a subscription. It comes back byte for byte: replies contain the
//! JSON string as it was sent.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::Cursor;
use crate::codes::CloseCode;
use crate::envelope::{self, FINAL_CLOSE, FINAL_TEXT, frame};

/// Name of the WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "actioncable-v1-json";

/// Close code of a connection that the server ends (RFC 6455 §7.4.1), as Rails' server sends it.
const CLOSE_NORMAL: u16 = 1000;

/// First close code of `lineside-v1`. Clients of Action Cable do not know them.
const CLOSE_OWN: u16 = 4000;

/// Name of the member of an identifier that holds the page's cursor. The browser makes it from the attribute
/// `data-lineside-after` of the element.
const AFTER: &str = "lineside_after";

/// Name of the member of an identifier that holds the page's key, from the attribute `data-lineside-page`.
const PAGE: &str = "lineside_page";

/// Command of a browser.
#[derive(Debug)]
pub struct Command {
    /// What to do.
    pub kind: CommandKind,
    /// The subscription.
    pub identifier: Identifier,
    /// Text of a message for the channel's class. Absent in other commands.
    pub data: Option<String>,
    /// Cursor up to which the page has applied everything of the subscription. Only Lineside's own module sends it.
    pub after: Option<String>,
}

/// Kind of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Begins a subscription.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// Calls an action of the channel's class.
    Message,
}

/// Name of a subscription.
#[derive(Clone, Debug)]
pub struct Identifier {
    /// The text. Two commands with equal texts name the same subscription.
    pub text: String,
    /// The JSON string as the browser sent it.
    pub raw: Box<RawValue>,
}

/// A command as it is sent.
#[derive(Deserialize)]
struct RawCommand<'a> {
    command: CommandKind,
    #[serde(borrow)]
    identifier: &'a RawValue,
    #[serde(default)]
    data: Value,
    #[serde(default, rename = "lineside_after")]
    after: Value,
}

impl Command {
    /// Reads a text message. `None` for everything that Rails' server logs and ignores: text that is no JSON, an unknown
    /// command, and an identifier that is no string.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let RawCommand {
            command: kind,
            identifier,
            data,
            after,
        } = serde_json::from_str(text).ok()?;
        let string = |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        Some(Self {
            kind,
            identifier: Identifier {
                text: serde_json::from_str(identifier.get()).ok()?,
                raw: identifier.to_owned(),
            },
            data: string(data),
            after: string(after),
        })
    }

    /// Whether a text message is that of Lineside's own module, `{"command":"lineside"}`: it asks for cursors in the frames of
    /// its connection, and is told of lost publications. Rails ignores it.
    #[must_use]
    pub fn asks_for_cursors(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Hello<'a> {
            #[serde(borrow)]
            command: std::borrow::Cow<'a, str>,
        }
        serde_json::from_str(text).is_ok_and(|hello: Hello<'_>| hello.command == "lineside")
    }
}

/// Members of an identifier that the sidecar reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Name of the channel's class.
    pub channel: String,
    /// Signed name of a stream of `Turbo::StreamsChannel`.
    pub signed_stream_name: Option<String>,
    /// Channel token, for the channel `Lineside`.
    pub token: Option<String>,
    /// Cursor of the page.
    pub after: Option<String>,
    /// Random key of the page.
    pub page: Option<String>,
}

impl Identifier {
    /// Reads the parameters. `None` if the text is not a JSON object with the name of a channel's class.
    #[must_use]
    pub fn parameters(&self) -> Option<Parameters> {
        let object: Map<String, Value> = serde_json::from_str(&self.text).ok()?;
        let member = |name| object.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Parameters {
            channel: member("channel")?,
            signed_stream_name: member("signed_stream_name"),
            token: member("token"),
            after: member(AFTER),
            page: member(PAGE),
        })
    }
}

/// Frame from the server.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply<'a> {
    /// First frame of an accepted connection.
    Welcome,
    /// Sent every three seconds.
    Ping {
        /// Seconds since the Unix epoch.
        message: u64,
    },
    /// The subscription has begun.
    ConfirmSubscription {
        /// The identifier, as the browser sent it.
        identifier: &'a RawValue,
        /// Cursor after which its messages begin, if the connection has asked for cursors.
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<Cursor>,
    },
    /// The subscription is refused.
    RejectSubscription {
        /// The identifier, as the browser sent it.
        identifier: &'a RawValue,
    },
    /// Publications after the page's cursor are missing. Sent behind the confirmation, if the connection has asked for cursors.
    LinesideLost {
        /// The identifier, as the browser sent it.
        identifier: &'a RawValue,
        /// Cursor after which its messages begin.
        cursor: Cursor,
    },
    /// The connection ends.
    Disconnect {
        /// Reason, which the client logs.
        reason: &'a str,
        /// Whether the client may connect again by itself.
        reconnect: bool,
    },
}

impl Reply<'_> {
    /// Encodes the frame as a WebSocket text frame.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        frame(FINAL_TEXT, 256, |out| envelope::json(out, self))
    }
}

/// Head of a message with its cursor, `{"identifier":…,"cursor":"…","message":`. `prefix` is the one of [`message_prefix`]. See
/// [`message_head`].
#[must_use]
pub fn message_head_with_cursor(prefix: &[u8], body: &[u8]) -> (Bytes, usize) {
    const MESSAGE: &[u8] = br#"message":"#;
    const CURSOR: &[u8] = br#"cursor":""#;
    let from = envelope::payload_start(body);
    let cursor = envelope::cursor(body);
    let identifier = prefix.strip_suffix(MESSAGE).unwrap_or(prefix);
    let beginning = [identifier, CURSOR, cursor, b"\",\"", MESSAGE].concat();
    let length = beginning.len() + body.len() - from;
    (envelope::frame_head(FINAL_TEXT, length, &beginning), from)
}

/// Encodes JSON of the app as a WebSocket text frame.
#[must_use]
pub fn text_frame(json: &str) -> Bytes {
    frame(FINAL_TEXT, json.len(), |out| {
        out.extend_from_slice(json.as_bytes());
    })
}

/// What a text of the app tells the browser, as far as the sidecar keeps it.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AppText {
    /// The subscription has begun.
    ConfirmSubscription {
        /// Text of the identifier.
        identifier: String,
    },
    /// The subscription is refused.
    RejectSubscription {
        /// Text of the identifier.
        identifier: String,
    },
    /// The connection ends.
    Disconnect {
        /// Reason for the browser.
        #[serde(default)]
        reason: Option<String>,
        /// Whether the browser may connect again by itself.
        #[serde(default)]
        reconnect: Option<bool>,
    },
}

impl AppText {
    /// Reads a text. `None` for a message, and for anything else.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// Returns the WebSocket close frame that follows a [`Reply::Disconnect`]. Only codes of RFC 6455 are sent as they are.
#[must_use]
pub fn close(code: CloseCode) -> Bytes {
    let number = if code.number < CLOSE_OWN {
        code.number
    } else {
        CLOSE_NORMAL
    };
    frame(FINAL_CLOSE, 2, |out| {
        out.extend_from_slice(&number.to_be_bytes());
    })
}

/// Beginning of a subscription's messages, in front of the payload.
#[must_use]
pub fn message_prefix(identifier: &str) -> Bytes {
    let mut prefix = Vec::with_capacity(identifier.len() + 27);
    prefix.extend_from_slice(br#"{"identifier":"#);
    prefix.extend_from_slice(identifier.as_bytes());
    prefix.extend_from_slice(br#","message":"#);
    prefix.into()
}

/// Head of a message: the WebSocket head and the [prefix](message_prefix). `body` is a publication's frame in `lineside-v1`.
/// Its end, the payload and the brace behind it, also ends the message. Returns the head, and the number of bytes of the body
/// in front of that end.
#[must_use]
pub fn message_head(prefix: &[u8], body: &[u8]) -> (Bytes, usize) {
    let from = envelope::payload_start(body);
    let length = prefix.len() + body.len() - from;
    (envelope::frame_head(FINAL_TEXT, length, prefix), from)
}

/// What the app decided about a connection, in the hand-off of its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct CableConnect {
    /// Rails' `connection_identifier`, which remote disconnects name. Empty if the connection is identified by nothing.
    #[serde(default)]
    pub identifier: String,
    /// The app rejected the connection.
    #[serde(default)]
    pub rejected: bool,
    /// Lineside's id of the user, if the connection has one.
    #[serde(default)]
    pub user: Option<String>,
    /// Lineside's id of the user's session.
    #[serde(default)]
    pub session: Option<String>,
    /// Time of the decision, in milliseconds since the Unix epoch.
    #[serde(default)]
    pub issued_ms: u64,
    /// Keys of signed stream names, in standard base64. Empty if the app decides about `Turbo::StreamsChannel` itself.
    #[serde(default)]
    pub turbo_keys: Vec<String>,
    /// Names of channel classes without code of their own.
    #[serde(default)]
    pub empty: Vec<String>,
    /// Text from which the app makes the connection again. Absent if no channel runs in the app.
    #[serde(default)]
    pub context: Option<String>,
    /// The connection's class has a `disconnect` of its own.
    #[serde(default)]
    pub disconnects: bool,
    /// Name of the process, as in the hello of its app link.
    #[serde(default)]
    pub process: Option<String>,
}

#[cfg(test)]
mod tests;
