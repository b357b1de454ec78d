//! Frames of an app link whose process is a *runner*: it runs the app's channel classes for connections of Action Cable.
//!
//! The sidecar sends one [`Command`] of a connection at a time, and the runner answers it with [`Done`]. Before, in between and
//! after, the runner sends what the channels do: [`Transmit`], [`Stream`] and [`StopStream`]. All bodies are JSON objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(super) const COMMAND: u8 = 180;
pub(super) const DONE: u8 = 51;
pub(super) const TRANSMIT: u8 = 52;
pub(super) const STREAM: u8 = 53;
pub(super) const STOP_STREAM: u8 = 54;
pub(super) const LEFT: u8 = 55;

/// Maximum length of a [`Transmit`] text, in bytes: a payload of maximum size with an identifier.
pub const TRANSMIT_BYTES_MAX: usize = 2 * crate::PAYLOAD_BYTES_MAX;

/// Maximum length of the variables of a channel object, in bytes. A runner sends no longer ones, and the sidecar keeps none.
pub const VARIABLES_BYTES_MAX: usize = 1024;

/// Command for a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The connection.
    pub connection: String,
    /// Number of the command within the connection, from 1. Zero for `close`.
    pub id: u64,
    /// What to do.
    pub command: CommandKind,
    /// The subscription. Absent in `close`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Text of a `message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Text from which the connection is made. Sent with the first command that this runner gets for the connection.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "shared_text")]
    pub context: Option<Arc<str>>,
    /// Subscriptions of a `close` that the runner has no channel objects for: those of a runner that died.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<String>,
    /// Variables of the channel object of an `end`, as its runner sent them last in [`Done`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<String>,
    /// The same for those of the `ended` subscriptions that have some, by identifier.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ended_variables: BTreeMap<String, String>,
}

/// Kind of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// Make a channel object, and run its `subscribed`.
    Subscribe,
    /// Run the action that the data names.
    Message,
    /// Run `unsubscribed` of the channel object, and drop it.
    Unsubscribe,
    /// Run `unsubscribed` of a subscription whose channel object died with its runner, without `subscribed`.
    End,
    /// The browser has left: run `unsubscribed` of all channel objects, and the connection's `disconnect`.
    Close,
}

/// The runner has run a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The connection.
    pub connection: String,
    /// Number of the command.
    pub id: u64,
    /// Instance variables of the channel object after the command, in a form that only runners read, at most
    /// [`VARIABLES_BYTES_MAX`] long. Sent if they have changed. Should the runner die, they are given to the one that runs
    /// `unsubscribed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<String>,
}

/// Text for the browser: a message, a confirmation, a rejection or a disconnect in the form of Action Cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transmit {
    /// The connection.
    pub connection: String,
    /// JSON.
    pub text: String,
}

/// A subscription receives a stream from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// The connection.
    pub connection: String,
    /// The subscription.
    pub identifier: String,
    /// Name of the stream, without `cable:`.
    pub stream: String,
}

/// A subscription no longer receives a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopStream {
    /// The connection.
    pub connection: String,
    /// The subscription.
    pub identifier: String,
    /// Name of the stream, without `cable:`.
    pub stream: String,
}

/// The runner stops, and has run `unsubscribed` of all channel objects of a connection. Another runner makes them anew. Commands
/// that the runner has not answered with [`Done`] before are not run by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The connection.
    pub connection: String,
}

/// Text that several values share, as a JSON string.
mod shared_text {
    use super::{Arc, Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        text: &Option<Arc<str>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        text.as_deref().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<str>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(Arc::from))
    }
}
