use std::io::IoSlice;

use lineside_hub::{Checked, HistoryLimits, PUBLISHERS_MAX, PublishOutcome, SLICES_MAX};
use lineside_protocol::Epoch;
use lineside_protocol::frame::{Frame, PublishHead, ToSidecar, encode_publish};
use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel, sign_connection};
use serde_json::{Value, json};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The time at which every test begins, in milliseconds since the Unix epoch.
const START_MS: u64 = 1_800_000_000_000;

/// One connection of one shard, without sockets.
struct Stage {
    hub: Mutex<Hub>,
    shard: Shard,
    rules: Rules,
    id: ConnectionId,
    connection: Connection,
    wall_ms: u64,
    sequence: u64,
    counts: ShardCounts,
}

impl Stage {
    fn new() -> Self {
        let epoch = Epoch::new("e").unwrap();
        let mut hub = Hub::new(epoch.clone(), HistoryLimits::default(), PUBLISHERS_MAX);
        hub.publishers.hello([1; 16], 0, 1, 0).unwrap();
        let mut shard = Shard::new(hub.journal.newest(), 1 << 20);
        let id = shard.open();
        let rules = Rules {
            keys: Arc::new(Keyring::new(Keys::parse(SECRET).unwrap())),
            public_channels: vec![Grant::parse("public:*").unwrap()],
            heartbeat_seconds: 25,
            epoch,
        };
        let connection = Connection::new([7; 8], None);
        Self {
            hub: Mutex::new(hub),
            shard,
            rules,
            id,
            connection,
            wall_ms: START_MS,
            sequence: 0,
            counts: ShardCounts::default(),
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T) -> T {
        let Self {
            hub,
            shard,
            rules,
            id,
            connection,
            wall_ms,
            counts,
            ..
        } = self;
        act(
            connection,
            &mut Turn {
                id: *id,
                shard,
                hub,
                rules,
                wall_ms: *wall_ms,
                counts,
            },
        )
    }

    /// Says something; the answers are every text frame that it leads to.
    fn say(&mut self, request: &Value) -> Result<Vec<Value>, CloseCode> {
        self.act(|connection, turn| connection.hear(&request.to_string(), turn))
            .map_err(|ending| ending.code)?;
        Ok(self.sent())
    }

    /// What the connection was sent since the last look.
    fn sent(&mut self) -> Vec<Value> {
        let mut bytes = Vec::new();
        while let Some(id) = self.shard.next_flush() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let outbox = self.shard.outbox(id).unwrap();
            let count = outbox.slices(&mut slices);
            let written: usize = slices[..count].iter().map(|slice| slice.len()).sum();
            slices[..count]
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            self.shard.advance(id, written);
        }
        let mut rest = &bytes[..];
        let mut sent = Vec::new();
        while let [0x81, length, ..] = rest {
            let (length, start) = match length {
                126 => (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4),
                short => (usize::from(*short), 2),
            };
            sent.push(serde_json::from_slice(&rest[start..start + length]).unwrap());
            rest = &rest[start + length..];
        }
        assert!(rest.is_empty(), "only short text frames");
        sent
    }

    /// Lands a publication in the journal; the shard dispatches it when it is told to.
    fn publish(&mut self, channel: &str) -> Vec<Arc<lineside_hub::Publication>> {
        self.sequence += 1;
        let head = PublishHead {
            sequence: self.sequence,
            ..PublishHead::default()
        };
        let mut out = Vec::new();
        encode_publish(&mut out, head, [(channel, &b"1"[..])]);
        let frame = Frame::split(&mut out.as_slice().into()).unwrap().unwrap();
        let Ok(ToSidecar::Publish(publish)) = ToSidecar::decode(&frame) else {
            panic!("a publish")
        };
        let checked = Checked::inspect(&publish, 1024);
        match self.hub.lock().unwrap().publish([1; 16], 1, &checked, 0) {
            PublishOutcome::Landed { publications, .. } => publications,
            other => panic!("{other:?}"),
        }
    }

    fn deliver(&mut self, channel: &str) {
        for publication in self.publish(channel) {
            self.shard.dispatch(&publication);
        }
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
        self.say(&json!({"type": "connect", "token": token}))
            .unwrap();
    }
}

