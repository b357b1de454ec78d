//! Rights of a connection: its channel tokens, their number, and rights after a refresh.

use super::*;

fn subscribe(channel: &str, token: Option<&str>) -> Value {
    json!({"type": "subscribe", "channel": channel, "token": token})
}

impl Stage {
    /// Code of the answer to a subscribe, or `subscribed`.
    fn answer(&mut self, channel: &str, token: Option<&str>) -> String {
        let request = subscribe(channel, token);
        let answer = &self.request(&request).unwrap()[0];
        let code = answer.get("code").unwrap_or(&answer["type"]);
        code.as_str().unwrap().to_owned()
    }

    /// Refreshes the connection of the user 42 with these grants, and returns its channels.
    fn refresh(&mut self, channels: &[&str], allow: &[&str]) -> Value {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let draft = ConnectionDraft {
            sub: Some("42".into()),
            sid: None,
            channels: owned(channels),
            allow: owned(allow),
            ttl_s: 60,
        };
        let token = sign_connection(draft, &self.rules.keys.current(), self.wall_ms).unwrap();
        let sent = self.request(&json!({"type": "refresh", "token": token}));
        let refreshed = sent.unwrap().pop().unwrap();
        assert_eq!(refreshed["type"], "refreshed");
        refreshed["channels"].clone()
    }
}

#[test]
fn end_of_one_session_ends_no_channel_token() {
    let mut stage = Stage::new();
    let orders = stage.channel_token("orders", Some("42"), 60);
    stage.revoke("42", "phone");
    // The session signs in again, with a newer token.
    stage.wall_ms += 1;
    let token = stage.token_of_session("phone");
    let connect = json!({"type": "connect", "token": token});
    assert_eq!(stage.request(&connect).unwrap()[0]["user"], "42");
    assert_eq!(stage.answer("orders", Some(&orders)), "subscribed");
}

#[test]
fn newest_channel_token_says_when_its_channel_ends() {
    for (first_s, newest_s) in [(60, 10), (10, 60)] {
        let mut stage = Stage::new();
        let long = stage.token(Some("42"), &[], 600);
        let connect = json!({"type": "connect", "token": long});
        stage.request(&connect).unwrap();
        for ttl_s in [first_s, newest_s] {
            let token = stage.channel_token("orders", None, ttl_s);
            assert_eq!(stage.answer("orders", Some(&token)), "subscribed");
        }
        let end_ms = newest_s * 1000 + 5_000;
        assert_eq!(stage.expires_in_ms(), Some(end_ms));
        stage.wall_ms += end_ms - 1;
        assert_eq!(stage.act(Connection::expire), Ok(()));
        assert_eq!(stage.sent(), Vec::<Value>::new());
        stage.wall_ms += 1;
        assert_eq!(stage.act(Connection::expire), Ok(()));
        assert_eq!(stage.sent()[0]["code"], "expired");
        assert_eq!(stage.answer("orders", None), "forbidden");
    }
}

#[test]
fn connect_beyond_the_limit_of_subscriptions_keeps_no_further_rights() {
    let mut stage = Stage::new();
    let name = |number: usize| format!("orders:{number}");
    let entries: Vec<_> = (0..SUBSCRIPTIONS_MAX + 10)
        .map(|number| {
            let token = stage.channel_token(&name(number), None, 60);
            json!({"channel": name(number), "token": token})
        })
        .collect();
    let connect = json!({"type": "connect", "subscribe": entries});
    stage
        .act(|connection, turn| connection.receive(&connect.to_string(), turn))
        .unwrap();
    for number in 0..SUBSCRIPTIONS_MAX + 10 {
        let rights = stage.connection.rights.as_ref().unwrap();
        let covers = rights.covers(&name(number), &stage.rules);
        assert_eq!(covers, number < SUBSCRIPTIONS_MAX, "{number}");
    }
}

#[test]
fn refresh_replaces_the_grants_and_keeps_the_channel_tokens() {
    let mut stage = Stage::new();
    stage.connect();
    let orders = stage.channel_token("orders", None, 60);
    assert_eq!(stage.answer("orders", Some(&orders)), "subscribed");
    assert_eq!(stage.answer("chat:1", None), "subscribed");
    // More grants.
    let all = json!(["user:42", "news", "orders", "chat:1", "sports"]);
    assert_eq!(
        stage.refresh(&["news", "sports"], &["chat:*", "team:*"]),
        all
    );
    assert_eq!(stage.answer("team:1", None), "subscribed");
    assert_eq!(stage.answer("room:1", None), "forbidden");
    // Fewer grants.
    let some = json!(["user:42", "news", "orders", "team:1"]);
    assert_eq!(stage.refresh(&["news"], &["team:1"]), some);
    for (channel, answer) in [
        ("chat:1", "forbidden"),
        ("chat:2", "forbidden"),
        ("team:2", "forbidden"),
        ("sports", "forbidden"),
        ("team:1", "subscribed"),
        ("orders", "subscribed"),
    ] {
        assert_eq!(stage.answer(channel, None), answer, "{channel}");
    }
    // No grants.
    assert_eq!(stage.refresh(&[], &[]), json!(["user:42", "orders"]));
    assert_eq!(stage.answer("team:1", None), "forbidden");
    assert_eq!(stage.answer("orders", None), "subscribed");
    stage.deliver("news");
    stage.deliver("orders");
    let sent = stage.sent();
    assert_eq!((sent.len(), &sent[0]["channel"]), (1, &json!("orders")));
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
