//! Replays, and what crosses them.

use serde_json::json;

use super::super::Limits;
use super::stage::{ENDLESS, End, Heard, LIMITS, Page, Stage};

/// Publishes so many numbers to `a`, of so many bytes each; gives the cursor before them.
fn fill(stage: &mut Stage, count: u64, bytes: usize) -> String {
    let start = stage.publish("elsewhere", 0, 0);
    for number in 1..=count {
        stage.publish("a", number, bytes);
    }
    start
}

/// Connects after the cursor, with a kernel that takes so many bytes.
fn resume(stage: &mut Stage, after: &str, room: usize) -> Page {
    let page = stage.open();
    stage.narrow(&page, room);
    stage.say(&page, &super::stage::connect(Some(after)));
    page
}

fn kinds(heard: &[Heard]) -> Vec<&str> {
    heard.iter().map(Heard::kind).collect()
}

fn numbers(heard: &[Heard]) -> Vec<u64> {
    let messages = heard.iter().filter(|it| it.kind() == "message");
    messages
        .map(|it| it.text()["data"][0].as_u64().unwrap())
        .collect()
}

/// Where a client is that heard this.
fn newest(heard: &[Heard]) -> Option<String> {
    let message = heard.iter().rfind(|it| it.kind() == "message")?;
    message.text()["cursor"].as_str().map(str::to_owned)
}

#[test]
fn a_cut_in_the_middle_of_a_replay_resumes_after_what_was_whole() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 5, 20);
    let all = {
        let page = resume(&mut stage, &start, ENDLESS);
        stage.cut(&page);
        page.heard()
    };
    assert_eq!(numbers(&all), [1, 2, 3, 4, 5]);
    for room in 1..1_000 {
        let page = resume(&mut stage, &start, room);
        stage.cut(&page);
        let mut heard = page.heard();
        let cursor = newest(&heard).unwrap_or(start.clone());
        let again = resume(&mut stage, &cursor, ENDLESS);
        assert_eq!(again.end(), None);
        let rest = again.heard();
        assert_eq!(rest[0].text()["recovered"], true);
        assert_eq!(rest.last().unwrap().kind(), "caught_up");
        heard.extend(rest);
        assert_eq!(numbers(&heard), [1, 2, 3, 4, 5], "after {room} bytes");
        stage.cut(&again);
    }
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn a_subscribe_during_a_replay_is_answered_behind_it() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 3, 200);
    stage.publish("b", 7, 0);
    let page = resume(&mut stage, &start, 300);
    stage.say(
        &page,
        &json!({"type": "subscribe", "channel": "b", "after": start}),
    );
    stage.publish("a", 4, 0);
    stage.publish("b", 8, 0);
    stage.widen(&page, ENDLESS);
    let heard = page.heard();
    assert_eq!(
        kinds(&heard),
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
    assert_eq!(numbers(&heard), [1, 2, 3, 4, 7, 8]);
    assert_eq!(heard[6].text()["recovered"], true);
    assert_eq!(heard[9].text()["channel"], "b");
}

#[test]
fn of_many_replays_that_are_asked_for_at_once_one_is_kept_at_a_time() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 3, 200);
    let page = stage.narrow_page(0);
    let again = json!({"type": "subscribe", "channel": "a", "after": start}).to_string();
    (1..100).for_each(|_| Stage::put(&page, 1, again.as_bytes()));
    stage.send(&page, 1, again.as_bytes());
    assert_eq!(
        stage.owed(&page),
        3,
        "an answer, its replay and the end of that"
    );
    stage.widen(&page, ENDLESS);
    let heard = page.heard();
    assert_eq!(heard.len(), 100 * (1 + 3 + 1));
    assert!(heard.chunks(5).all(|answer| numbers(answer) == [1, 2, 3]));
}

#[test]
fn a_replay_larger_than_the_outbox_makes_nobody_slow() {
    let mut stage = Stage::new();
    // Fifteen times its bytes.
    let start = fill(&mut stage, 100, 10_000);
    let page = resume(&mut stage, &start, 1_000);
    // Live publications join it.
    for number in 101..=120 {
        stage.publish("a", number, 10_000);
    }
    let mut heard = page.heard();
    while page.end().is_none() && numbers(&heard).len() < 120 {
        stage.pass_ms(100);
        stage.widen(&page, 100_000);
        heard.extend(page.heard());
    }
    let all: Vec<u64> = (1..=120).collect();
    assert_eq!(numbers(&heard), all);
}

