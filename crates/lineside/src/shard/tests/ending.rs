//! End of connections: closing frames, drain, and cleanup.

use lineside_hub::PASS_PUBLICATIONS_MAX;
use serde_json::json;

use super::stage::{ENDLESS, End, Received, Stage, connect};

#[test]
fn drain_closes_every_page_and_is_complete_with_the_last() {
    let mut stage = Stage::new();
    let (answering, silent) = (stage.page(None), stage.page(None));
    stage.land("a", 1, 1);
    stage.enqueue_all();
    stage.worker.drain();
    stage.turns();
    for page in [&answering, &silent] {
        let received = page.received();
        let kinds: Vec<_> = received.iter().map(Received::kind).collect();
        assert_eq!(kinds, ["welcome", "message", "disconnect", "a close frame"]);
        assert_eq!(received.last(), Some(&Received::Close(4100)));
    }
    stage.send(&answering, 8, &4100_u16.to_be_bytes());
    assert_eq!(answering.end(), Some(End::Closed));
    assert!(!stage.worker.is_drained());
    stage.pass_ms(2_000);
    assert_eq!(silent.end(), Some(End::Closed));
    assert!(stage.worker.is_drained());
}

#[test]
fn page_in_a_replay_is_told_of_a_drain_and_resumes_after_its_newest_message() {
    let mut stage = Stage::new();
    let start = stage.publish("elsewhere", 0, 0);
    for number in 1..=100 {
        stage.publish("a", number, 1_000);
    }
    let page = stage.open();
    stage.narrow(&page, 10_000);
    stage.request(&page, &connect(Some(&start)));
    stage.publish("a", 101, 0);
    stage.worker.drain();
    stage.turns();
    stage.pass_ms(1_000);
    stage.widen(&page, 2_000);
    let received = page.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    let [first, messages @ .., disconnect, close] = &kinds[..] else {
        panic!("{kinds:?}")
    };
    assert_eq!(
        [first, disconnect, close],
        [&"welcome", &"disconnect", &"a close frame"]
    );
    assert!(messages.len() < 20 && messages.iter().all(|it| *it == "message"));
}

#[test]
fn nothing_follows_a_close_frame() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.worker.drain();
    stage.turns();
    // No publication, and no reply to a request, a ping or a protocol violation.
    stage.publish("a", 1, 0);
    stage.request(&page, &json!({"type": "unsubscribe", "channel": "a"}));
    stage.send(&page, 9, b"ping");
    stage.send(&page, 3, b"");
    stage.pass_ms(1_999);
    assert_eq!(page.received().last(), Some(&Received::Close(4100)));
}

#[test]
fn page_that_connects_during_a_drain_is_told_to_reconnect() {
    let mut stage = Stage::new();
    let _first = stage.page(None);
    stage.worker.drain();
    stage.turns();
    let late = stage.open();
    let received = late.received();
    assert_eq!(received[0].text()["reason"], "drain");
    assert_eq!(received[1], Received::Close(4100));
}

#[test]
fn drain_begins_once_every_enqueued_entry_is_dispatched() {
    let mut stage = Stage::new();
    // More than one turn writes, so that the second pass waits for the first.
    let pages: Vec<_> = (0..600).map(|_| stage.page(None)).collect();
    pages.iter().for_each(|page| drop(page.received()));
    for _ in 0..2 {
        (0..PASS_PUBLICATIONS_MAX).for_each(|number| drop(stage.land("a", number, 0)));
        stage.enqueue_all();
        stage.worker.turn();
    }
    stage.worker.drain();
    stage.turns();
    for page in &pages {
        let received = page.received();
        let messages = received.iter().filter(|it| it.kind() == "message");
        assert_eq!(messages.count() as u64, 2 * PASS_PUBLICATIONS_MAX);
        assert_eq!(received.last(), Some(&Received::Close(4100)));
    }
}

#[test]
fn close_of_a_page_is_answered_and_its_connection_removed() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.send(&page, 8, &1000_u16.to_be_bytes());
    assert_eq!(page.received().last(), Some(&Received::Close(1000)));
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn no_publication_follows_the_answer_to_a_close() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.received();
    stage.narrow(&page, 0);
    stage.send(&page, 8, &1000_u16.to_be_bytes());
    stage.publish("a", 1, 0);
    stage.widen(&page, ENDLESS);
    assert_eq!(page.received(), [Received::Close(1000)]);
}

#[test]
fn unsent_publications_are_dropped_when_the_token_expires() {
    let mut stage = Stage::new();
    let page = stage.open();
    let token = stage.token("1", 20);
    stage.request(&page, &json!({"type": "connect", "token": token}));
    assert_eq!(page.received()[0].text()["channels"], json!(["user:1"]));
    // The lifetime of the token, and then five seconds of leeway. The reader would count as slow after ten.
    stage.pass_ms(20_000);
    stage.narrow(&page, 1);
    stage.publish("user:1", 1, 0);
    stage.publish("user:1", 2, 0);
    stage.pass_ms(5_000);
    stage.widen(&page, ENDLESS);
    let received = page.received();
    let kinds: Vec<_> = received.iter().map(Received::kind).collect();
    // The first message was partly written.
    assert_eq!(kinds, ["message", "disconnect", "a close frame"]);
    assert_eq!(received[2], Received::Close(4003));
}

#[test]
fn closed_connections_leave_the_table_of_users() {
    let mut stage = Stage::new();
    let pages: Vec<_> = (0..4).map(|_| stage.open()).collect();
    for (page, user) in pages.iter().zip(["1", "1", "2", "2"]) {
        let token = stage.token(user, 60);
        stage.request(page, &json!({"type": "connect", "token": token}));
    }
    assert_eq!(stage.noted(), 4);
    stage.cut(&pages[0]);
    assert_eq!(stage.noted(), 3);
    pages.iter().for_each(|page| stage.cut(page));
    assert_eq!(stage.noted(), 0);
}
