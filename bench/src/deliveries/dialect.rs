//! The protocols that the servers speak with pages.

use std::fmt::Write as _;

use crate::client::upgrade_head;

/// A page that connects.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Its only channel, in the server's form.
    pub(super) channel: String,
    /// Its token, signed with HS256, which names the channel.
    pub(super) token: String,
    /// Cursor to resume after.
    pub(super) after: Option<String>,
}

/// A protocol between a server and its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The upgrade subscribes to the channel of the query. No token is checked.
    Limit,
    Lineside,
    Nchan,
    SocketIo,
    Centrifugo,
    ActionCable,
}

impl Dialect {
    /// Request of the upgrade.
    pub(super) fn request(self, page: &Page) -> String {
        let Page {
            channel,
            token,
            after,
        } = page;
        match self {
            Self::Limit => upgrade_head(&format!("channel={channel}")),
            Self::Lineside => {
                let mut query = format!("token={token}");
                if let Some(after) = after {
                    // Writing to a String does not fail.
                    write!(query, "&after={after}").unwrap_or_default();
                }
                upgrade_head(&query)
            }
            Self::Nchan => upgrade("/sub", &format!("id={channel}"), ""),
            Self::SocketIo => upgrade("/socket.io/", "EIO=4&transport=websocket", ""),
            Self::Centrifugo => upgrade("/connection/websocket", "", ""),
            Self::ActionCable => upgrade(
                "/cable",
                &format!("token={token}"),
                "Sec-WebSocket-Protocol: actioncable-v1-json\r\n",
            ),
        }
    }

    /// Begin of the text after which the page sends its greeting; without one, it sends that after the upgrade.
    pub(super) fn prompt(self) -> Option<&'static [u8]> {
        match self {
            Self::ActionCable => Some(br#"{"type":"welcome""#),
            Self::SocketIo => Some(br#"0{"sid""#),
            Self::Limit | Self::Lineside | Self::Nchan | Self::Centrifugo => None,
        }
    }

    /// Text that the page sends first.
    pub(super) fn greeting(self, page: &Page) -> Option<String> {
        let token = &page.token;
        match self {
            Self::Limit | Self::Lineside | Self::Nchan => None,
            Self::SocketIo => Some(format!(r#"40{{"token":"{token}"}}"#)),
            Self::Centrifugo => Some(format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#)),
            Self::ActionCable => Some(
                r#"{"command":"subscribe","identifier":"{\"channel\":\"BenchChannel\"}"}"#.into(),
            ),
        }
    }

    /// Part of the text that confirms the subscription; without one, the upgrade does.
    pub(super) fn confirmation(self) -> Option<&'static [u8]> {
        match self {
            Self::Limit | Self::Nchan => None,
            Self::Lineside => Some(br#"{"type":"welcome""#),
            Self::SocketIo => Some(br#"42["ready"]"#),
            Self::Centrifugo => Some(br#""connect":{"#),
            Self::ActionCable => Some(br#""type":"confirm_subscription""#),
        }
    }

    /// Answer to a text that asks for a sign of life.
    pub(super) fn answer(self, text: &[u8]) -> Option<&'static [u8]> {
        match (self, text) {
            (Self::SocketIo, b"2") => Some(b"3"),
            (Self::Centrifugo, b"{}") => Some(b"{}"),
            _ => None,
        }
    }
}

/// Request of an upgrade to this path.
fn upgrade(path: &str, query: &str, fields: &str) -> String {
    format!(
        "GET {path}?{query} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    )
}
