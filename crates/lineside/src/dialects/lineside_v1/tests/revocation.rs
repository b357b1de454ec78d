//! Revocations: which tokens and connections they end.

use super::*;

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
