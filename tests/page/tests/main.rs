//! Tests of the page that runs the browser module.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lineside_tests::page::{Action, Page, Tags};
use serde_json::{Value, json};

const NOW_MS: u64 = 1_800_000_000_000;

fn tags() -> Tags {
    Tags {
        url: Some("/lineside".into()),
        cursor: Some("e.7".into()),
        ..Tags::default()
    }
}

fn connected() -> Page {
    let mut page = Page::load(1, NOW_MS, &tags());
    page.connect();
    page.subscribe(1, "board", None);
    page.opened(1);
    page
}

/// Returns the frames that a page sent.
fn sent(page: &mut Page) -> Vec<Value> {
    let frame = |action| match action {
        Action::Send { text, .. } => Some(serde_json::from_str(&text).expect("JSON")),
        _ => None,
    };
    page.actions().into_iter().filter_map(frame).collect()
}

fn welcome(cursor: &str) -> String {
    json!({"type": "welcome", "user": null, "channels": ["board"], "refused": [], "cursor": cursor, "recovered": true,
           "lost": [], "heartbeat": 25})
    .to_string()
}

#[test]
fn page_connects_after_its_rendered_cursor() {
    let mut page = Page::load(1, NOW_MS, &tags());
    page.connect();
    page.subscribe(1, "board", None);
    let open = Action::Open {
        socket: 1,
        url: "ws://app.test/lineside".into(),
        protocol: "lineside-v1".into(),
    };
    assert!(page.actions().contains(&open));
    page.opened(1);
    let connect = json!({"type": "connect", "after": "e.7", "subscribe": [{"channel": "board", "after": "e.7"}]});
    assert_eq!(sent(&mut page), [connect]);
}

#[test]
fn page_resumes_after_its_last_message_when_the_connection_breaks() {
    let mut page = connected();
    page.received(1, &welcome("e.7"));
    let message = json!({"type": "message", "channel": "board", "cursor": "e.9", "data": {"n": 1}});
    page.received(
        1,
        &json!({"type": "caught_up", "cursor": "e.7"}).to_string(),
    );
    page.received(1, &message.to_string());
    page.actions();
    page.closed(1, 1006);
    let due_ms = page.due_ms().expect("a reconnect");
    assert!(due_ms > NOW_MS);
    page.advance(due_ms);
    page.opened(2);
    let again = sent(&mut page);
    assert_eq!(again[0]["after"], "e.9");
}

#[test]
fn retry_delay_depends_only_on_the_seed() {
    let due = |seed| {
        let mut page = Page::load(seed, NOW_MS, &tags());
        page.connect();
        page.closed(1, 1006);
        page.due_ms()
    };
    assert_eq!(due(1), due(1));
    assert_ne!(due(1), due(2));
}

#[test]
fn timers_due_during_sleep_run_on_wake() {
    let mut page = connected();
    page.received(1, &welcome("e.7"));
    page.actions();
    page.sleep(NOW_MS + 3_600_000);
    assert_eq!(page.actions(), []);
    page.advance(NOW_MS + 3_600_000);
    assert!(page.actions().contains(&Action::Close { socket: 1 }));
}

#[test]
#[should_panic(expected = "threw")]
fn uncaught_exception_fails_the_test() {
    connected().received(1, "not JSON");
}

/// Returns a token with an invalid signature, which a page does not check.
fn token(sub: &str) -> String {
    let claims =
        json!({"sub": sub, "iat": NOW_MS / 1000, "iat_ms": NOW_MS, "exp": NOW_MS / 1000 + 600});
    format!("head.{}.mac", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn visit_after_sign_in_connects_as_that_user() {
    let mut page = Page::load(1, NOW_MS, &tags());
    page.connect();
    page.opened(1);
    page.received(1, &welcome("e.7"));
    page.actions();
    page.visit(&Tags {
        token: Some(token("1")),
        token_url: Some("/lineside/token".into()),
        ..tags()
    });
    page.user(1);
    let fetches = |action: &Action| matches!(action, Action::Fetch { request: 1, .. });
    assert!(page.actions().iter().any(fetches));
    page.give_token(1, &token("1"));
    page.opened(2);
    let connect = &sent(&mut page)[0];
    assert_eq!(connect["token"], token("1"));
    assert_eq!(connect["subscribe"][0]["channel"], "user:1");
}

#[test]
fn visit_stops_when_the_app_has_changed_the_user() {
    let tags_of = |sub| Tags {
        token: Some(token(sub)),
        token_url: Some("/lineside/token".into()),
        ..tags()
    };
    let mut page = Page::load(1, NOW_MS, &tags_of("1"));
    page.connect();
    page.visit(&tags_of("2"));
    page.user(1);
    let request = |action| match action {
        Action::Fetch { request, .. } => Some(request),
        _ => None,
    };
    let request = page.actions().into_iter().find_map(request);
    page.give_token(request.expect("a token request"), &token("1"));
    assert_eq!(page.status(), "stopped");
    let opens = |action: &Action| matches!(action, Action::Open { .. });
    assert!(!page.actions().iter().any(opens));
}
