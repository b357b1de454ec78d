//! Expiry of tokens, also when the wall clock is set back.

use super::*;

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