#[test]
fn a_welcome_says_what_the_token_opened() {
    let mut stage = Stage::new();
    let token = stage.token(Some("42"), &["news"], 60);
    let subscribe = json!([{"channel": "chat:1"}, {"channel": "user:43"}, {"channel": "a*"}, {"channel": "public:x"}]);
    let sent = stage
        .say(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
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
fn the_first_words_must_be_a_connect_and_only_they() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.say(&json!({"type": "subscribe", "channel": "public:x"})),
        Err(codes::CLOSE_BAD_CONNECT)
    );
    assert_eq!(stage.say(&json!("connect")), Err(codes::CLOSE_BAD_CONNECT));
    stage.connect();
    let again = stage.say(&json!({"type": "connect", "ref": 9})).unwrap();
    assert_eq!(
        (&again[0]["code"], &again[0]["ref"]),
        (&json!("already_connected"), &json!(9))
    );
}

#[test]
fn a_bad_token_ends_the_connection_by_its_fault() {
    let mut stage = Stage::new();
    let token = stage.token(None, &[], 60);
    let connect = json!({"type": "connect", "token": token});
    assert_eq!(
        stage.say(&json!({"type": "connect", "token": "x"})),
        Err(codes::CLOSE_TOKEN_INVALID)
    );
    stage.wall_ms += 66_000;
    assert_eq!(stage.say(&connect), Err(codes::CLOSE_TOKEN_EXPIRED));
    stage.wall_ms = START_MS - 6_000;
    assert_eq!(stage.say(&connect), Err(codes::CLOSE_TOKEN_NOT_YET_VALID));
    stage.wall_ms = START_MS;
    assert!(stage.say(&connect).is_ok());
}

#[test]
fn a_replay_stands_between_its_reply_and_what_is_live() {
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
fn a_cursor_ahead_of_the_shard_is_answered_when_the_shard_is_there() {
    let mut stage = Stage::new();
    let waiting = stage.publish("news");
    let token = stage.token(Some("42"), &["news"], 60);
    assert_eq!(
        stage.say(&json!({"type": "connect", "token": token, "after": "e.1"})),
        Ok(vec![])
    );
    assert!(stage.connection.is_busy() && !stage.shard.has_ready());
    stage.shard.dispatch(&waiting[0]);
    let hub = stage.hub.lock().unwrap();
    let (_, resumed) = stage.shard.ready(&hub.journal).unwrap();
    drop(hub);
    stage.act(|connection, turn| connection.resumed(resumed, turn));
    let sent = stage.sent();
    assert_eq!(
        (&sent[0]["type"], &sent[0]["cursor"], &sent[0]["recovered"]),
        (&json!("welcome"), &json!("e.1"), &json!(true))
    );
    assert_eq!((&sent[1]["type"], sent.len()), (&json!("caught_up"), 2));
}

#[test]
fn an_unknown_cursor_is_lost_and_never_an_error() {
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
            .say(&json!({"type": "subscribe", "channel": "chat:1", "after": after, "ref": "r"}))
            .unwrap();
        let expected = json!({"type": "subscribed", "channel": "chat:1", "cursor": "e.1", "recovered": false, "ref": "r"});
        assert_eq!(sent, [expected], "{after}");
    }
}

#[test]
fn a_channel_token_opens_its_channel_for_its_user_until_it_ends() {
    let mut stage = Stage::new();
    stage.connect();
    let subscribe =
        |token: String| json!({"type": "subscribe", "channel": "orders", "token": token});
    for (token, code) in [
        (stage.channel_token("others", None, 60), "forbidden"),
        (stage.channel_token("orders", Some("43"), 60), "forbidden"),
        ("x".to_owned(), "token_invalid"),
    ] {
        assert_eq!(stage.say(&subscribe(token)).unwrap()[0]["code"], code);
    }
    let token = stage.channel_token("orders", Some("42"), 10);
    assert_eq!(
        stage.say(&subscribe(token)).unwrap()[0]["type"],
        "subscribed"
    );
    stage.wall_ms += 14_999;
    assert_eq!(stage.act(Connection::expire), Ok(()));
    assert_eq!(stage.connection.expires_at_ms(), Some(START_MS + 15_000));
    stage.deliver("orders");
    stage.wall_ms += 1;
    assert_eq!(stage.act(Connection::expire), Ok(()));
    stage.deliver("orders");
    let ended = json!({"type": "unsubscribed", "channel": "orders", "code": "expired"});
    assert_eq!(
        stage.sent(),
        [ended],
        "what was not sent by then stays unsent"
    );
}

