//! Channel tokens: the channel `Lineside`.

use lineside_token::{ChannelDraft, ConnectionDraft, sign_channel, sign_connection};

use super::*;

impl Stage {
    /// Identifier with a channel token that was issued at this time and is valid for a minute.
    fn identifier(&self, channel: &str, sub: Option<&str>, issued_ms: u64) -> String {
        let draft = ChannelDraft {
            channel: channel.into(),
            sub: sub.map(str::to_owned),
            ttl_s: 60,
        };
        let token = sign_channel(draft, &self.rules.keys.current(), issued_ms).unwrap();
        lineside(&token)
    }

    /// Publishes, without a write to the browser.
    fn publish_unsent(&mut self, channel: &str, payload: &str) {
        let publication = self.publisher.publish(&self.broker, channel, payload, 0);
        self.fan_out.dispatch(&publication);
        assert!(self.fan_out.next_framed().is_some());
        self.act(|connection, turn| connection.publish(&publication, turn))
            .unwrap();
    }

    fn expect_rejected(&mut self, identifier: &str) {
        let expected = json!({"type": "reject_subscription", "identifier": identifier});
        assert_eq!(self.command("subscribe", identifier), [expected]);
    }
}

fn lineside(token: &str) -> String {
    json!({"channel": "Lineside", "token": token}).to_string()
}

#[test]
fn channel_token_opens_its_channel_and_no_other() {
    let mut stage = Stage::new(&stock());
    let orders = stage.identifier("orders", None, START_MS);
    stage.subscribe(&orders);
    let own = stage.identifier("own", Some("42"), START_MS);
    stage.subscribe(&own);
    let sent = stage.publish("orders", r#"{"id":7}"#);
    assert_eq!(sent, Ok(vec![message(&orders, &json!({"id": 7}))]));
    assert_eq!(
        stage.publish("own", "1"),
        Ok(vec![message(&own, &json!(1))])
    );
    for other in ["cable:orders", "user:42", "orders:7", "order"] {
        assert_eq!(stage.publish(other, "1"), Ok(vec![]), "{other}");
    }
    stage.command("unsubscribe", &orders);
    assert_eq!(stage.publish("orders", "2"), Ok(vec![]));
}

#[test]
fn token_that_does_not_open_the_channel_is_rejected() {
    let mut stage = Stage::new(&stock());
    let keys = stage.rules.keys.current();
    let draft = ConnectionDraft {
        channels: vec!["orders".into()],
        ttl_s: 60,
        ..ConnectionDraft::default()
    };
    let connection_token = sign_connection(draft, &keys, START_MS).unwrap();
    let draft = IdentityDraft {
        sub: "42".into(),
        sid: None,
        identifier: None,
        ttl_s: 60,
    };
    let identity = sign_identity(draft, &keys, START_MS).unwrap();
    let orders = stage.identifier("orders", None, START_MS);
    for identifier in [
        stage.identifier("orders", Some("43"), START_MS),
        stage.identifier("orders", None, START_MS - 65_000),
        stage.identifier("orders", None, START_MS + 6000),
        orders.replace("\"}", "A\"}"),
        lineside(&connection_token),
        lineside(&identity),
        lineside(""),
        json!({"channel": "Lineside"}).to_string(),
        json!({"channel": "Lineside", "token": 1}).to_string(),
        json!({"channel": "Lineside", "signed_stream_name": BOOKS}).to_string(),
    ] {
        stage.expect_rejected(&identifier);
    }
    stage
        .publisher
        .revoke(&stage.broker, "42", "", START_MS - 1);
    let revoked = stage.identifier("orders", Some("42"), START_MS - 2);
    stage.expect_rejected(&revoked);
    assert_eq!(stage.publish("orders", "1"), Ok(vec![]));
    assert_eq!(stage.publish("cable:books", "1"), Ok(vec![]));
}

#[test]
fn subscription_ends_with_its_channel_token() {
    let mut stage = Stage::new(&stock());
    let orders = stage.identifier("orders", None, START_MS);
    stage.subscribe(&orders);
    stage.now_ms = 64_999;
    assert_eq!(stage.run(Connection::expire), Ok(vec![]));
    stage.now_ms = 65_000;
    stage.publish_unsent("orders", "1");
    let rejected = json!({"type": "reject_subscription", "identifier": orders});
    assert_eq!(stage.run(Connection::expire), Ok(vec![rejected]));
    assert_eq!(stage.publish("orders", "1"), Ok(vec![]));
}

#[test]
fn sign_out_ends_subscriptions_of_tokens_that_were_issued_to_the_user_before() {
    let mut stage = Stage::new(&stock());
    let own = stage.identifier("own", Some("42"), START_MS - 10);
    let orders = stage.identifier("orders", None, START_MS - 10);
    stage.subscribe(&own);
    stage.subscribe(&orders);
    let rejected = json!({"type": "reject_subscription", "identifier": own});
    for (session, until_ms, expected) in [
        ("s", START_MS - 1, vec![]),
        ("", START_MS - 11, vec![]),
        ("", START_MS - 1, vec![rejected]),
    ] {
        let revocation = stage
            .publisher
            .revoke(&stage.broker, "42", session, until_ms);
        let ended = stage.run(|connection, turn| connection.revoke(&revocation, turn));
        assert_eq!(ended, Ok(expected), "{session} {until_ms}");
    }
    assert_eq!(stage.publish("own", "1"), Ok(vec![]));
    assert_eq!(stage.publish("orders", "1").unwrap().len(), 1);
}

#[test]
fn page_with_a_channel_token_resumes_after_its_cursor() {
    let mut stage = Stage::new(&stock());
    stage.publish_ahead("orders", "1");
    stage.publish_ahead("orders", "2");
    let identifier = stage.identifier("orders", None, START_MS);
    let more = r#","lineside_after":"e.1","lineside_page":"p"}"#;
    let identifier = identifier.replace('}', more);
    let confirm = json!({"type": "confirm_subscription", "identifier": identifier});
    let sent = stage.command("subscribe", &identifier);
    assert_eq!(sent, [confirm, message(&identifier, &json!(2))]);
}

#[test]
fn subscription_whose_right_ends_while_its_resume_waits_is_refused() {
    for (now_ms, is_revoked, kind) in [
        (64_999, false, "confirm_subscription"),
        (65_000, false, "reject_subscription"),
        (64_999, true, "reject_subscription"),
    ] {
        let mut stage = Stage::new(&stock());
        let own = stage.identifier("own", Some("42"), START_MS);
        let identifier = own.replace('}', r#","lineside_after":"e.1","lineside_page":"p"}"#);
        let publication = stage.publisher.publish(&stage.broker, "own", "1", 0);
        let waits = stage.command("subscribe", &identifier);
        assert_eq!(waits, [] as [Value; 0], "the shard is behind the page");
        stage.now_ms = now_ms;
        if is_revoked {
            stage.publisher.revoke(&stage.broker, "42", "", START_MS);
        }
        stage.fan_out.dispatch(&publication);
        let (id, request) = stage.fan_out.next_ready().unwrap();
        let answer = stage.broker.replay(&request);
        let resumed = stage.fan_out.complete(id, request, answer);
        let sent = stage.run(|connection, turn| {
            connection.resumed(resumed, turn);
            Ok(())
        });
        let answer = json!({"type": kind, "identifier": identifier});
        assert_eq!(sent, Ok(vec![answer]));
        let is_open = kind == "confirm_subscription";
        let expected = is_open.then(|| message(&identifier, &json!(2)));
        let sent = stage.publish("own", "2");
        assert_eq!(sent, Ok(expected.into_iter().collect()));
    }
}
