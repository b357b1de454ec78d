//! Timers, to the millisecond.

use super::super::Limits;
use super::stage::{ENDLESS, End, LIMITS, Received, Stage, connect, connect_for};

#[test]
fn page_that_does_not_connect_is_closed_after_5_s() {
    let mut stage = Stage::new();
    let page = stage.open();
    stage.pass_ms(4_999);
    assert_eq!(page.received(), []);
    stage.pass_ms(1);
    assert_eq!(page.received().last(), Some(&Received::Close(4103)));
    assert_eq!(page.end(), None);
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn page_that_answers_no_ping_is_closed_10_s_after_it() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.received();
    stage.pass_ms(24_999);
    assert_eq!(page.received(), []);
    stage.pass_ms(1);
    let kinds: Vec<_> = page
        .received()
        .iter()
        .map(|it| it.kind().to_owned())
        .collect();
    assert_eq!(kinds, ["a ping of the WebSocket", "ping"]);
    stage.pass_ms(9_999);
    assert_eq!(page.received(), []);
    stage.pass_ms(1);
    assert_eq!(page.received().last(), Some(&Received::Close(4102)));
    // A silent page will not answer the close, so it is not awaited.
    assert_eq!(page.end(), Some(End::Closed));
}

#[test]
fn heartbeat_shorter_than_the_connect_deadline_begins_with_the_connect() {
    let heartbeat_seconds = 1;
    let mut stage = Stage::with(Limits {
        heartbeat_seconds,
        ..LIMITS
    });
    let page = stage.page(None);
    page.received();
    for _ in 0..3 {
        stage.pass_ms(999);
        assert_eq!(page.received(), []);
        stage.pass_ms(1);
        assert_eq!(page.received().len(), 2, "two pings");
        stage.send(&page, 0xa, &[]);
    }
}

#[test]
fn further_pings_do_not_extend_the_deadline_of_a_silent_page() {
    let mut stage = Stage::with(Limits {
        heartbeat_seconds: 1,
        ..LIMITS
    });
    let page = stage.page(None);
    stage.pass_ms(10_999);
    assert_eq!(page.received().len(), 1 + 10 * 2);
    stage.pass_ms(1);
    assert_eq!(page.received().last(), Some(&Received::Close(4102)));
}

#[test]
fn any_received_bytes_count_as_an_answer_to_a_ping() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.received();
    for number in 0..10 {
        stage.pass_ms(25_000);
        assert_eq!(page.received().len(), 2, "two pings");
        stage.pass_ms(9_000);
        stage.send(&page, 0xa, &[]);
        stage.publish("a", number, 1);
        assert_eq!(page.messages(), [number]);
        stage.pass_ms(16_000);
        page.received();
        stage.send(&page, 0xa, &[]);
    }
}

#[test]
fn page_that_neither_reads_nor_answers_is_reset() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(0);
    // Its kernel buffer has no room for the pings.
    stage.pass_ms(25_000 + 10_000 + 2_000);
    assert_eq!(page.end(), Some(End::Reset));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn page_that_reads_a_replay_gets_no_ping() {
    let mut stage = Stage::new();
    let start = stage.publish("a", 0, 0);
    for number in 1..=50 {
        stage.publish("a", number, 1_000);
    }
    let page = stage.open();
    stage.narrow(&page, 1_000);
    stage.request(&page, &connect(Some(&start)));
    let mut received = Vec::new();
    for _ in 0..10 {
        stage.pass_ms(5_000);
        stage.widen(&page, 1_000);
        received.extend(page.received());
    }
    assert!(
        (5..50).contains(&received.len()),
        "the replay is not complete yet"
    );
    stage.widen(&page, ENDLESS);
    received.extend(page.received());
    assert!(received[1..51].iter().all(|it| it.kind() == "message"));
    assert_eq!(received[51].kind(), "caught_up");
    assert_eq!(received.len(), 52, "{:?}", &received[52..]);
}

#[test]
fn page_with_a_full_kernel_buffer_is_slow_and_not_silent() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.pass_ms(25_000);
    page.received();
    // Its kernel buffer fills up after the ping, so that its answer is not read.
    stage.pass_ms(1_000);
    stage.narrow(&page, 0);
    stage.publish("a", 1, 0);
    stage.pass_ms(10_000);
    stage.widen(&page, ENDLESS);
    assert_eq!(page.received().last(), Some(&Received::Close(4101)));
}

#[test]
fn page_is_closed_when_its_token_ends_although_the_wall_clock_was_set_back() {
    let mut stage = Stage::new();
    let page = stage.open();
    stage.request(&page, &connect_for(20, "e.0"));
    stage.set_back(3_600_000);
    // The lifetime of the token, and then five seconds of leeway.
    stage.pass_ms(24_999);
    let received = page.received();
    assert!(received.iter().all(|it| *it != Received::Close(4003)));
    stage.pass_ms(1);
    assert_eq!(page.received().last(), Some(&Received::Close(4003)));
}
