//! Replays, and live publications during them.

use lineside_hub::SLICES_MAX;
use serde_json::json;

use super::super::Limits;
use super::stage::{ENDLESS, End, LIMITS, Page, Received, Stage};

/// Publishes the numbers from 1 to `count` to `a`, with `bytes` of padding each, and returns the cursor before them.
fn fill(stage: &mut Stage, count: u64, bytes: usize) -> String {
    let start = stage.publish("elsewhere", 0, 0);
    for number in 1..=count {
        stage.publish("a", number, bytes);
    }
    start
}

/// Opens a page whose kernel buffer has `room` bytes, and connects it after a cursor.
fn resume(stage: &mut Stage, after: &str, room: usize) -> Page {
    let page = stage.open();
    stage.narrow(&page, room);
    stage.request(&page, &super::stage::connect(Some(after)));
    page
}

fn kinds(received: &[Received]) -> Vec<&str> {
    received.iter().map(Received::kind).collect()
}

fn numbers(received: &[Received]) -> Vec<u64> {
    let messages = received.iter().filter(|it| it.kind() == "message");
    messages
        .map(|it| it.text()["data"][0].as_u64().unwrap())
        .collect()
}

/// Cursor of the newest message.
fn newest(received: &[Received]) -> Option<String> {
    let message = received.iter().rfind(|it| it.kind() == "message")?;
    message.text()["cursor"].as_str().map(str::to_owned)
}

#[test]
fn cut_replay_resumes_after_its_last_complete_message() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 5, 20);
    let all = {
        let page = resume(&mut stage, &start, ENDLESS);
        stage.cut(&page);
        page.received()
    };
    assert_eq!(numbers(&all), [1, 2, 3, 4, 5]);
    for room in 1..1_000 {
        let page = resume(&mut stage, &start, room);
        stage.cut(&page);
        let mut received = page.received();
        let cursor = newest(&received).unwrap_or(start.clone());
        let again = resume(&mut stage, &cursor, ENDLESS);
        assert_eq!(again.end(), None);
        let rest = again.received();
        assert_eq!(rest[0].text()["recovered"], true);
        assert_eq!(rest.last().unwrap().kind(), "caught_up");
        received.extend(rest);
        assert_eq!(numbers(&received), [1, 2, 3, 4, 5], "after {room} bytes");
        stage.cut(&again);
    }
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn subscribe_during_a_replay_is_answered_behind_it() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 3, 200);
    stage.publish("b", 7, 0);
    let page = resume(&mut stage, &start, 300);
    stage.request(
        &page,
        &json!({"type": "subscribe", "channel": "b", "after": start}),
    );
    stage.publish("a", 4, 0);
    stage.publish("b", 8, 0);
    stage.widen(&page, ENDLESS);
    let received = page.received();
    assert_eq!(
        kinds(&received),
        [
            "welcome",
            "message",
            "message",
            "message",
            "caught_up",
            "message",
            "subscribed",
            "message",
            "message",
            "caught_up"
        ]
    );
    assert_eq!(numbers(&received), [1, 2, 3, 4, 7, 8]);
    assert_eq!(received[6].text()["recovered"], true);
    assert_eq!(received[9].text()["channel"], "b");
}

#[test]
fn of_many_requested_replays_one_is_in_the_outbox_at_a_time() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 3, 200);
    let page = stage.narrow_page(0);
    let again = json!({"type": "subscribe", "channel": "a", "after": start}).to_string();
    (1..100).for_each(|_| Stage::put(&page, 1, again.as_bytes()));
    stage.send(&page, 1, again.as_bytes());
    assert_eq!(
        stage.outbox_items(&page),
        3,
        "a reply, its replay and its caught_up"
    );
    stage.widen(&page, ENDLESS);
    let received = page.received();
    assert_eq!(received.len(), 100 * (1 + 3 + 1));
    assert!(
        received
            .chunks(5)
            .all(|answer| numbers(answer) == [1, 2, 3])
    );
}

