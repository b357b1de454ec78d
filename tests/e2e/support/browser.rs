//! A browser as docs/protocol.md has it, on a WebSocket that is not ours.

use std::io::ErrorKind;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

/// One socket, from the upgrade on.
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    /// The newest cursor that it was given, as a client keeps it.
    pub(crate) cursor: String,
    /// The welcome, once it came.
    pub(crate) welcome: Value,
}

/// One thing that a socket says.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Envelope(Value),
    /// A WebSocket ping; the pong is under way.
    Ping,
    Close(u16, String),
    /// The TCP connection ended or was reset.
    End,
}

/// How the server ended a connection.
#[derive(Debug)]
pub(crate) struct Ending {
    /// What came before it.
    pub(crate) before: Vec<Value>,
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// What it says to people.
    pub(crate) message: Option<String>,
    pub(crate) after_ms: Option<u64>,
}

impl Browser {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            socket: WebSocket::from_raw_socket(stream, Role::Client, None),
            cursor: String::new(),
            welcome: Value::Null,
        }
    }

    pub(crate) fn send(&mut self, request: Value) {
        self.send_text(&request.to_string());
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    /// The next thing of any kind, within the socket's time-out. Envelopes have been looked at for their cursor.
    pub(crate) fn hear(&mut self) -> Heard {
        match self.socket.read() {
            Ok(Message::Text(text)) => Heard::Envelope(self.understand(&text)),
            Ok(Message::Ping(_)) => {
                // Sends the pong.
                self.socket.flush().unwrap();
                Heard::Ping
            }
            Ok(Message::Close(Some(frame))) => {
                Heard::Close(frame.code.into(), frame.reason.to_string())
            }
            // RFC 6455 §7.1.5: 1005 stands for a close frame without a code.
            Ok(Message::Close(None)) => Heard::Close(1005, String::new()),
            Ok(other) => panic!("a server of text sends {other:?}"),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Heard::End,
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => Heard::End,
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Heard::End,
            Err(error) => panic!("nothing was heard: {error}"),
        }
    }

    /// Keeps the cursor that a client would keep: docs/protocol.md, "Cursor and resume". A channel's own is its business.
    fn understand(&mut self, text: &str) -> Value {
        let envelope: Value = serde_json::from_str(text).expect(text);
        let of_one_channel = envelope["type"] == "subscribed"
            || envelope["type"] == "caught_up" && envelope.get("channel").is_some();
        if let Some(cursor) = envelope["cursor"].as_str().filter(|_| !of_one_channel) {
            cursor.clone_into(&mut self.cursor);
        }
        envelope
    }

    /// The next envelope, whatever it is but a ping.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.hear() {
                Heard::Envelope(envelope) if envelope["type"] == "ping" => {}
                Heard::Envelope(envelope) => return envelope,
                Heard::Ping => {}
                end @ (Heard::Close(..) | Heard::End) => panic!("an envelope, and not {end:?}"),
            }
        }
    }

    /// The next application ping.
    pub(crate) fn next_ping(&mut self) -> Value {
        loop {
            match self.hear() {
                Heard::Envelope(envelope) if envelope["type"] == "ping" => return envelope,
                Heard::Ping => {}
                other => panic!("a ping, and not {other:?}"),
            }
        }
    }

    pub(crate) fn take_welcome(mut self) -> Self {
        self.welcome = self.next();
        assert_eq!(self.welcome["type"], "welcome", "{}", self.welcome);
        self
    }

    /// The next envelope must be exactly this.
    #[track_caller]
    pub(crate) fn expect(&mut self, envelope: Value) {
        assert_eq!(self.next(), envelope);
    }

    /// The next envelope must be this message, and nothing more may stand in it; gives its cursor.
    #[track_caller]
    pub(crate) fn expect_message(&mut self, channel: &str, data: Value) -> String {
        let envelope = self.next();
        let cursor = envelope["cursor"].clone();
        assert_eq!(
            envelope,
            json!({"type": "message", "channel": channel, "cursor": cursor, "data": data})
        );
        cursor.as_str().unwrap().to_owned()
    }

    /// The next envelope must be an error with this code; gives it whole.
    #[track_caller]
    pub(crate) fn expect_error(&mut self, code: &str) -> Value {
        let envelope = self.next();
        assert_eq!(
            (&envelope["type"], &envelope["code"]),
            (&json!("error"), &json!(code)),
            "{envelope}"
        );
        let message = envelope["message"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{envelope}");
        envelope
    }

    /// Subscribes, and must get it; gives the answer.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, mut entry: Value) -> Value {
        entry["type"] = json!("subscribe");
        let channel = entry["channel"].clone();
        self.send(entry);
        let answer = self.next();
        assert_eq!(
            (&answer["type"], &answer["channel"]),
            (&json!("subscribed"), &channel),
            "{answer}"
        );
        answer
    }

    /// Hears the connection to its end, which must be told twice alike: by `disconnect`, and by the close frame.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Ending {
        let mut before = Vec::new();
        loop {
            match self.hear() {
                Heard::Envelope(envelope) => before.push(envelope),
                Heard::Ping => {}
                Heard::Close(code, reason) => {
                    let told = before.pop().expect("a disconnect precedes the close frame");
                    assert_eq!(told["type"], "disconnect", "{told}");
                    assert_eq!(told["code"], code);
                    assert_eq!(told["reason"], json!(reason));
                    let message = told["message"].as_str().map(ToOwned::to_owned);
                    let after_ms = told["after_ms"].as_u64();
                    assert_eq!(self.hear(), Heard::End);
                    return Ending {
                        before,
                        code,
                        reason,
                        message,
                        after_ms,
                    };
                }
                Heard::End => panic!("no close frame; before it {before:?}"),
            }
        }
    }

    /// Closes as a page does, and hears the answer.
    pub(crate) fn leave(mut self) {
        self.socket.close(None).unwrap();
        while self.hear() != Heard::End {}
    }
}
