use std::io::IoSlice;

use lineside_hub::{
    ConnectionId, FanOut, HistoryLimits, Hub, PUBLISHERS_MAX, Publication, SLICES_MAX,
};
use lineside_protocol::Epoch;
use lineside_token::{ChannelDraft, ConnectionDraft, Grant, Keys, sign_channel, sign_connection};
use serde_json::{Value, json};

use super::*;
use crate::broker::Broker;
use crate::broker::tests::TestPublisher;
use crate::dialects::Rules;
use crate::keyring::Keyring;
use crate::metrics::ShardCounts;

mod rights;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

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
    wall_ms: u64,
    /// Time by which the wall clock was set back.
    behind_ms: u64,
    counts: ShardCounts,
}

impl Stage {
    fn new() -> Self {
        let epoch = Epoch::new("e").unwrap();
        let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
        let mut fan_out = FanOut::new(hub.cursor(), 1 << 20);
        let id = fan_out.open();
        let broker = Broker::new(hub, Vec::new(), encode);
        let rules = Rules {
            keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
            public_channels: vec![Grant::parse("public:*").unwrap()],
            heartbeat_seconds: 25,
        };
        Self {
            publisher: TestPublisher::greet(&broker, 1),
            broker,
            fan_out,
            rules,
            id,
            connection: Connection::new(Opening::default(), [7; 8]),
            wall_ms: START_MS,
            behind_ms: 0,
            counts: ShardCounts::default(),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        let Self {
            broker,
            fan_out,
            rules,
            id,
            connection,
            wall_ms,
            behind_ms,
            counts,
            ..
        } = self;
        act(
            connection,
            &mut Turn {
                id: *id,
                fan_out,
                broker,
                rules,
                now: Now {
                    // The tests begin an hour after the start of the sidecar.
                    ms: 3_600_000 + *wall_ms + *behind_ms - START_MS,
                    wall_ms: *wall_ms,
                },
                counts,
            },
        )
    }

    fn expires_in_ms(&mut self) -> Option<u64> {
        self.act(|connection, turn| connection.expires_in_ms(turn.now))
    }

    /// Sets the wall clock back.
    fn set_back(&mut self, ms: u64) {
        self.wall_ms -= ms;
        self.behind_ms += ms;
    }

    /// Sends a request, and returns every text frame that it leads to.
    fn request(&mut self, request: &Value) -> Result<Vec<Value>, CloseCode> {
        self.text(&request.to_string())
    }

    /// Receives a text frame, and takes what was sent.
    fn text(&mut self, text: &str) -> Result<Vec<Value>, CloseCode> {
        self.act(|connection, turn| connection.receive(text, turn))
            .map_err(|ending| ending.code)?;
        Ok(self.sent())
    }

    /// Takes every text frame that was sent to the connection.
    fn sent(&mut self) -> Vec<Value> {
        let frames = self.frames();
        let is_text = |frame: &(u8, Vec<u8>)| frame.0 == 0x81;
        assert!(frames.iter().all(is_text), "only text frames");
        let envelope = |(_, payload): (u8, Vec<u8>)| serde_json::from_slice(&payload).unwrap();
        frames.into_iter().map(envelope).collect()
    }

    /// Takes every frame that was sent to the connection: its first byte and its payload.
    fn frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let mut bytes = Vec::new();
        while let Some(id) = self.fan_out.next_flush() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let outbox = self.fan_out.outbox(id).unwrap();
            let count = outbox.slices(&mut slices);
            let written: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            slices[..count]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.fan_out.advance(id, written);
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
        assert!(rest.is_empty(), "only complete frames");
        frames
    }

    /// Publishes to a channel. The shard does not dispatch it.
    fn publish(&mut self, channel: &str) -> Arc<Publication> {
        self.publisher.publish(&self.broker, channel, "1", 0)
    }

    /// Publishes to a channel, and dispatches it.
    fn deliver(&mut self, channel: &str) {
        let publication = self.publish(channel);
        self.fan_out.dispatch(&publication);
    }