#[test]
fn replay_larger_than_the_outbox_limit_is_not_slow() {
    let mut stage = Stage::new();
    // Fifteen times the limit.
    let start = fill(&mut stage, 100, 10_000);
    let page = resume(&mut stage, &start, 1_000);
    // Live publications join it.
    for number in 101..=120 {
        stage.publish("a", number, 10_000);
    }
    let mut received = page.received();
    while page.end().is_none() && numbers(&received).len() < 120 {
        stage.pass_ms(100);
        stage.widen(&page, 100_000);
        received.extend(page.received());
    }
    let all: Vec<u64> = (1..=120).collect();
    assert_eq!(numbers(&received), all);
}

#[test]
fn publications_evicted_during_a_replay_are_still_sent() {
    let history = lineside_hub::HistoryLimits {
        channel_publications_max: 10,
        ..LIMITS.history
    };
    let mut stage = Stage::with(Limits { history, ..LIMITS });
    let start = fill(&mut stage, 10, 1_000);
    let page = resume(&mut stage, &start, 1_500);
    for number in 11..=40 {
        stage.publish("a", number, 10);
    }
    let late = resume(&mut stage, &start, ENDLESS);
    assert_eq!(late.received()[0].text()["lost"], json!(["a"]));
    stage.widen(&page, ENDLESS);
    let received = page.received();
    assert_eq!(received[0].text()["recovered"], true);
    let all: Vec<u64> = (1..=40).collect();
    assert_eq!(numbers(&received), all);
}

#[test]
fn page_with_a_cursor_ahead_of_its_shard_waits_for_the_shard() {
    let mut stage = Stage::new();
    fill(&mut stage, 1, 0);
    // Another shard has dispatched these two already.
    stage.land("a", 2, 0);
    let seen = stage.land("a", 3, 0);
    stage.land("a", 4, 0);
    let page = resume(&mut stage, &seen, ENDLESS);
    stage.request(&page, &json!({"type": "unsubscribe", "channel": "a"}));
    assert_eq!(page.received(), [], "no reply would be correct yet");
    stage.deliver();
    let received = page.received();
    assert_eq!(
        kinds(&received),
        ["welcome", "message", "caught_up", "unsubscribed"]
    );
    assert_eq!(numbers(&received), [4]);
    assert_eq!(received[0].text()["cursor"], json!(seen));
}

#[test]
fn page_cut_while_it_waits_for_its_shard_is_removed() {
    let mut stage = Stage::new();
    let seen = stage.land("a", 1, 0);
    let page = resume(&mut stage, &seen, ENDLESS);
    stage.cut(&page);
    // It is not read while it waits, so its end is found once the shard has caught up.
    stage.deliver();
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn replay_read_in_a_trickle_ends_after_60_s_and_the_next_continues_it() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 200, 1_000);
    let page = resume(&mut stage, &start, 1_000);
    let mut received = Vec::new();
    for second in 1..60 {
        stage.pass_ms(1_000);
        stage.widen(&page, 1_000);
        received.extend(page.received());
        assert_eq!(page.end(), None, "after {second} s");
    }
    stage.pass_ms(1_000);
    stage.widen(&page, ENDLESS);
    received.extend(page.received());
    assert_eq!(received.last(), Some(&Received::Close(4101)));
    let read = numbers(&received).len();
    assert!((50..70).contains(&read), "{read}");
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Reset));

    let cursor = newest(&received).unwrap();
    let again = resume(&mut stage, &cursor, ENDLESS);
    received.extend(again.received());
    let all: Vec<u64> = (1..=200).collect();
    assert_eq!(numbers(&received), all);
}

#[test]
fn replay_that_completes_in_time_leaves_no_deadline() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 10, 1_000);
    let page = resume(&mut stage, &start, 1_000);
    stage.pass_ms(9_000);
    stage.widen(&page, ENDLESS);
    assert_eq!(page.received().last().unwrap().kind(), "caught_up");
    // Live publications are no replay, however slowly they are read.
    stage.narrow(&page, 0);
    for number in 0..5 {
        stage.publish("a", number, 10_000);
    }
    for _ in 0..20 {
        stage.pass_ms(8_000);
        stage.widen(&page, 1_000);
        stage.send(&page, 0xa, &[]);
    }
    assert_eq!(page.end(), None);
}

