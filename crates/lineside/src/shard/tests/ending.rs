//! The last that a page hears, and what is left of it.

use lineside_hub::PASS_PUBLICATIONS_MAX;
use serde_json::json;

use super::stage::{ENDLESS, End, Heard, Stage};

#[test]
fn a_drain_tells_everybody_and_ends_with_the_last() {
    let mut stage = Stage::new();
    let (polite, silent) = (stage.page(None), stage.page(None));
    stage.land("a", 1, 1);
    stage.worker.take(stage.inbox.drain(..));
    stage.worker.drain();
    stage.turns();
    for page in [&polite, &silent] {
        let heard = page.heard();
        let kinds: Vec<_> = heard.iter().map(Heard::kind).collect();
        assert_eq!(kinds, ["welcome", "message", "disconnect", "a close frame"]);
        assert_eq!(heard.last(), Some(&Heard::Close(4100)));
    }
    stage.send(&polite, 8, &4100_u16.to_be_bytes());
    assert_eq!(polite.end(), Some(End::Closed));
    assert!(!stage.worker.is_drained());
    stage.pass_ms(2_000);
    assert_eq!(silent.end(), Some(End::Closed));
    assert!(stage.worker.is_drained());
}

#[test]
fn nothing_follows_a_close_frame() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.worker.drain();
    stage.turns();
    // Neither what is published nor an answer: to a request, to a ping, to what breaks the protocol.
    stage.publish("a", 1, 0);
    stage.say(&page, &json!({"type": "unsubscribe", "channel": "a"}));
    stage.send(&page, 9, b"ping");
    stage.send(&page, 3, b"");
    stage.pass_ms(1_999);
    assert_eq!(page.heard().last(), Some(&Heard::Close(4100)));
}

#[test]
fn a_page_that_comes_during_a_drain_is_told_when_to_come_again() {
    let mut stage = Stage::new();
    let _first = stage.page(None);
    stage.worker.drain();
    stage.turns();
    let late = stage.open();
    let heard = late.heard();
    assert_eq!(heard[0].text()["reason"], "drain");
    assert_eq!(heard[1], Heard::Close(4100));
}

#[test]
fn a_drain_begins_when_all_that_was_taken_is_dispatched() {
    let mut stage = Stage::new();
    // So many that a turn does not write them all, and a second pass waits for the first.
    let pages: Vec<_> = (0..600).map(|_| stage.page(None)).collect();
    pages.iter().for_each(|page| drop(page.heard()));
    for _ in 0..2 {
        (0..PASS_PUBLICATIONS_MAX).for_each(|number| drop(stage.land("a", number, 0)));
        stage.worker.take(stage.inbox.drain(..));
        stage.worker.turn();
    }
    stage.worker.drain();
    stage.turns();
    for page in &pages {
        let heard = page.heard();
        let messages = heard.iter().filter(|it| it.kind() == "message");
        assert_eq!(messages.count() as u64, 2 * PASS_PUBLICATIONS_MAX);
        assert_eq!(heard.last(), Some(&Heard::Close(4100)));
    }
}

#[test]
fn a_page_that_closes_is_answered_and_let_go_of_at_once() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.send(&page, 8, &1000_u16.to_be_bytes());
    assert_eq!(page.heard().last(), Some(&Heard::Close(1000)));
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn what_was_not_sent_when_a_token_ended_is_never_sent() {
    let mut stage = Stage::new();
    let page = stage.open();
    let token = stage.token("1", 20);
    stage.say(&page, &json!({"type": "connect", "token": token}));
    assert_eq!(page.heard()[0].text()["channels"], json!(["user:1"]));
    // The time of the token, and then five seconds of leeway; the reader would be slow after ten.
    stage.pass_ms(20_000);
    stage.narrow(&page, 1);
    stage.publish("user:1", 1, 0);
    stage.publish("user:1", 2, 0);
    stage.pass_ms(5_000);
    stage.widen(&page, ENDLESS);
    let heard = page.heard();
    let kinds: Vec<_> = heard.iter().map(Heard::kind).collect();
    // The first was begun.
    assert_eq!(kinds, ["message", "disconnect", "a close frame"]);
    assert_eq!(heard[2], Heard::Close(4003));
}

#[test]
fn nothing_is_left_of_whom_a_connection_belonged_to() {
    let mut stage = Stage::new();
    let pages: Vec<_> = (0..4).map(|_| stage.open()).collect();
    for (page, user) in pages.iter().zip(["1", "1", "2", "2"]) {
        let token = stage.token(user, 60);
        stage.say(page, &json!({"type": "connect", "token": token}));
    }
    assert_eq!(stage.noted(), 4);
    stage.cut(&pages[0]);
    assert_eq!(stage.noted(), 3);
    pages.iter().for_each(|page| stage.cut(page));
    assert_eq!(stage.noted(), 0);
}
