//! Requests of browsers in `lineside-v1`: one JSON object per text frame.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::codes::{BAD_REQUEST, ErrorCode, UNKNOWN_TYPE};
use crate::{After, Cursor};

/// Maximum length of a `ref`, in bytes. Fits a counter or a UUID, and bounds the echo in the reply.
const REF_BYTES_MAX: usize = 64;

/// Length of the escape `\uXXXX`, in bytes.
const ESCAPE_BYTES: usize = 6;

/// Number or short text that matches a reply to its request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ref(Value);

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The first frame of a connection.
    Connect(Connect),
    /// Subscription of one channel, or its replay from a cursor.
    Subscribe {
        /// Channel, token and cursor.
        entry: Subscribe,
        /// Echoed in the reply.
        reference: Option<Ref>,
    },
    /// End of one subscription.
    Unsubscribe {
        /// The channel.
        channel: String,
        /// Echoed in the reply.
        reference: Option<Ref>,
    },
    /// A fresh token for the connection.
    Refresh {
        /// The connection token.
        token: String,
        /// Echoed in the reply.
        reference: Option<Ref>,
    },
    /// Reply to a ping.
    Pong {
        /// Position up to which the page has applied everything. `None` if it is missing or unreadable.
        cursor: Option<Cursor>,
    },
}

/// Token, channels and cursors of a new connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect {
    /// The connection token. Without one only public channels can be subscribed.
    pub token: Option<String>,
    /// Cursor for the token's channels, and for entries of `subscribe` without their own.
    pub after: Option<After>,
    /// Channels in addition to those of the token.
    pub subscribe: Vec<Subscribe>,
    /// Echoed in the error if the connection is connected already.
    pub reference: Option<Ref>,
}

/// Subscription of one channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// Name of the channel, not checked yet.
    pub channel: String,
    /// Channel token, if the connection token does not open the channel.
    pub token: Option<String>,
    /// Cursor to resume after.
    pub after: Option<After>,
}

/// Error of an invalid request, with the parts of the error reply.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestError {
    /// [`BAD_REQUEST`] or [`UNKNOWN_TYPE`].
    pub code: ErrorCode,
    /// The frame's `ref`, if any.
    pub reference: Option<Ref>,
    /// Explanation for people.
    pub message: String,
}

impl Request {
    /// Parses a text frame. Ignores unknown fields. Half of a surrogate pair, which UTF-8 cannot hold, becomes U+0000, so that
    /// only the channel with it is refused, as a bad name.
    ///
    /// # Errors
    /// Returns an error if the text is not a JSON object, its `type` is unknown, or a field is missing or has the wrong
    /// type.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let parsed = serde_json::from_str(text).or_else(|error| {
            let replaced = without_lone_surrogates(text).ok_or(error)?;
            serde_json::from_str(&replaced)
        });
        let object = match parsed {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(bad(None, "not a JSON object".into())),
            Err(error) => return Err(bad(None, format!("not JSON: {error}"))),
        };
        let reference = reference(&object)?;
        let fail = |message: String| bad(reference.clone(), message);
        let request = match required(&object, "type").map_err(fail)?.as_str() {
            "connect" => {
                let connect = Connect::read(&object).map_err(fail)?;
                Self::Connect(Connect {
                    reference,
                    ..connect
                })
            }
            "subscribe" => Self::Subscribe {
                entry: Subscribe::read(&object).map_err(fail)?,
                reference,
            },
            "unsubscribe" => Self::Unsubscribe {
                channel: required(&object, "channel").map_err(fail)?,
                reference,
            },
            "refresh" => Self::Refresh {
                token: required(&object, "token").map_err(fail)?,
                reference,
            },
            "pong" => Self::Pong {
                cursor: object
                    .get("cursor")
                    .and_then(Value::as_str)
                    .and_then(Cursor::parse),
            },
            other => {
                let shown: String = other.chars().take(REF_BYTES_MAX).collect();
                let message = format!("the type {shown:?} is unknown");
                return Err(RequestError {
                    code: UNKNOWN_TYPE,
                    reference,
                    message,
                });
            }
        };
        Ok(request)
    }
}

impl Connect {
    fn read(object: &Map<String, Value>) -> Result<Self, String> {
        let entries = match object.get("subscribe") {
            None | Some(Value::Null) => &[],
            Some(Value::Array(entries)) => entries.as_slice(),
            Some(_) => return Err("subscribe must be an array".into()),
        };
        let subscribe = entries
            .iter()
            .map(|entry| {
                entry
                    .as_object()
                    .ok_or_else(|| "every entry of subscribe must be an object".into())
                    .and_then(Subscribe::read)
            })
            .collect::<Result<_, String>>()?;
        Ok(Self {
            token: optional(object, "token")?,
            after: after(object),
            subscribe,
            reference: None,
        })
    }
}

impl Subscribe {
    fn read(object: &Map<String, Value>) -> Result<Self, String> {
        Ok(Self {
            channel: required(object, "channel")?,
            token: optional(object, "token")?,
            after: after(object),
        })
    }
}

/// Replaces each escape of half a surrogate pair by `\u0000`. `None` if there is no such escape.
fn without_lone_surrogates(text: &str) -> Option<String> {
    let mut replaced = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        let (Some(first), second) = (escaped(text, at), escaped(text, at + ESCAPE_BYTES)) else {
            // Another escape, such as of a backslash.
            at += 2;
            continue;
        };
        let is_low = |code: u16| (0xDC00..0xE000).contains(&code);
        at += match first {
            0xD800..0xDC00 if second.is_some_and(is_low) => 2 * ESCAPE_BYTES,
            0xD800..0xE000 => {
                replaced.push_str(text.get(copied..at)?);
                replaced.push_str("\\u0000");
                copied = at + ESCAPE_BYTES;
                ESCAPE_BYTES
            }
            _ => ESCAPE_BYTES,
        };
    }
    (copied > 0).then(|| replaced + text.get(copied..).unwrap_or_default())
}

/// Code of the escape `\uXXXX` at a position.
fn escaped(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + ESCAPE_BYTES)?.strip_prefix("\\u")?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

fn bad(reference: Option<Ref>, message: String) -> RequestError {
    RequestError {
        code: BAD_REQUEST,
        reference,
        message,
    }
}

fn reference(object: &Map<String, Value>) -> Result<Option<Ref>, RequestError> {
    match object.get("ref") {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Number(_)) => Ok(Some(Ref(value.clone()))),
        Some(value @ Value::String(text)) if text.len() <= REF_BYTES_MAX => {
            Ok(Some(Ref(value.clone())))
        }
        Some(_) => Err(bad(
            None,
            format!("ref must be a number or a string of at most {REF_BYTES_MAX} bytes"),
        )),
    }
}

fn required(object: &Map<String, Value>, field: &str) -> Result<String, String> {
    optional(object, field)?.ok_or_else(|| format!("{field} is missing"))
}

fn optional(object: &Map<String, Value>, field: &str) -> Result<Option<String>, String> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{field} must be a string")),
    }
}

/// Returns the point to resume after. A value of the wrong type is an unreadable cursor, and resumes as lost.
fn after(object: &Map<String, Value>) -> Option<After> {
    match object.get("after") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(After::parse(text)),
        Some(_) => Some(After::Unknown),
    }
}

#[cfg(test)]
mod tests;