#[test]
fn who_leaves_a_channel_needs_its_token_again() {
    let mut stage = Stage::new();
    stage.connect();
    let token = stage.channel_token("orders", None, 10);
    let again = json!({"type": "subscribe", "channel": "orders"});
    stage
        .say(&json!({"type": "subscribe", "channel": "orders", "token": token}))
        .unwrap();
    assert_eq!(stage.say(&again).unwrap()[0]["type"], "subscribed");
    stage
        .say(&json!({"type": "unsubscribe", "channel": "orders"}))
        .unwrap();
    assert_eq!(stage.say(&again).unwrap()[0]["code"], "forbidden");
    assert_eq!(
        stage.connection.expires_at_ms(),
        Some(START_MS + 65_000),
        "the end of the connection's own token"
    );
}

#[test]
fn the_connections_own_token_ends_the_connection() {
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
fn a_refresh_widens_narrows_and_never_changes_the_user() {
    let mut stage = Stage::new();
    stage.connect();
    stage
        .say(&json!({"type": "subscribe", "channel": "public:x"}))
        .unwrap();
    for other in [Some("43"), None] {
        let token = stage.token(other, &[], 60);
        assert_eq!(
            stage
                .say(&json!({"type": "refresh", "token": token, "ref": 1}))
                .unwrap()[0]["code"],
            "other_user"
        );
    }
    let token = stage.token(Some("42"), &["sports"], 120);
    let sent = stage
        .say(&json!({"type": "refresh", "token": token, "ref": 2}))
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
fn nothing_of_a_channel_follows_its_end() {
    let mut stage = Stage::new();
    stage.connect();
    let sent = stage
        .say(&json!({"type": "unsubscribe", "channel": "news", "ref": 3}))
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
fn reserved_names_open_to_nobody_but_their_user() {
    let mut stage = Stage::new();
    stage.connect();
    for (channel, code) in [
        ("user:43", "forbidden"),
        ("cable:x", "forbidden"),
        ("user:", "bad_channel"),
        ("user:*", "bad_channel"),
    ] {
        let sent = stage
            .say(&json!({"type": "subscribe", "channel": channel}))
            .unwrap();
        assert_eq!(sent[0]["code"], code, "{channel}");
    }
    let own = stage
        .say(&json!({"type": "subscribe", "channel": "user:42"}))
        .unwrap();
    assert_eq!(own[0]["type"], "subscribed");
}

#[test]
fn channels_and_requests_have_their_limits() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX {
        let sent = stage
            .say(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
        let fits = number + 2 < SUBSCRIPTIONS_MAX;
        assert_eq!(sent[0]["type"] == "subscribed", fits, "{number}: {sent:?}");
    }
    let held = stage
        .say(&json!({"type": "subscribe", "channel": "public:1"}))
        .unwrap();
    assert_eq!(held[0]["type"], "subscribed");

    let mut connection = Connection::new([0; 8], None);
    let burst = REQUESTS_PER_SECOND_MAX * REQUEST_BURST_SECONDS;
    assert!((0..burst).all(|_| connection.count_request(0).is_ok()));
    assert_eq!(
        connection.count_request(0),
        Err(codes::CLOSE_TOO_MANY_REQUESTS.into())
    );
    assert!((0..REQUESTS_PER_SECOND_MAX).all(|_| connection.count_request(1).is_ok()));
    assert!(connection.count_request(1).is_err());
    // An hour of silence saves up no more than one burst.
    assert!((0..burst).all(|_| connection.count_request(3600).is_ok()));
    assert!(connection.count_request(3600).is_err());
}

#[test]
fn a_refresh_opens_no_more_channels_than_a_connection_may_hold() {
    let mut stage = Stage::new();
    stage.connect();
    for number in 0..SUBSCRIPTIONS_MAX - 3 {
        stage
            .say(&json!({"type": "subscribe", "channel": format!("public:{number}")}))
            .unwrap();
    }
    let token = stage.token(Some("42"), &["news", "first", "second"], 60);
    let sent = stage
        .say(&json!({"type": "refresh", "token": token}))
        .unwrap();
    let channels = sent[0]["channels"].as_array().unwrap();
    assert_eq!(channels.len(), SUBSCRIPTIONS_MAX);
    assert!(channels.contains(&json!("first")) && !channels.contains(&json!("second")));
}

#[test]
fn a_channel_that_is_named_twice_misses_nothing_that_either_would_bring() {
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
            .say(&json!({"type": "connect", "token": token, "subscribe": subscribe}))
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
    let sent = stage.say(&json!({"type": "connect", "token": stage.token(None, &[], 60), "subscribe": subscribe})).unwrap();
    assert_eq!((&sent[0]["lost"], sent.len()), (&json!(["chat:1"]), 1));
}

#[test]
fn a_channel_of_the_token_that_is_named_twice_continues_after_the_lower_cursor() {
    let mut stage = Stage::new();
    (0..3).for_each(|_| stage.deliver("news"));
    let subscribe =
        json!([{"channel": "news", "after": "e.1"}, {"channel": "news", "after": "e.2"}]);
    let token = stage.token(Some("42"), &["news", "sports"], 60);
    let connect =
        json!({"type": "connect", "token": token, "after": "e.3", "subscribe": subscribe});
    let sent = stage.say(&connect).unwrap();
    let heard: Vec<_> = sent[1..].iter().map(|sent| &sent["cursor"]).collect();
    assert_eq!(heard, ["e.2", "e.3", "e.3"], "two messages, and caught_up");
}

#[test]
fn who_gave_a_cursor_and_lost_nothing_is_told_that_it_caught_up() {
    let mut stage = Stage::new();
    let refused = json!([{"channel": "forbidden"}]);
    let sent = stage
        .say(&json!({"type": "connect", "after": "e.0", "subscribe": refused}))
        .unwrap();
    let types: Vec<_> = sent.iter().map(|sent| sent["type"].clone()).collect();
    assert_eq!(types, ["welcome", "caught_up"]);
    assert_eq!(
        (&sent[0]["recovered"], &sent[0]["lost"]),
        (&json!(true), &json!([]))
    );
}

#[test]
fn a_connect_may_name_as_many_channels_as_the_limits_say_and_the_rest_is_refused() {
    let mut stage = Stage::new();
    let subscribe: Vec<_> = (0..=SUBSCRIPTIONS_MAX)
        .map(|number| json!({"channel": format!("public:{number}")}))
        .collect();
    let connect = json!({"type": "connect", "subscribe": subscribe}).to_string();
    stage
        .act(|connection, turn| connection.hear(&connect, turn))
        .unwrap();
    assert_eq!(
        stage.shard.subscriptions(stage.id).count(),
        SUBSCRIPTIONS_MAX
    );
}

#[test]
fn the_reason_of_an_end_is_told() {
    let mut stage = Stage::new();
    let hear = |stage: &mut Stage, text: &str| {
        stage
            .act(|connection, turn| connection.hear(text, turn))
            .unwrap_err()
            .message
            .unwrap()
    };
    assert!(hear(&mut stage, r#"{"type":"connect","token":"a.b.c"}"#).contains("base64url"));
    assert!(hear(&mut stage, "{").contains("not JSON"));
    assert!(hear(&mut stage, r#"{"type":"pong"}"#).contains("must be a connect"));
}

impl Stage {
    /// Signs the user, or one of its sessions, out of all tokens made by now; the shard hears of it when it is told.
    fn revoke(&mut self, user: &str, session: &str) -> Arc<Revocation> {
        self.sequence += 1;
        let frame = lineside_protocol::frame::Disconnect {
            sequence: self.sequence,
            wants_receipt: false,
            revoked_ms: self.wall_ms,
            sub: user.to_owned().into(),
            sid: session.to_owned().into(),
        };
        let checked = lineside_hub::CheckedRevocation::inspect(&frame, u64::MAX);
        match self.hub.lock().unwrap().revoke([1; 16], 1, &checked) {
            PublishOutcome::Revoked { revocation, .. } => revocation,
            other => panic!("{other:?}"),
        }
    }

    fn hear_of(&mut self, revocation: &Revocation) -> Result<Vec<Value>, CloseCode> {
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
fn a_revoked_token_connects_nobody_and_one_a_millisecond_younger_does() {
    let mut stage = Stage::new();
    let revoked = json!({"type": "connect", "token": stage.token(Some("42"), &["news"], 60)});
    let other = json!({"type": "connect", "token": stage.token(Some("43"), &["news"], 60)});
    stage.revoke("42", "");
    assert_eq!(stage.say(&revoked), Err(codes::CLOSE_TOKEN_REVOKED));
    stage.wall_ms += 1;
    let fresh = json!({"type": "connect", "token": stage.token(Some("42"), &["news"], 60)});
    assert_eq!(stage.say(&fresh).unwrap()[0]["user"], "42");
    stage.connection = Connection::new([8; 8], None);
    assert_eq!(stage.say(&other).unwrap()[0]["user"], "43");
}

#[test]
fn a_revocation_ends_whom_it_means_and_nobody_else() {
    let mut stage = Stage::new();
    let token = stage.token_of_session("phone");
    stage
        .say(&json!({"type": "connect", "token": token}))
        .unwrap();
    let tab = stage.revoke("42", "tab");
    assert_eq!(stage.hear_of(&tab), Ok(vec![]));
    let phone = stage.revoke("42", "phone");
    assert_eq!(stage.hear_of(&phone), Err(codes::CLOSE_TOKEN_REVOKED));
    let everywhere = stage.revoke("42", "");
    assert_eq!(stage.hear_of(&everywhere), Err(codes::CLOSE_TOKEN_REVOKED));
}

#[test]
fn a_refresh_with_a_revoked_token_is_refused_and_with_a_fresh_one_outlives_the_revocation() {
    let mut stage = Stage::new();
    stage.connect();
    let old = stage.token(Some("42"), &["news"], 60);
    let revocation = stage.revoke("42", "");
    let answer = stage
        .say(&json!({"type": "refresh", "token": old}))
        .unwrap();
    assert_eq!(answer[0]["code"], "token_revoked");
    stage.wall_ms += 1;
    let fresh = stage.token(Some("42"), &["news"], 60);
    let answer = stage
        .say(&json!({"type": "refresh", "token": fresh}))
        .unwrap();
    assert_eq!(answer[0]["type"], "refreshed");
    assert_eq!(stage.hear_of(&revocation), Ok(vec![]));
}

#[test]
fn channel_tokens_of_a_user_are_revoked_and_those_of_nobody_are_not() {
    let mut stage = Stage::new();
    let hers = stage.channel_token("hers", Some("42"), 60);
    let anybodys = stage.channel_token("anybodys", None, 60);
    stage.wall_ms += 1;
    let token = stage.token(Some("42"), &[], 60);
    let entries =
        json!([{"channel": "hers", "token": hers}, {"channel": "anybodys", "token": anybodys}]);
    let connect = json!({"type": "connect", "token": token, "subscribe": entries});
    assert_eq!(stage.say(&connect).unwrap()[0]["refused"], json!([]));
    stage.wall_ms -= 1;
    let one = stage.revoke("42", "phone");
    assert_eq!(stage.hear_of(&one), Ok(vec![]));
    let revocation = stage.revoke("42", "");
    stage.deliver("hers");
    stage.deliver("anybodys");
    let sent = stage.hear_of(&revocation).unwrap();
    // What was not sent yet of the one is not sent.
    assert_eq!(sent[0]["channel"], "anybodys");
    assert_eq!(
        sent[1..],
        [json!({"type": "unsubscribed", "channel": "hers", "code": "expired"})]
    );
    let subscribe =
        |channel, token: &String| json!({"type": "subscribe", "channel": channel, "token": token});
    let again = stage.say(&subscribe("hers", &hers)).unwrap();
    assert_eq!(again[0]["code"], "token_revoked");
    let again = stage.say(&subscribe("anybodys", &anybodys)).unwrap();
    assert_eq!(again[0]["type"], "subscribed");
}