    fn token(&self, sub: Option<&str>, channels: &[&str], ttl_s: u64) -> String {
        let draft = ConnectionDraft {
            sub: sub.map(str::to_owned),
            sid: None,
            channels: channels
                .iter()
                .map(|channel| (*channel).to_owned())
                .collect(),
            allow: vec!["chat:*".into()],
            ttl_s,
        };
        sign_connection(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }

    fn channel_token(&self, channel: &str, sub: Option<&str>, ttl_s: u64) -> String {
        let draft = ChannelDraft {
            channel: channel.into(),
            sub: sub.map(str::to_owned),
            ttl_s,
        };
        sign_channel(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }

    fn connect(&mut self) {
        let token = self.token(Some("42"), &["news"], 60);
        self.request(&json!({"type": "connect", "token": token}))
            .unwrap();
    }
}

#[test]
fn welcome_names_the_channels_of_the_token() {
    let mut stage = Stage::new();
    let token = stage.token(Some("42"), &["news"], 60);
    let subscribe = json!([{"channel": "chat:1"}, {"channel": "user:43"}, {"channel": "a*"}, {"channel": "public:x"}]);
    let sent = stage
        .request(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
        .unwrap();
    assert_eq!(
        sent,
        [json!({
            "type": "welcome",
            "connection": "0707070707070707",
            "user": "42",
            "channels": ["user:42", "news", "chat:1", "public:x"],
            "refused": [{"channel": "user:43", "code": "forbidden"}, {"channel": "a*", "code": "bad_channel"}],
            "cursor": "e.0",
            "heartbeat": 25,
            "limits": {"message_bytes_max": 131072, "subscriptions_max": 256, "requests_per_second_max": 50},
            "features": [],
        })]
    );
}

#[test]
fn first_request_and_no_later_one_must_be_a_connect() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.request(&json!({"type": "subscribe", "channel": "public:x"})),
        Err(codes::CLOSE_BAD_CONNECT)
    );
    assert_eq!(
        stage.request(&json!("connect")),
        Err(codes::CLOSE_BAD_CONNECT)
    );
    stage.connect();
    let again = stage
        .request(&json!({"type": "connect", "ref": 9}))
        .unwrap();
    assert_eq!(
        (&again[0]["code"], &again[0]["ref"]),
        (&json!("already_connected"), &json!(9))
    );
}

#[test]
fn refused_token_closes_with_the_code_of_its_fault() {
    let mut stage = Stage::new();
    let token = stage.token(None, &[], 60);
    let connect = json!({"type": "connect", "token": token});
    assert_eq!(
        stage.request(&json!({"type": "connect", "token": "x"})),
        Err(codes::CLOSE_TOKEN_INVALID)
    );
    stage.wall_ms += 66_000;
    assert_eq!(stage.request(&connect), Err(codes::CLOSE_TOKEN_EXPIRED));
    stage.wall_ms = START_MS - 6_000;
    assert_eq!(
        stage.request(&connect),
        Err(codes::CLOSE_TOKEN_NOT_YET_VALID)
    );
    stage.wall_ms = START_MS;
    assert!(stage.request(&connect).is_ok());
}

#[test]
fn replay_is_between_its_reply_and_live_publications() {
    let mut stage = Stage::new();
    stage.deliver("news");
    stage.deliver("other");
    stage.deliver("news");
    let token = stage.token(Some("42"), &["news"], 60);
    stage
        .act(|connection, turn| {
            let connect = Connect {
                token: Some(token),
                after: Some(lineside_protocol::After::parse("e.0")),
                subscribe: vec![],
                reference: None,
            };
            connection.connect(connect, turn)
        })
        .unwrap();
    stage.deliver("news");
    let sent = stage.sent();
    let types: Vec<_> = sent
        .iter()
        .map(|sent| {
            (
                sent["type"].as_str().unwrap(),
                sent["cursor"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        types,
        [
            ("welcome", "e.0"),
            ("message", "e.1"),
            ("message", "e.3"),
            ("caught_up", "e.3"),
            ("message", "e.4")
        ]
    );
    assert_eq!(
        (&sent[0]["recovered"], &sent[0]["lost"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn cursor_ahead_of_the_shard_is_answered_once_the_shard_has_caught_up() {
    let mut stage = Stage::new();
    let waiting = stage.publish("news");
    let token = stage.token(Some("42"), &["news"], 60);
    assert_eq!(
        stage.request(&json!({"type": "connect", "token": token, "after": "e.1"})),
        Ok(vec![])
    );
    assert!(stage.connection.is_busy());
    assert_eq!(stage.fan_out.next_ready(), None);
    stage.fan_out.dispatch(&waiting);
    let (id, request) = stage.fan_out.next_ready().unwrap();
    let answer = stage.broker.replay(&request);
    let resumed = stage.fan_out.complete(id, request, answer);
    stage.act(|connection, turn| connection.resumed(resumed, turn));
    let sent = stage.sent();
    assert_eq!(
        (&sent[0]["type"], &sent[0]["cursor"], &sent[0]["recovered"]),
        (&json!("welcome"), &json!("e.1"), &json!(true))
    );
    assert_eq!((&sent[1]["type"], sent.len()), (&json!("caught_up"), 2));
}

#[test]
fn unknown_cursor_is_lost_and_no_error() {
    let mut stage = Stage::new();
    stage.connect();
    stage.deliver("chat:1");
    for after in [
        json!("unknown"),
        json!("x.1"),
        json!("e.99"),
        json!(7),
        json!(""),
    ] {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": "chat:1", "after": after, "ref": "r"}))
            .unwrap();
        let expected = json!({"type": "subscribed", "channel": "chat:1", "cursor": "e.1", "recovered": false, "ref": "r"});
        assert_eq!(sent, [expected], "{after}");
    }
}

#[test]
fn channel_token_opens_its_channel_for_its_user_until_it_expires() {
    let mut stage = Stage::new();
    stage.connect();
    let subscribe =
        |token: String| json!({"type": "subscribe", "channel": "orders", "token": token});
    for (token, code) in [
        (stage.channel_token("others", None, 60), "forbidden"),
        (stage.channel_token("orders", Some("43"), 60), "forbidden"),
        ("x".to_owned(), "token_invalid"),
    ] {
        assert_eq!(stage.request(&subscribe(token)).unwrap()[0]["code"], code);
    }
    let token = stage.channel_token("orders", Some("42"), 10);
    assert_eq!(
        stage.request(&subscribe(token)).unwrap()[0]["type"],
        "subscribed"
    );
    stage.wall_ms += 14_999;
    assert_eq!(stage.act(Connection::expire), Ok(()));
    assert_eq!(stage.expires_in_ms(), Some(1));
    stage.wall_ms += 1;
    assert_eq!(stage.act(Connection::expire), Ok(()));
    stage.deliver("orders");
    let ended = json!({"type": "unsubscribed", "channel": "orders", "code": "expired"});
    assert_eq!(stage.sent(), [ended]);
}

/// The page's cursor would move past the dropped publications with the next message of another channel.
#[test]
fn right_that_ends_with_unsent_publications_ends_the_connection() {
    let subscribed = || {
        let mut stage = Stage::new();
        let orders = stage.channel_token("orders", Some("42"), 10);
        stage.wall_ms += 1;
        let token = stage.token(Some("42"), &["news"], 60);
        let entries = json!([{"channel": "orders", "token": orders}]);
        let connect = json!({"type": "connect", "token": token, "subscribe": entries});
        assert_eq!(stage.request(&connect).unwrap()[0]["refused"], json!([]));
        stage.wall_ms -= 1;
        stage.deliver("orders");
        stage.deliver("news");
        stage
    };
    let mut stage = subscribed();
    let revocation = stage.revoke("42", "");
    assert_eq!(stage.dispatch(&revocation), Err(codes::CLOSE_TOKEN_REVOKED));
    let mut stage = subscribed();
    stage.wall_ms += 15_001;
    let ended = stage.act(Connection::expire).unwrap_err();
    assert_eq!(ended.code, codes::CLOSE_TOKEN_EXPIRED);
    let mut stage = subscribed();
    let narrower = stage.token(Some("42"), &[], 60);
    let refresh = json!({"type": "refresh", "token": narrower});
    assert_eq!(stage.request(&refresh), Err(codes::CLOSE_TOKEN_EXPIRED));
}

#[test]
fn unsubscribe_drops_the_channel_token() {
    let mut stage = Stage::new();
    stage.connect();
    let token = stage.channel_token("orders", None, 10);
    let again = json!({"type": "subscribe", "channel": "orders"});
    stage
        .request(&json!({"type": "subscribe", "channel": "orders", "token": token}))
        .unwrap();
    assert_eq!(stage.request(&again).unwrap()[0]["type"], "subscribed");
    stage
        .request(&json!({"type": "unsubscribe", "channel": "orders"}))
        .unwrap();
    assert_eq!(stage.request(&again).unwrap()[0]["code"], "forbidden");
    assert_eq!(
        stage.expires_in_ms(),
        Some(65_000),
        "expiry of the connection's own token"
    );
}

#[test]
fn expired_connection_token_closes_the_connection() {
    let mut stage = Stage::new();
    stage.connect();
    stage.wall_ms += 64_999;
    assert_eq!(stage.act(Connection::expire), Ok(()));
    stage.wall_ms += 1;
    assert_eq!(
        stage.act(Connection::expire),
        Err(codes::CLOSE_TOKEN_EXPIRED.into())
    );
}

#[test]
fn tokens_expire_on_time_after_the_wall_clock_is_set_back() {
    for back_ms in [2_000, 3_600_000] {
        let mut stage = Stage::new();
        stage.connect();
        let token = stage.channel_token("orders", None, 10);
        let subscribe = json!({"type": "subscribe", "channel": "orders", "token": token});
        stage.request(&subscribe).unwrap();
        stage.set_back(back_ms);
        assert_eq!(stage.expires_in_ms(), Some(15_000));
        stage.wall_ms += 15_000;
        assert_eq!(stage.act(Connection::expire), Ok(()));
        assert_eq!(stage.sent()[0]["code"], "expired");
        assert_eq!(stage.expires_in_ms(), Some(50_000));
        stage.wall_ms += 50_000;
        assert_eq!(
            stage.act(Connection::expire),
            Err(codes::CLOSE_TOKEN_EXPIRED.into())
        );
    }
}

#[test]
fn refreshed_token_expires_on_time_after_the_wall_clock_is_set_back() {
    let mut stage = Stage::new();
    stage.connect();
    stage.wall_ms += 30_000;
    let token = stage.token(Some("42"), &[], 60);
    stage
        .request(&json!({"type": "refresh", "token": token}))
        .unwrap();
    stage.set_back(3_600_000);
    assert_eq!(stage.expires_in_ms(), Some(65_000));
}

#[test]
fn token_that_the_wall_clock_has_passed_is_expired() {
    let mut stage = Stage::new();
    stage.connect();
    // The monotonic clock does not count a suspension of the machine.
    let passed = Now {
        ms: 3_600_000,
        wall_ms: START_MS + 65_000,
    };
    assert_eq!(stage.connection.expires_in_ms(passed), Some(0));
}

#[test]
fn refresh_widens_and_narrows_but_never_changes_the_user() {
    let mut stage = Stage::new();
    stage.connect();
    stage
        .request(&json!({"type": "subscribe", "channel": "public:x"}))
        .unwrap();
    for other in [Some("43"), None] {
        let token = stage.token(other, &[], 60);
        assert_eq!(
            stage
                .request(&json!({"type": "refresh", "token": token, "ref": 1}))
                .unwrap()[0]["code"],
            "other_user"
        );
    }
    let token = stage.token(Some("42"), &["sports"], 120);
    let sent = stage
        .request(&json!({"type": "refresh", "token": token, "ref": 2}))
        .unwrap();
    let exp = START_MS / 1000 + 120;
    let channels = json!(["user:42", "public:x", "sports"]);
    assert_eq!(
        sent,
        [
            json!({"type": "unsubscribed", "channel": "news", "code": "expired"}),
            json!({"type": "refreshed", "exp": exp, "channels": channels, "ref": 2}),
        ]
    );
    stage.wall_ms += 100_000;
    assert_eq!(stage.act(Connection::expire), Ok(()));
}

#[test]
fn no_message_follows_the_unsubscribed_of_its_channel() {
    let mut stage = Stage::new();
    stage.connect();
    let sent = stage
        .request(&json!({"type": "unsubscribe", "channel": "news", "ref": 3}))
        .unwrap();
    assert_eq!(
        sent,
        [json!({"type": "unsubscribed", "channel": "news", "ref": 3})]
    );
    stage.deliver("news");
    stage.deliver("user:42");
    let sent = stage.sent();
    assert_eq!((sent.len(), &sent[0]["channel"]), (1, &json!("user:42")));
}

#[test]
fn name_with_half_a_surrogate_pair_is_refused_by_itself() {
    let mut stage = Stage::new();
    let connect =
        r#"{"type":"connect","subscribe":[{"channel":"a\ud800"},{"channel":"public:x"}]}"#;
    let welcome = &stage.text(connect).unwrap()[0];
    assert_eq!(welcome["channels"], json!(["public:x"]));
    assert_eq!(
        welcome["refused"],
        json!([{"channel": "a\0", "code": "bad_channel"}])
    );
    let sent = stage
        .text(r#"{"type":"subscribe","channel":"public:\udfff","ref":1}"#)
        .unwrap();
    assert_eq!(
        [&sent[0]["code"], &sent[0]["ref"]],
        [&json!("bad_channel"), &json!(1)]
    );
}

#[test]
fn reserved_channels_are_refused_except_the_own_user_channel() {
    let mut stage = Stage::new();
    stage.connect();
    for (channel, code) in [
        ("user:43", "forbidden"),
        ("cable:x", "forbidden"),
        ("user:", "bad_channel"),
        ("user:*", "bad_channel"),
    ] {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": channel}))
            .unwrap();
        assert_eq!(sent[0]["code"], code, "{channel}");
    }
    let own = stage
        .request(&json!({"type": "subscribe", "channel": "user:42"}))
        .unwrap();
    assert_eq!(own[0]["type"], "subscribed");
}

#[test]
fn subscriptions_and_requests_are_limited() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX {
        let sent = stage
            .request(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
        let fits = number + 2 < SUBSCRIPTIONS_MAX;
        assert_eq!(sent[0]["type"] == "subscribed", fits, "{number}: {sent:?}");
    }
    let held = stage
        .request(&json!({"type": "subscribe", "channel": "public:1"}))
        .unwrap();
    assert_eq!(held[0]["type"], "subscribed");

    let mut connection = Connection::new(Opening::default(), [0; 8]);
    let burst = REQUESTS_PER_SECOND_MAX * REQUEST_BURST_SECONDS;
    assert!((0..burst).all(|_| connection.count_message(0).is_ok()));
    assert_eq!(
        connection.count_message(0),
        Err(codes::CLOSE_TOO_MANY_REQUESTS.into())
    );
    assert!((0..REQUESTS_PER_SECOND_MAX).all(|_| connection.count_message(1).is_ok()));
    assert!(connection.count_message(1).is_err());
    // An hour without requests allows no more than one burst.
    assert!((0..burst).all(|_| connection.count_message(3600).is_ok()));
    assert!(connection.count_message(3600).is_err());
}

#[test]
fn refresh_subscribes_no_more_channels_than_the_limit() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX - 3 {
        stage
            .request(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
    }
    let token = stage.token(Some("42"), &["news", "first", "second"], 60);
    let sent = stage
        .request(&json!({"type": "refresh", "token": token}))
        .unwrap();
    let channels = sent[0]["channels"].as_array().unwrap();
    assert_eq!(channels.len(), SUBSCRIPTIONS_MAX);
    assert!(channels.contains(&json!("first")) && !channels.contains(&json!("second")));
}

#[test]
fn channel_named_twice_continues_after_the_lower_cursor() {
    for (subscribe, first) in [
        (
            json!([{"channel": "chat:1", "after": "e.1"}, {"channel": "chat:1"}]),
            "e.2",
        ),
        (
            json!([{"channel": "chat:1"}, {"channel": "chat:1", "after": "e.1"}]),
            "e.2",
        ),
        (
            json!([{"channel": "chat:1", "after": "e.0"}, {"channel": "chat:1", "after": "e.2"}]),
            "e.1",
        ),
        (
            json!([{"channel": "news", "after": "e.0"}, {"channel": "chat:1", "after": "e.2"}]),
            "e.3",
        ),
    ] {
        let mut stage = Stage::new();
        (0..3).for_each(|_| stage.deliver("chat:1"));
        let token = stage.token(Some("42"), &["news"], 60);
        let sent = stage
            .request(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
            .unwrap();
        assert_eq!(sent[1]["cursor"], first, "{subscribe}");
        assert_eq!(
            sent.last().map(|sent| &sent["type"]),
            Some(&json!("caught_up"))
        );
    }
    let mut stage = Stage::new();
    stage.deliver("chat:1");
    let subscribe =
        json!([{"channel": "chat:1", "after": "e.0"}, {"channel": "chat:1", "after": "unknown"}]);
    let sent = stage.request(&json!({"type": "connect", "token": stage.token(None, &[], 60), "subscribe": subscribe})).unwrap();
    assert_eq!((&sent[0]["lost"], sent.len()), (&json!(["chat:1"]), 1));
}

#[test]
fn channel_of_the_token_named_twice_continues_after_the_lower_cursor() {
    let mut stage = Stage::new();
    (0..3).for_each(|_| stage.deliver("news"));
    let subscribe =
        json!([{"channel": "news", "after": "e.1"}, {"channel": "news", "after": "e.2"}]);
    let token = stage.token(Some("42"), &["news", "sports"], 60);
    let connect =
        json!({"type": "connect", "token": token, "after": "e.3", "subscribe": subscribe});
    let sent = stage.request(&connect).unwrap();
    let received: Vec<_> = sent[1..].iter().map(|sent| &sent["cursor"]).collect();
    assert_eq!(
        received,
        ["e.2", "e.3", "e.3"],
        "two messages, and caught_up"
    );
}

#[test]
fn connect_with_a_cursor_and_no_loss_gets_caught_up() {
    let mut stage = Stage::new();
    let refused = json!([{"channel": "forbidden"}]);
    let sent = stage
        .request(&json!({"type": "connect", "after": "e.0", "subscribe": refused}))
        .unwrap();
    let types: Vec<_> = sent.iter().map(|sent| sent["type"].clone()).collect();
    assert_eq!(types, ["welcome", "caught_up"]);
    assert_eq!(
        (&sent[0]["recovered"], &sent[0]["lost"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn connect_subscribes_channels_up_to_the_limit() {
    let mut stage = Stage::new();
    let subscribe: Vec<_> = (0..=SUBSCRIPTIONS_MAX)
        .map(|number| json!({"channel": format!("public:{number}")}))
        .collect();
    let connect = json!({"type": "connect", "subscribe": subscribe}).to_string();
    stage
        .act(|connection, turn| connection.receive(&connect, turn))
        .unwrap();
    assert_eq!(
        stage.fan_out.subscriptions(stage.id).count(),
        SUBSCRIPTIONS_MAX
    );
}

#[test]
fn close_of_a_refused_connect_explains_the_reason() {
    let mut stage = Stage::new();
    let message = |stage: &mut Stage, text: &str| {
        stage
            .act(|connection, turn| connection.receive(text, turn))
            .unwrap_err()
            .message
            .unwrap()
    };
    assert!(message(&mut stage, r#"{"type":"connect","token":"a.b.c"}"#).contains("base64url"));
    assert!(message(&mut stage, "{").contains("not JSON"));
    assert!(message(&mut stage, r#"{"type":"pong"}"#).contains("must be a connect"));
}

impl Stage {
    /// Revokes the tokens of a user, or of one session, that were issued by now. The shard does not dispatch it.
    fn revoke(&mut self, user: &str, session: &str) -> Arc<Revocation> {
        self.publisher
            .revoke(&self.broker, user, session, self.wall_ms)
    }

    /// Dispatches a revocation to the connection, and returns every text frame that it leads to.
    fn dispatch(&mut self, revocation: &Revocation) -> Result<Vec<Value>, CloseCode> {
        self.act(|connection, turn| connection.revoke(revocation, turn))
            .map_err(|ending| ending.code)?;
        Ok(self.sent())
    }

    fn token_of_session(&self, session: &str) -> String {
        let draft = ConnectionDraft {
            sub: Some("42".into()),
            sid: Some(session.into()),
            ttl_s: 60,
            ..ConnectionDraft::default()
        };
        sign_connection(draft, &self.rules.keys.current(), self.wall_ms).unwrap()
    }
}

#[test]
fn revoked_token_is_refused_and_one_issued_1_ms_later_is_accepted() {
    let mut stage = Stage::new();
    let revoked = json!({"type": "connect", "token": stage.token(Some("42"), &["news"], 60)});
    let other = json!({"type": "connect", "token": stage.token(Some("43"), &["news"], 60)});
    stage.revoke("42", "");
    assert_eq!(stage.request(&revoked), Err(codes::CLOSE_TOKEN_REVOKED));
    stage.wall_ms += 1;
    let fresh = json!({"type": "connect", "token": stage.token(Some("42"), &["news"], 60)});
    assert_eq!(stage.request(&fresh).unwrap()[0]["user"], "42");
    stage.connection = Connection::new(Opening::default(), [8; 8]);
    assert_eq!(stage.request(&other).unwrap()[0]["user"], "43");
}

#[test]
fn revocation_closes_the_connections_of_its_session_only() {
    let mut stage = Stage::new();
    let token = stage.token_of_session("phone");
    stage
        .request(&json!({"type": "connect", "token": token}))
        .unwrap();
    let tab = stage.revoke("42", "tab");
    assert_eq!(stage.dispatch(&tab), Ok(vec![]));
    let phone = stage.revoke("42", "phone");
    assert_eq!(stage.dispatch(&phone), Err(codes::CLOSE_TOKEN_REVOKED));
    let everywhere = stage.revoke("42", "");
    assert_eq!(stage.dispatch(&everywhere), Err(codes::CLOSE_TOKEN_REVOKED));
}

#[test]
fn revocation_ends_tokens_from_before_the_wall_clock_was_set_back() {
    for back_ms in [6_000, 86_400_000] {
        let mut stage = Stage::new();
        stage.connect();
        let token = stage.channel_token("orders", Some("42"), 60);
        stage
            .request(&json!({"type": "subscribe", "channel": "orders", "token": token}))
            .unwrap();
        stage.set_back(back_ms);
        let of_session = stage.revoke("42", "phone");
        assert_eq!(stage.dispatch(&of_session), Ok(vec![]));
        let everywhere = stage.revoke("42", "");
        assert_eq!(stage.dispatch(&everywhere), Err(codes::CLOSE_TOKEN_REVOKED));
        // The channel token of a connection with a fresh token.
        stage.wall_ms += 1;
        let fresh = stage.token(Some("42"), &["news"], 60);
        stage
            .request(&json!({"type": "refresh", "token": fresh}))
            .unwrap();
        let ended = json!({"type": "unsubscribed", "channel": "orders", "code": "expired"});
        assert_eq!(stage.dispatch(&everywhere), Ok(vec![ended]));
    }
}

#[test]
fn refresh_refuses_a_revoked_token_and_a_fresh_one_outlives_the_revocation() {
    let mut stage = Stage::new();
    stage.connect();
    let old = stage.token(Some("42"), &["news"], 60);
    let revocation = stage.revoke("42", "");
    let answer = stage
        .request(&json!({"type": "refresh", "token": old}))
        .unwrap();
    assert_eq!(answer[0]["code"], "token_revoked");
    stage.wall_ms += 1;
    let fresh = stage.token(Some("42"), &["news"], 60);
    let answer = stage
        .request(&json!({"type": "refresh", "token": fresh}))
        .unwrap();
    assert_eq!(answer[0]["type"], "refreshed");
    assert_eq!(stage.dispatch(&revocation), Ok(vec![]));
}

#[test]
fn revocation_ends_channel_tokens_of_the_user_and_none_without_a_user() {
    let mut stage = Stage::new();
    let hers = stage.channel_token("hers", Some("42"), 60);
    let anybodys = stage.channel_token("anybodys", None, 60);
    stage.wall_ms += 1;
    let token = stage.token(Some("42"), &[], 60);
    let entries =
        json!([{"channel": "hers", "token": hers}, {"channel": "anybodys", "token": anybodys}]);
    let connect = json!({"type": "connect", "token": token, "subscribe": entries});
    assert_eq!(stage.request(&connect).unwrap()[0]["refused"], json!([]));
    stage.wall_ms -= 1;
    let one = stage.revoke("42", "phone");
    assert_eq!(stage.dispatch(&one), Ok(vec![]));
    let revocation = stage.revoke("42", "");
    stage.deliver("anybodys");
    let sent = stage.dispatch(&revocation).unwrap();
    assert_eq!(sent[0]["channel"], "anybodys");
    assert_eq!(
        sent[1..],
        [json!({"type": "unsubscribed", "channel": "hers", "code": "expired"})]
    );
    let subscribe =
        |channel, token: &String| json!({"type": "subscribe", "channel": channel, "token": token});
    let again = stage.request(&subscribe("hers", &hers)).unwrap();
    assert_eq!(again[0]["code"], "token_revoked");
    let again = stage.request(&subscribe("anybodys", &anybodys)).unwrap();
    assert_eq!(again[0]["type"], "subscribed");
}

/// A ping with the position of the shard would move the cursor of the page past publications that it has not received.
#[test]
fn ping_has_no_cursor_while_a_resume_waits() {
    const WEBSOCKET_PING: u8 = 0x89;
    let mut stage = Stage::new();
    stage.deliver("public:a");
    let ahead = stage.publish("public:b");
    let subscribe =
        json!([{"channel": "public:a", "after": "e.0"}, {"channel": "public:b", "after": "e.2"}]);
    let connect = json!({"type": "connect", "subscribe": subscribe});
    assert_eq!(stage.request(&connect), Ok(vec![]));
    stage.act(|connection, turn| connection.ping(turn));
    assert_eq!(stage.frames(), [(WEBSOCKET_PING, vec![])]);
    stage.fan_out.dispatch(&ahead);
    let (id, request) = stage.fan_out.next_ready().unwrap();
    let answer = stage.broker.replay(&request);
    let resumed = stage.fan_out.complete(id, request, answer);
    stage.act(|connection, turn| connection.resumed(resumed, turn));
    stage.act(|connection, turn| connection.ping(turn));
    let frames = stage.frames();
    let ping: Value = serde_json::from_slice(&frames.last().unwrap().1).unwrap();
    assert_eq!(ping, json!({"type": "ping", "cursor": "e.2"}));
}
