use std::io::IoSlice;

use lineside_hub::{ConnectionId, FanOut, HistoryLimits, Hub, PUBLISHERS_MAX, SLICES_MAX};
use lineside_protocol::Epoch;
use lineside_protocol::codes::CloseCode;
use lineside_token::{IdentityDraft, Keys, sign_identity};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::broker::tests::TestPublisher;
use crate::dialects::{Rules, encode};
use crate::keyring::Keyring;
use crate::metrics::ShardCounts;

mod app;
mod pages;
mod route;
mod tokens;

/// `books`, signed with the key `k`.
const BOOKS: &str =
    "ImJvb2tzIg==--2e1f34ed8889c2034e728be6bc07b2fee34099b9862931c68d0018e9d1e7fcde";

/// Wall clock at the start of a test, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_800_000_000_000;

/// One connection of one shard, without sockets.
struct Stage {
    broker: Broker,
    publisher: TestPublisher,
    fan_out: FanOut,
    rules: Rules,
    id: ConnectionId,
    connection: Connection,
    now_ms: u64,
    counts: ShardCounts,
}

impl Stage {
    /// A connection that has begun.
    fn new(decided: &Value) -> Self {
        let mut stage = Self::before_begin(decided);
        assert_eq!(stage.begin(), Ok(vec![json!({"type": "welcome"})]));
        stage
    }

    fn before_begin(decided: &Value) -> Self {
        Self::with(Opening::parse(decided.to_string().as_bytes()).unwrap())
    }

    fn with(opening: Opening) -> Self {
        let epoch = Epoch::new("e").unwrap();
        let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
        let mut fan_out = FanOut::new(hub.cursor(), 1 << 20);
        let id = fan_out.open_framed();
        let broker = Broker::new(hub, Vec::new(), encode);
        let keys = Keys::parse("0123456789abcdef0123456789abcdef").unwrap();
        Self {
            publisher: TestPublisher::greet(&broker, 1),
            broker,
            fan_out,
            rules: Rules {
                keys: Arc::new(Keyring::new(keys)),
                public_channels: Vec::new(),
                heartbeat_seconds: 25,
            },
            id,
            connection: Connection::new(opening, [7; 8]),
            now_ms: 0,
            counts: ShardCounts::default(),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        act(
            &mut self.connection,
            &mut Turn {
                id: self.id,
                shard: 0,
                fan_out: &mut self.fan_out,
                broker: &self.broker,
                rules: &self.rules,
                now: Now {
                    ms: self.now_ms,
                    wall_ms: START_MS + self.now_ms,
                },
                counts: &self.counts,
            },
        )
    }

    /// Runs an event handler, and returns every text frame that was sent, or the code with which the connection ends.
    fn run(
        &mut self,
        act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> Result<(), Ending>,
    ) -> Result<Vec<Value>, CloseCode> {
        self.act(act).map_err(|ending| ending.code)?;
        let texts = self.sent().into_iter().filter(|(first, _)| *first == 0x81);
        let json = |(_, text): (u8, Vec<u8>)| serde_json::from_slice(&text).unwrap();
        Ok(texts.map(json).collect())
    }

    fn begin(&mut self) -> Result<Vec<Value>, CloseCode> {
        self.run(Connection::begin)
    }

    fn command(&mut self, command: &str, identifier: &str) -> Vec<Value> {
        let text = json!({"command": command, "identifier": identifier}).to_string();
        self.run(|connection, turn| connection.receive(&text, turn))
            .unwrap()
    }

    /// Subscribes, and expects the confirmation.
    fn subscribe(&mut self, identifier: &str) {
        let expected = json!({"type": "confirm_subscription", "identifier": identifier});
        assert_eq!(self.command("subscribe", identifier), [expected]);
    }

    /// Publishes, and returns what the connection is sent.
    fn publish(&mut self, channel: &str, payload: &str) -> Result<Vec<Value>, CloseCode> {
        let publication = self.publisher.publish(&self.broker, channel, payload, 0);
        self.dispatch(&publication)
    }

    fn dispatch(&mut self, publication: &Arc<Publication>) -> Result<Vec<Value>, CloseCode> {
        self.fan_out.dispatch(publication);
        let framed = self.fan_out.next_framed().is_some();
        self.run(|connection, turn| {
            if framed {
                connection.publish(publication, turn)?;
            }
            Ok(())
        })
    }

    /// Publishes without a dispatch to the shard.
    fn publish_ahead(&mut self, channel: &str, payload: &str) {
        let publication = self.publisher.publish(&self.broker, channel, payload, 0);
        self.fan_out.dispatch(&publication);
        assert_eq!(self.fan_out.next_framed(), None);
    }

    /// Closes the connection, and opens another one in its place.
    fn reconnect(&mut self, decided: &Value) {
        self.act(|connection, turn| connection.closed(turn));
        self.fan_out.close(self.id);
        self.id = self.fan_out.open_framed();
        let opening = Opening::parse(decided.to_string().as_bytes()).unwrap();
        self.connection = Connection::new(opening, [8; 8]);
        assert_eq!(self.begin(), Ok(vec![json!({"type": "welcome"})]));
    }

    /// Takes every frame that was sent: its first byte and its payload.
    fn sent(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        while let Some(id) = self.fan_out.next_flush() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.fan_out.outbox(id).unwrap().slices(&mut slices);
            let before = bytes.len();
            slices[..count]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.fan_out.advance(id, bytes.len() - before);
        }
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while let [first, length, ..] = rest {
            let (length, start) = match length {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                short => (usize::from(*short), 2),
            };
            frames.push((*first, rest[start..start + length].to_vec()));
            rest = &rest[start + length..];
        }
        frames
    }

