//! A browser that follows docs/protocol.md, on the WebSocket implementation of `tungstenite`.

use std::io::ErrorKind;
use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

/// One WebSocket connection, after its upgrade.
pub(crate) struct Browser {
    socket: WebSocket<TcpStream>,
    /// Newest cursor received, as a client keeps it.
    pub(crate) cursor: String,
    /// The `welcome`; null before it is received.
    pub(crate) welcome: Value,
}

/// A frame received by a browser, or the end of its connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Received {
    Envelope(Value),
    /// A WebSocket ping; its pong has been sent.
    Ping,
    Close(u16, String),
    /// The TCP connection was closed or reset.
    End,
}

/// Close of a connection by the sidecar: the `disconnect` envelope and the close frame.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Envelopes received before `disconnect`.
    pub(crate) before: Vec<Value>,
    pub(crate) code: u16,
    pub(crate) reason: String,
    /// The text for people.
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

    /// Receives one envelope, ping or close; fails after the time-out of the socket.
    pub(crate) fn receive(&mut self) -> Received {
        match self.socket.read() {
            Ok(Message::Text(text)) => Received::Envelope(self.parse(&text)),
            Ok(Message::Ping(_)) => {
                // Sends the pong.
                self.socket.flush().unwrap();
                Received::Ping
            }
            Ok(Message::Close(Some(frame))) => {
                Received::Close(frame.code.into(), frame.reason.to_string())
            }
            // RFC 6455 §7.1.5: 1005 stands for a close frame without a code.
            Ok(Message::Close(None)) => Received::Close(1005, String::new()),
            Ok(other) => panic!("expected a text frame, received {other:?}"),
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => Received::End,
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => Received::End,
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => Received::End,
            Err(error) => panic!("nothing received: {error}"),
        }
    }

    /// Parses an envelope and keeps its cursor, as docs/protocol.md, "Cursor and resume", tells clients to do. Cursors of
    /// a single channel are left to the test.
    fn parse(&mut self, text: &str) -> Value {
        let envelope: Value = serde_json::from_str(text).expect(text);
        let of_one_channel = envelope["type"] == "subscribed"
            || envelope["type"] == "caught_up" && envelope.get("channel").is_some();
        if let Some(cursor) = envelope["cursor"].as_str().filter(|_| !of_one_channel) {
            cursor.clone_into(&mut self.cursor);
        }
        envelope
    }

    /// Receives the next envelope that is not a ping.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.receive() {
                Received::Envelope(envelope) if envelope["type"] == "ping" => {}
                Received::Envelope(envelope) => return envelope,
                Received::Ping => {}
                end @ (Received::Close(..) | Received::End) => {
                    panic!("expected an envelope, received {end:?}")
                }
            }
        }
    }

    /// Receives the next application ping; any other envelope is a failure.
    pub(crate) fn next_ping(&mut self) -> Value {
        loop {
            match self.receive() {
                Received::Envelope(envelope) if envelope["type"] == "ping" => return envelope,
                Received::Ping => {}
                other => panic!("expected a ping, received {other:?}"),
            }
        }
    }

    /// Receives the `welcome` and keeps it.
    pub(crate) fn expect_welcome(mut self) -> Self {
        self.welcome = self.next();
        assert_eq!(self.welcome["type"], "welcome", "{}", self.welcome);
        self
    }

    /// Receives exactly this envelope.
    #[track_caller]
    pub(crate) fn expect(&mut self, envelope: Value) {
        assert_eq!(self.next(), envelope);
    }

    /// Receives a message with exactly these fields; returns its cursor.
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

    /// Receives an error with this code; returns the envelope.
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

    /// Subscribes and receives `subscribed`; returns that envelope.
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

    /// Receives everything up to the end, which must be `disconnect` and a close frame with the same code and reason.
    #[track_caller]
    pub(crate) fn expect_close(&mut self) -> Ending {
        let mut before = Vec::new();
        loop {
            match self.receive() {
                Received::Envelope(envelope) => before.push(envelope),
                Received::Ping => {}
                Received::Close(code, reason) => {
                    let disconnect = before.pop().expect("no disconnect before the close frame");
                    assert_eq!(disconnect["type"], "disconnect", "{disconnect}");
                    assert_eq!(disconnect["code"], code);
                    assert_eq!(disconnect["reason"], json!(reason));
                    let message = disconnect["message"].as_str().map(ToOwned::to_owned);
                    let after_ms = disconnect["after_ms"].as_u64();
                    assert_eq!(self.receive(), Received::End);
                    return Ending {
                        before,
                        code,
                        reason,
                        message,
                        after_ms,
                    };
                }
                Received::End => panic!("no close frame; received before: {before:?}"),
            }
        }
    }

    /// Closes the connection as a page does, and waits for the answer.
    pub(crate) fn close(mut self) {
        self.socket.close(None).unwrap();
        while self.receive() != Received::End {}
    }
}