#[test]
fn token_that_expires_during_a_replay_sends_no_cursor_ahead_of_it() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 5, 200);
    let page = stage.open();
    stage.narrow(&page, 900);
    stage.request(&page, &super::stage::connect_for(2, &start));
    // The lifetime and leeway of the token. The kernel buffer has not been full for long enough to be slow.
    stage.pass_ms(8_000);
    stage.widen(&page, ENDLESS);
    let received = page.received();
    let last = received.len() - 2;
    assert_eq!(received[0].kind(), "welcome");
    assert_eq!(received[last].text()["code"], 4003);
    let messages = &received[1..last];
    assert!(!messages.is_empty() && messages.iter().all(|it| it.kind() == "message"));
    assert!(numbers(&received).len() < 5);
}

#[test]
fn long_replay_is_sent_in_order_with_caught_up_at_its_end() {
    const REPLAYED: usize = 3 * SLICES_MAX + 8;
    const LIVE: usize = 100;
    let mut stage = Stage::new();
    let start = fill(&mut stage, REPLAYED as u64, 100);
    let page = resume(&mut stage, &start, 500);
    let seam = stage.broker.cursor().to_string();
    let mut received = page.received();
    // Each live publication comes while one or two frames of the replay are written.
    for number in REPLAYED + 1..=REPLAYED + LIVE {
        stage.publish("a", number as u64, 100);
        stage.widen(&page, 300);
        received.extend(page.received());
    }
    let sent = numbers(&received).len();
    assert!(sent < REPLAYED, "the replay is not complete yet: {sent}");
    stage.widen(&page, ENDLESS);
    received.extend(page.received());
    let all: Vec<u64> = (1..=(REPLAYED + LIVE) as u64).collect();
    assert_eq!(numbers(&received), all);
    // Behind the welcome and the replay.
    let end = 1 + REPLAYED;
    let caught_up = json!({"type": "caught_up", "cursor": seam});
    assert_eq!(received[end], Received::Text(caught_up));
    assert_eq!(received.len(), end + 1 + LIVE);
}

#[test]
fn long_replay_of_two_channels_is_merged_in_journal_order() {
    const PAIRS: u64 = 2 * SLICES_MAX as u64;
    let mut stage = Stage::new();
    let start = stage.publish("elsewhere", 0, 0);
    for number in 1..=PAIRS {
        stage.publish("a", 2 * number - 1, 50);
        stage.publish("b", 2 * number, 50);
    }
    let page = stage.open();
    stage.narrow(&page, 200);
    let entries = json!([{"channel": "b", "after": start}, {"channel": "a", "after": start}]);
    stage.request(&page, &json!({"type": "connect", "subscribe": entries}));
    let mut received = Vec::new();
    while received.last().map(Received::kind) != Some("caught_up") {
        stage.widen(&page, 5_000);
        received.extend(page.received());
    }
    let all: Vec<u64> = (1..=2 * PAIRS).collect();
    assert_eq!(numbers(&received), all);
}

/// A ping with the position of the shard would move the cursor of the page past publications that it has not received.
#[test]
fn page_gets_no_ping_while_its_resume_waits() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 3, 0);
    stage.land("b", 4, 0);
    let ahead = stage.land("b", 5, 0);
    let page = stage.open();
    // The shard has dispatched the publications of `a`, but not the cursor of `b`.
    let entries = json!([{"channel": "a", "after": start}, {"channel": "b", "after": ahead}]);
    stage.request(&page, &json!({"type": "connect", "subscribe": entries}));
    stage.pass_ms(3 * 25_000);
    assert_eq!(page.received(), [], "neither a ping nor a reply");
    stage.deliver();
    let received = page.received();
    assert_eq!(
        kinds(&received),
        ["welcome", "message", "message", "message", "caught_up"]
    );
    stage.pass_ms(25_000);
    let received = page.received();
    assert_eq!(kinds(&received), ["a ping of the WebSocket", "ping"]);
    assert_eq!(received[1].text()["cursor"], json!(ahead));
}
