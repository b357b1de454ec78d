//! What a browser sends in `lineside-v1`: one JSON object a text frame.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::After;
use crate::codes::{BAD_REQUEST, ErrorCode, UNKNOWN_TYPE};

/// Longest text of a `ref`, in bytes: it is echoed, and a counter or a UUID fits many times.
const REF_BYTES_MAX: usize = 64;

/// A number or short text by which a client matches an answer to its request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Ref(Value);

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// The first frame of a connection.
    Connect(Connect),
    /// One more channel, or one channel again from a cursor.
    Subscribe {
        /// Channel, token and cursor.
        entry: Subscribe,
        /// To be echoed.
        reference: Option<Ref>,
    },
    /// One channel less.
    Unsubscribe {
        /// The channel.
        channel: String,
        /// To be echoed.
        reference: Option<Ref>,
    },
    /// A fresh token for the connection.
    Refresh {
        /// The connection token.
        token: String,
        /// To be echoed.
        reference: Option<Ref>,
    },
    /// Answers a ping.
    Pong,
}

/// Who connects, and what to resume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect {
    /// The connection token; without one only public channels open.
    pub token: Option<String>,
    /// Where the channels of the token resume, and those of `subscribe` without a cursor of their own.
    pub after: Option<After>,
    /// Further channels.
    pub subscribe: Vec<Subscribe>,
    /// To be echoed when it comes too late.
    pub reference: Option<Ref>,
}

/// One channel that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// The channel, still untested.
    pub channel: String,
    /// A channel token, where the connection's own does not open it.
    pub token: Option<String>,
    /// Where this channel resumes.
    pub after: Option<After>,
}

/// A frame that is no request; its parts go into the error that answers it.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestError {
    /// [`BAD_REQUEST`] or [`UNKNOWN_TYPE`].
    pub code: ErrorCode,
    /// The frame's `ref`, if it had one.
    pub reference: Option<Ref>,
    /// For people.
    pub message: String,
}

impl Request {
    /// Reads a text frame. Unknown fields are ignored.
    ///
    /// # Errors
    /// When it is not a JSON object, its `type` is unknown, or a field is missing or of the wrong type.
    pub fn parse(text: &str) -> Result<Self, RequestError> {
        let object = match serde_json::from_str(text) {
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
            "pong" => Self::Pong,
            other => {
                let shown: String = other.chars().take(REF_BYTES_MAX).collect();
                let message = format!("the type {shown:?} is not known here");
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
                    .ok_or_else(|| "subscribe must hold objects".into())
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
            format!("ref must be a number or a text of at most {REF_BYTES_MAX} bytes"),
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
        Some(_) => Err(format!("{field} must be a text")),
    }
}

/// A cursor of any wrong type is as unreadable as any wrong text: it resumes as lost.
fn after(object: &Map<String, Value>) -> Option<After> {
    match object.get("after") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(After::parse(text)),
        Some(_) => Some(After::Unknown),
    }
}

#[cfg(test)]
mod tests;