    /// Frames that tell the browser why the connection ends.
    fn closing(&self, code: CloseCode) -> Value {
        let [text, close] = self.connection.closing_frames(&code.into());
        assert_eq!(close[..], [0x88, 2, 0x03, 0xe8]);
        serde_json::from_slice(&text[2..]).unwrap()
    }
}

/// What an app decides whose Turbo is stock.
fn stock() -> Value {
    json!({
        "identifier": "Z2lkOi8vYQ", "user": "42", "session": "s", "issued_ms": START_MS,
        "turbo_keys": ["aw=="], "empty": ["HeartbeatChannel"]
    })
}

fn turbo(signed: &str) -> String {
    json!({"channel": "Turbo::StreamsChannel", "signed_stream_name": signed}).to_string()
}

fn message(identifier: &str, message: &Value) -> Value {
    json!({"identifier": identifier, "message": message})
}

#[test]
fn signed_name_opens_its_stream_and_no_other() {
    let mut stage = Stage::new(&stock());
    let books = turbo(BOOKS);
    stage.subscribe(&books);
    let sent = stage.publish("cable:books", r#""<b>""#);
    assert_eq!(sent, Ok(vec![message(&books, &json!("<b>"))]));
    assert_eq!(stage.publish("cable:users", "1"), Ok(vec![]));
    assert_eq!(stage.publish("books", "1"), Ok(vec![]));
}

#[test]
fn stream_with_two_identifiers_is_sent_once_for_each() {
    let mut stage = Stage::new(&stock());
    let one = turbo(BOOKS);
    let two = one.replace('{', "{ ");
    stage.subscribe(&one);
    stage.subscribe(&two);
    let sent = stage.publish("cable:books", "1");
    assert_eq!(
        sent,
        Ok(vec![message(&one, &json!(1)), message(&two, &json!(1))])
    );
    assert_eq!(stage.command("unsubscribe", &one), [] as [Value; 0]);
    assert_eq!(
        stage.publish("cable:books", "2"),
        Ok(vec![message(&two, &json!(2))])
    );
    stage.command("unsubscribe", &two);
    assert_eq!(stage.publish("cable:books", "3"), Ok(vec![]));
    assert_eq!(
        stage.fan_out.subscriptions(stage.id).count(),
        1,
        "remote disconnects"
    );
}

#[test]
fn unsubscribe_and_subscribe_of_a_visit_leave_one_subscription() {
    let mut stage = Stage::new(&stock());
    let books = turbo(BOOKS);
    stage.subscribe(&books);
    stage.command("unsubscribe", &books);
    stage.subscribe(&books);
    assert_eq!(
        stage.command("subscribe", &books),
        [] as [Value; 0],
        "confirmed once"
    );
    assert_eq!(stage.publish("cable:books", "1").unwrap().len(), 1);
}

#[test]
fn names_that_the_key_has_not_signed_are_rejected() {
    let forged = BOOKS.replace("fcde", "fcdf");
    let without = json!({"channel": "Turbo::StreamsChannel"}).to_string();
    let mut stage = Stage::new(&stock());
    for identifier in [turbo(&forged), turbo(""), without] {
        let expected = json!({"type": "reject_subscription", "identifier": identifier});
        assert_eq!(stage.command("subscribe", &identifier), [expected]);
    }
    assert_eq!(stage.publish("cable:books", "1"), Ok(vec![]));
}

#[test]
fn turbo_is_left_to_the_app_without_keys() {
    let mut stage = Stage::new(&json!({"identifier": "", "issued_ms": START_MS}));
    assert_eq!(stage.command("subscribe", &turbo(BOOKS)), [] as [Value; 0]);
    assert_eq!(stage.publish("cable:books", "1"), Ok(vec![]));
}

#[test]
fn what_rails_ignores_is_answered_by_silence() {
    let mut stage = Stage::new(&stock());
    for (command, identifier) in [
        ("subscribe", r#"{"channel":"UnknownChannel"}"#),
        ("subscribe", "no JSON"),
        ("subscribe", "[]"),
        ("unsubscribe", r#"{"channel":"HeartbeatChannel"}"#),
        ("message", r#"{"channel":"HeartbeatChannel"}"#),
        ("whisper", r#"{"channel":"HeartbeatChannel"}"#),
    ] {
        assert_eq!(
            stage.command(command, identifier),
            [] as [Value; 0],
            "{command} {identifier}"
        );
    }
    stage.subscribe(r#"{"channel":"HeartbeatChannel"}"#);
}

#[test]
fn rejected_connection_is_told_unauthorized_and_nothing_else() {
    let mut stage = Stage::before_begin(&json!({"rejected": true}));
    assert_eq!(stage.begin(), Err(codes::CLOSE_TOKEN_INVALID));
    let expected = json!({"type": "disconnect", "reason": "unauthorized", "reconnect": false});
    assert_eq!(stage.closing(codes::CLOSE_TOKEN_INVALID), expected);
    assert!(!stage.connection.is_connected());
}

#[test]
fn remote_disconnect_ends_connections_with_its_identifier() {
    for reconnect in [true, false] {
        let mut stage = Stage::new(&stock());
        let payload = json!({"type": "disconnect", "reconnect": reconnect}).to_string();
        assert_eq!(
            stage.publish("cable:action_cable/other", &payload),
            Ok(vec![])
        );
        assert_eq!(
            stage.publish("cable:action_cable/Z2lkOi8vYQ", "1"),
            Ok(vec![])
        );
        let ended = stage.publish("cable:action_cable/Z2lkOi8vYQ", &payload);
        assert_eq!(ended, Err(codes::CLOSE_TOKEN_REVOKED));
        let expected = json!({"type": "disconnect", "reason": "remote", "reconnect": reconnect});
        assert_eq!(stage.closing(codes::CLOSE_TOKEN_REVOKED), expected);
    }
}

#[test]
fn sign_out_ends_connections_of_the_session_that_were_decided_before() {
    let mut stage = Stage::new(&stock());
    for (user, session, until_ms, is_ended) in [
        ("42", "other", START_MS, false),
        ("42", "s", START_MS - 1, false),
        ("42", "s", START_MS, true),
        ("42", "", START_MS, true),
    ] {
        let revocation = stage
            .publisher
            .revoke(&stage.broker, user, session, until_ms);
        let ended = stage.run(|connection, turn| connection.revoke(&revocation, turn));
        assert_eq!(ended.is_err(), is_ended, "{session} {until_ms}");
    }
    let mut late = Stage::before_begin(&stock());
    late.publisher.revoke(&late.broker, "42", "", START_MS);
    assert_eq!(late.begin(), Err(codes::CLOSE_TOKEN_REVOKED));
}

#[test]
fn session_of_the_identity_counts_if_the_app_names_none() {
    let mut decided = stock();
    decided["session"] = Value::Null;
    for (sub, is_ended) in [("42", true), ("43", false)] {
        let mut stage = Stage::before_begin(&decided);
        let draft = IdentityDraft {
            sub: sub.into(),
            sid: Some("s".into()),
            identifier: None,
            ttl_s: 60,
        };
        let keys = stage.rules.keys.current();
        let identity = sign_identity(draft, &keys, START_MS).unwrap();
        stage.connection.opening.identities = vec!["foreign".into(), identity.into()];
        stage.begin().unwrap();
        let revocation = stage.publisher.revoke(&stage.broker, "42", "s", START_MS);
        let ended = stage.run(|connection, turn| connection.revoke(&revocation, turn));
        assert_eq!(ended.is_err(), is_ended, "{sub}");
    }
}

#[test]
fn one_ping_in_eight_is_answered_by_the_browser() {
    let mut stage = Stage::new(&stock());
    stage.now_ms = 4_700;
    for number in 1..=16 {
        let is_answered = stage.act(|connection, turn| connection.ping(true, turn));
        assert_eq!(is_answered, number % 8 == 0);
        let sent = stage.sent();
        let ping: Value = serde_json::from_slice(&sent[0].1).unwrap();
        let seconds = START_MS / 1000 + 4;
        assert_eq!(ping, json!({"type": "ping", "message": seconds}));
        assert_eq!(sent.get(1).is_some_and(|it| it.0 == 0x89), is_answered);
    }
    for _ in 0..9 {
        assert!(!stage.act(|connection, turn| connection.ping(false, turn)));
    }
}

#[test]
fn option_that_cannot_be_read_is_refused_with_the_reason() {
    for (json, part) in [
        ("", "EOF"),
        (r#"{"issued_ms":"x"}"#, "issued_ms"),
        (r#"{"turbo_keys":["aw==","?"]}"#, "key 1"),
    ] {
        let error = Opening::parse(json.as_bytes()).unwrap_err();
        assert!(
            error.contains(part) || error.contains("invalid type"),
            "{error}"
        );
    }
}
