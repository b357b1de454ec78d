//! Connections by route: requests that no code of the app has seen.

use lineside_token::{ChannelDraft, StreamKeys, sign_channel};

use super::*;
use crate::head::{Head, HeadError, ServerOrigin};
use crate::settings::tests::read;

const ORIGIN: &str = "Origin: http://app.example\r\n";

/// Base64 of the key `k`.
const KEYS: (&str, &str) = ("LINESIDE_TURBO_KEYS", "aw==");

const OPTIONAL: (&str, &str) = ("LINESIDE_CABLE_IDENTITY", "optional");

/// The opening of a request with these fields.
fn opening(settings: &[(&'static str, &str)], fields: &str) -> Result<Opening, HeadError> {
    let text = format!("GET /cable HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n");
    let head = Head::parse(text.as_bytes()).unwrap().unwrap();
    let server = ServerOrigin::OfRequest([192, 0, 2, 1].into());
    Opening::of_request(&head, &server, &read(settings).unwrap())
}

/// An identity cookie of user 42 in the session `s`, issued at this time and valid for a minute.
fn cookie(issued_ms: u64) -> String {
    cookie_with(issued_ms, None)
}

/// The same with an identifier of Rails.
fn cookie_with(issued_ms: u64, identifier: Option<&str>) -> String {
    let draft = IdentityDraft {
        sub: "42".into(),
        sid: Some("s".into()),
        identifier: identifier.map(str::to_owned),
        ttl_s: 60,
    };
    let keys = Keys::parse("0123456789abcdef0123456789abcdef").unwrap();
    let identity = sign_identity(draft, &keys, issued_ms).unwrap();
    format!("Cookie: lineside_a={identity}\r\n")
}

/// A connection before it begins.
fn stage(settings: &[(&'static str, &str)], cookie: &str) -> Stage {
    Stage::with(opening(settings, &format!("{ORIGIN}{cookie}")).unwrap())
}

fn welcomed(settings: &[(&'static str, &str)], cookie: &str) -> Stage {
    let mut stage = stage(settings, cookie);
    assert_eq!(stage.begin(), Ok(vec![json!({"type": "welcome"})]));
    stage
}

fn expect_unauthorized(mut stage: Stage) {
    assert_eq!(stage.begin(), Err(codes::CLOSE_TOKEN_INVALID));
    let expected = json!({"type": "disconnect", "reason": "unauthorized", "reconnect": false});
    assert_eq!(stage.closing(codes::CLOSE_TOKEN_INVALID), expected);
    assert!(!stage.connection.is_connected());
}

impl Stage {
    fn refuse(&mut self, identifier: &str) {
        let expected = json!({"type": "reject_subscription", "identifier": identifier});
        assert_eq!(self.command("subscribe", identifier), [expected]);
    }
}

#[test]
fn missing_and_foreign_origins_get_404() {
    for fields in [
        "",
        "Origin: http://evil.example\r\n",
        "Origin: https://app.example\r\n",
        "Origin: null\r\n",
    ] {
        let fields = format!("{fields}{}", cookie(START_MS));
        let error = opening(&[OPTIONAL], &fields).unwrap_err();
        assert_eq!(error.status, 404, "{fields}");
    }
    let allowed = ("LINESIDE_ALLOWED_ORIGINS", "https://shop.example");
    assert!(opening(&[allowed], "Origin: https://shop.example\r\n").is_ok());
}

#[test]
fn cookie_identifies_the_user_and_the_session() {
    for settings in [&[][..], &[OPTIONAL]] {
        let stage = welcomed(settings, &cookie(START_MS));
        assert_eq!(stage.connection.user(), Some("42"));
        assert_eq!(stage.connection.opening.session.as_deref(), Some("s"));
    }
}

#[test]
fn without_a_valid_cookie_the_connection_is_unauthorized_or_anonymous() {
    let expired = cookie(START_MS - 65_000);
    let early = cookie(START_MS + 6000);
    let forged = cookie(START_MS).replace("\r\n", "A\r\n");
    for cookie in ["", "Cookie: lineside=x\r\n", &expired, &early, &forged] {
        expect_unauthorized(stage(&[KEYS], cookie));
        let stage = welcomed(&[KEYS, OPTIONAL], cookie);
        assert_eq!(stage.connection.user(), None, "{cookie}");
    }
}

#[test]
fn revoked_cookie_is_unauthorized_also_where_none_is_required() {
    for settings in [&[][..], &[OPTIONAL]] {
        for session in ["s", ""] {
            let mut late = stage(settings, &cookie(START_MS - 1));
            late.publisher
                .revoke(&late.broker, "42", session, START_MS - 1);
            expect_unauthorized(late);
        }
        let mut other = stage(settings, &cookie(START_MS - 1));
        other
            .publisher
            .revoke(&other.broker, "42", "other", START_MS);
        assert!(other.begin().is_ok());
    }
}

#[test]
fn sign_out_ends_the_connection_by_user_and_by_session() {
    let mut stage = welcomed(&[], &cookie(START_MS));
    for (session, until_ms, is_ended) in [
        ("other", START_MS, false),
        ("s", START_MS - 1, false),
        ("s", START_MS, true),
        ("", START_MS, true),
    ] {
        let revocation = stage
            .publisher
            .revoke(&stage.broker, "42", session, until_ms);
        let ended = stage.run(|connection, turn| connection.revoke(&revocation, turn));
        assert_eq!(ended.is_err(), is_ended, "{session} {until_ms}");
    }
}

#[test]
fn connection_ends_with_its_cookie() {
    let mut stage = welcomed(&[], &cookie(START_MS));
    stage.now_ms = 64_999;
    let now = Now {
        ms: stage.now_ms,
        wall_ms: START_MS + stage.now_ms,
    };
    assert_eq!(stage.connection.expires_in_ms(now), Some(1));
    assert_eq!(stage.run(Connection::expire), Ok(vec![]));
    stage.now_ms = 65_000;
    let ended = stage.run(Connection::expire);
    assert_eq!(ended, Err(codes::CLOSE_TOKEN_EXPIRED));
    let expected = json!({"type": "disconnect", "reason": "token_expired", "reconnect": true});
    assert_eq!(stage.closing(codes::CLOSE_TOKEN_EXPIRED), expected);
}

#[test]
fn signed_name_opens_its_stream_and_every_other_channel_is_rejected() {
    let mut stage = welcomed(&[KEYS], &cookie(START_MS));
    let forged = BOOKS.replace("fcde", "fcdf");
    for identifier in [
        turbo(&forged),
        turbo(""),
        json!({"channel": "Turbo::StreamsChannel"}).to_string(),
        r#"{"channel":"RoomChannel"}"#.to_owned(),
        r#"{"channel":"HeartbeatChannel"}"#.to_owned(),
        json!({"channel": "RoomChannel", "signed_stream_name": BOOKS}).to_string(),
        json!({"channel": "Lineside", "signed_stream_name": BOOKS}).to_string(),
        json!({"channel": "turbo::StreamsChannel", "signed_stream_name": BOOKS}).to_string(),
    ] {
        stage.refuse(&identifier);
    }
    assert_eq!(stage.publish("cable:books", "1"), Ok(vec![]));
    let books = turbo(BOOKS);
    stage.subscribe(&books);
    let sent = stage.publish("cable:books", "2");
    assert_eq!(sent, Ok(vec![message(&books, &json!(2))]));
    for other in ["user:42", "cable:other", "books", "cable:action_cable/"] {
        assert_eq!(stage.publish(other, "1"), Ok(vec![]), "{other}");
    }
}

#[test]
fn signed_name_opens_nothing_without_keys() {
    let mut stage = welcomed(&[], &cookie(START_MS));
    stage.refuse(&turbo(BOOKS));
    assert_eq!(stage.publish("cable:books", "1"), Ok(vec![]));
}

#[test]
fn channel_token_of_a_user_needs_the_identity_of_that_user() {
    let draft = |sub: Option<&str>| ChannelDraft {
        channel: "orders".into(),
        sub: sub.map(str::to_owned),
        ttl_s: 60,
    };
    let identifier = |stage: &Stage, sub| {
        let keys = stage.rules.keys.current();
        let token = sign_channel(draft(sub), &keys, START_MS).unwrap();
        json!({"channel": "Lineside", "token": token}).to_string()
    };
    let mut anonymous = welcomed(&[OPTIONAL], "");
    let own = identifier(&anonymous, Some("42"));
    anonymous.refuse(&own);
    assert_eq!(anonymous.publish("orders", "1"), Ok(vec![]));
    let open = identifier(&anonymous, None);
    anonymous.subscribe(&open);
    let mut user = welcomed(&[], &cookie(START_MS));
    user.subscribe(&own);
    let other = identifier(&user, Some("43"));
    user.refuse(&other);
    let sent = user.publish("orders", "1");
    assert_eq!(sent, Ok(vec![message(&own, &json!(1))]));
}

/// A connection with a stream, after a newer app has decided on these keys.
fn decided(keys: &[&str]) -> Stage {
    let mut stage = welcomed(&[KEYS], &cookie(START_MS));
    stage.subscribe(&turbo(BOOKS));
    let keys: Vec<_> = keys.iter().map(|it| (*it).to_owned()).collect();
    let rules = stage.connection.opening.by_route.as_ref().unwrap();
    rules
        .turbo_keys
        .decide(StreamKeys::decode(&keys).unwrap(), 1);
    stage
}

#[test]
fn withdrawn_keys_open_no_stream_and_end_connections_that_then_reconnect() {
    for keys in [&[][..], &["a2s="]] {
        let mut stage = decided(keys);
        let again =
            json!({"channel": "Turbo::StreamsChannel", "signed_stream_name": BOOKS, "n": 1});
        stage.refuse(&again.to_string());
        let ended = stage.run(Connection::expire);
        assert_eq!(ended, Err(codes::CLOSE_DRAIN), "{keys:?}");
        let expected = json!({"type": "disconnect", "reason": "server_restart", "reconnect": true});
        assert_eq!(stage.closing(codes::CLOSE_DRAIN), expected);
    }
}

#[test]
fn further_keys_end_no_connection() {
    let mut stage = decided(&["a2s=", "aw=="]);
    assert_eq!(stage.run(Connection::expire), Ok(vec![]));
    let sent = stage.publish("cable:books", "1");
    assert_eq!(sent, Ok(vec![message(&turbo(BOOKS), &json!(1))]));
    // The connection may now have streams by the other key.
    let rules = stage.connection.opening.by_route.as_ref().unwrap();
    let keys = StreamKeys::decode(&["aw==".to_owned()]).unwrap();
    rules.turbo_keys.decide(keys, 2);
    let ended = stage.run(Connection::expire);
    assert_eq!(ended, Err(codes::CLOSE_DRAIN));
}

#[test]
fn remote_disconnect_from_before_the_connection_does_not_reach_it() {
    let disconnect = json!({"type": "disconnect", "reconnect": true}).to_string();
    let channel = "cable:action_cable/Z2lk";
    let mut stage = stage(&[KEYS], &cookie_with(START_MS, Some("Z2lk")));
    let publisher = &mut stage.publisher;
    let earlier = publisher.publish(&stage.broker, channel, &disconnect, 0);
    assert_eq!(stage.begin(), Ok(vec![json!({"type": "welcome"})]));
    // The shard is behind.
    assert_eq!(stage.dispatch(&earlier), Ok(vec![]));
    assert_eq!(
        stage.publish(channel, &disconnect),
        Err(codes::CLOSE_TOKEN_REVOKED)
    );
}

#[test]
fn remote_disconnect_reaches_the_identifier_of_the_cookie() {
    let disconnect = |reconnect| json!({"type": "disconnect", "reconnect": reconnect}).to_string();
    for reconnect in [true, false] {
        let mut stage = welcomed(&[KEYS], &cookie_with(START_MS, Some("Z2lk")));
        for other in ["42", "Z2lk:42", "Z2l", "s"] {
            let channel = format!("cable:action_cable/{other}");
            assert_eq!(stage.publish(&channel, &disconnect(true)), Ok(vec![]));
        }
        let ended = stage.publish("cable:action_cable/Z2lk", &disconnect(reconnect));
        assert_eq!(ended, Err(codes::CLOSE_TOKEN_REVOKED));
        let expected = json!({"type": "disconnect", "reason": "remote", "reconnect": reconnect});
        assert_eq!(stage.closing(codes::CLOSE_TOKEN_REVOKED), expected);
    }
}