#[test]
fn what_is_forgotten_during_a_replay_comes_all_the_same() {
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
    assert_eq!(late.heard()[0].text()["lost"], json!(["a"]));
    stage.widen(&page, ENDLESS);
    let heard = page.heard();
    assert_eq!(heard[0].text()["recovered"], true);
    let all: Vec<u64> = (1..=40).collect();
    assert_eq!(numbers(&heard), all);
}

#[test]
fn a_page_that_comes_to_a_shard_that_is_behind_waits_for_it() {
    let mut stage = Stage::new();
    fill(&mut stage, 1, 0);
    // Another shard has dispatched these two already.
    stage.land("a", 2, 0);
    let seen = stage.land("a", 3, 0);
    stage.land("a", 4, 0);
    let page = resume(&mut stage, &seen, ENDLESS);
    stage.say(&page, &json!({"type": "unsubscribe", "channel": "a"}));
    assert_eq!(page.heard(), [], "nothing it says would be true");
    stage.hand_over();
    let heard = page.heard();
    assert_eq!(
        kinds(&heard),
        ["welcome", "message", "caught_up", "unsubscribed"]
    );
    assert_eq!(numbers(&heard), [4]);
    assert_eq!(heard[0].text()["cursor"], json!(seen));
}

#[test]
fn a_page_that_leaves_while_it_waits_for_a_shard_leaves_nothing_behind() {
    let mut stage = Stage::new();
    let seen = stage.land("a", 1, 0);
    let page = resume(&mut stage, &seen, ENDLESS);
    stage.cut(&page);
    // While it waits its words are not read; its end is, once the shard is there.
    stage.hand_over();
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn a_replay_that_is_taken_in_a_trickle_has_an_end_and_the_next_goes_on_from_there() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 200, 1_000);
    let page = resume(&mut stage, &start, 1_000);
    let mut heard = Vec::new();
    for second in 1..60 {
        stage.pass_ms(1_000);
        stage.widen(&page, 1_000);
        heard.extend(page.heard());
        assert_eq!(page.end(), None, "after {second} s");
    }
    stage.pass_ms(1_000);
    stage.widen(&page, ENDLESS);
    heard.extend(page.heard());
    assert_eq!(heard.last(), Some(&Heard::Close(4101)));
    let read = numbers(&heard).len();
    assert!((50..70).contains(&read), "{read}");
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Reset));

    let cursor = newest(&heard).unwrap();
    let again = resume(&mut stage, &cursor, ENDLESS);
    heard.extend(again.heard());
    let all: Vec<u64> = (1..=200).collect();
    assert_eq!(numbers(&heard), all);
}

#[test]
fn a_replay_that_ends_in_time_leaves_no_clock_running() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 10, 1_000);
    let page = resume(&mut stage, &start, 1_000);
    stage.pass_ms(9_000);
    stage.widen(&page, ENDLESS);
    assert_eq!(page.heard().last().unwrap().kind(), "caught_up");
    // A trickle of what is live is no replay, for as long as it goes on.
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
fn a_token_that_expires_within_a_replay_leaves_no_cursor_behind_what_was_not_sent() {
    let mut stage = Stage::new();
    let start = fill(&mut stage, 5, 200);
    let page = stage.open();
    stage.narrow(&page, 900);
    stage.say(&page, &super::stage::connect_for(2, &start));
    // With its leeway; the kernel has not refused for long enough to be slow.
    stage.pass_ms(8_000);
    stage.widen(&page, ENDLESS);
    let heard = page.heard();
    let last = heard.len() - 2;
    assert_eq!(heard[0].kind(), "welcome");
    assert_eq!(heard[last].text()["code"], 4003);
    let messages = &heard[1..last];
    assert!(!messages.is_empty() && messages.iter().all(|it| it.kind() == "message"));
    assert!(numbers(&heard).len() < 5);
}
