//! Unfinished messages, and connections that are ended because memory is short.

use lineside_hub::{Pool, Stage as Short};

use super::stage::{ENDLESS, End, Page, Received, Stage, connect};

/// Ceiling of these tests, in bytes. One shard may hold 12 % of it in unfinished messages.
const CEILING: usize = 10_000_000;

/// Sends the head of the largest message, and some of its payload.
fn begin_message(stage: &mut Stage, page: &Page, bytes: usize) {
    let mut frame = vec![0x81, 0x80 | 127];
    frame.extend(131_072_u64.to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(frame.len() + bytes, b'x');
    stage.send_raw(page, &frame);
}

/// Code of the close frame, if one came.
fn close_code(page: &Page) -> Option<u16> {
    match page.received().last() {
        Some(Received::Close(code)) => Some(*code),
        _ => None,
    }
}

#[test]
fn largest_unfinished_messages_end_when_all_exceed_their_share() {
    let mut stage = Stage::new();
    stage.broker.memory().limit(CEILING);
    let small = stage.open();
    begin_message(&mut stage, &small, 1_000);
    let large: Vec<_> = (0..20).map(|_| stage.open()).collect();
    for page in &large {
        begin_message(&mut stage, page, 100_000);
    }
    let memory = stage.broker.memory();
    let share = memory.messages_bytes_max();
    let held = memory.size(Pool::Messages);
    assert!(held > share / 2 && held <= share, "{held} of {share}");
    let ended = large.iter().filter(|page| close_code(page) == Some(4105));
    let ended = ended.count() as u64;
    assert!((9..=13).contains(&ended), "{ended}");
    assert_eq!(memory.given_up(Short::Messages), ended);
    assert_eq!(close_code(&small), None);
    stage.pass_ms(60_000);
    assert_eq!(stage.worker.connections(), 0);
    assert_eq!(stage.broker.memory().counted(), 0);
}

#[test]
fn unfinished_messages_are_ended_when_memory_is_short() {
    let mut stage = Stage::new();
    stage.broker.memory().limit(CEILING);
    let pages = [(); 5].map(|()| stage.open());
    for page in &pages {
        begin_message(&mut stage, page, 100_000);
    }
    stage.broker.memory().set(Pool::Other, CEILING / 100 * 87);
    stage.turns();
    let ended = pages.iter().filter(|page| close_code(page) == Some(4105));
    assert_eq!(ended.count(), 3, "a quarter of the share is left");
}

#[test]
fn several_unfinished_messages_end_at_once_while_memory_is_short() {
    let mut stage = Stage::new();
    stage.broker.memory().limit(CEILING);
    stage.broker.memory().set(Pool::Other, CEILING / 100 * 89);
    let (mut ended, mut passes) = (0, 0);
    for _ in 0..100 {
        let page = stage.open();
        begin_message(&mut stage, &page, 20_000);
        let before = std::mem::replace(&mut ended, stage.broker.memory().given_up(Short::Messages));
        passes += u64::from(ended > before);
    }
    // Otherwise each message would cost a pass over all connections.
    assert!(ended >= 2 * passes && passes > 0, "{ended} by {passes}");
}

#[test]
fn message_that_is_not_finished_within_30_s_ends_its_connection() {
    let mut stage = Stage::new();
    let (page, other) = (stage.page(None), stage.page(None));
    begin_message(&mut stage, &page, 1_000);
    // Every piece answers the pings.
    for _ in 0..29 {
        stage.pass_ms(1_000);
        stage.send_raw(&page, b"x");
        stage.send(&other, 0xa, &[]);
    }
    stage.pass_ms(999);
    assert_eq!(close_code(&page), None);
    stage.pass_ms(1);
    assert_eq!(close_code(&page), Some(4104));
    assert_eq!(close_code(&other), None);
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Closed));
}

#[test]
fn messages_that_are_each_finished_in_time_end_no_connection() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    // Each piece ends a pong and begins the next one.
    stage.send_raw(&page, &[0x8a, 0x80]);
    for _ in 0..40 {
        stage.pass_ms(2_000);
        stage.send_raw(&page, &[0, 0, 0, 0, 0x8a, 0x80]);
    }
    assert_eq!(close_code(&page), None);
}

#[test]
fn time_in_which_a_connection_is_not_read_does_not_count_for_its_message() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(1);
    stage.publish("a", 1, 10_000);
    begin_message(&mut stage, &page, 1_000);
    for _ in 0..5 {
        stage.pass_ms(9_000);
        stage.widen(&page, 10);
    }
    stage.widen(&page, ENDLESS);
    for _ in 0..20 {
        stage.pass_ms(1_000);
        stage.send_raw(&page, b"x");
    }
    assert_eq!(close_code(&page), None);
}

#[test]
fn slow_connections_with_large_backlogs_end_when_memory_is_short() {
    let mut stage = Stage::new();
    stage.broker.memory().limit(CEILING);
    let start = stage.broker.cursor().to_string();
    for number in 0..100 {
        stage.publish("a", number, 9_000);
    }
    let replaying = stage.open();
    stage.narrow(&replaying, 1_000);
    stage.request(&replaying, &connect(Some(&start)));
    let (slow, reading) = (stage.narrow_page(1), stage.page(None));
    stage.publish("a", 100, 9_000);
    stage.turns();
    stage.broker.memory().set(Pool::Other, CEILING / 100 * 86);
    stage.pass_ms(10);
    stage.widen(&replaying, ENDLESS);
    stage.widen(&slow, ENDLESS);
    assert_eq!(close_code(&replaying), Some(4101));
    assert_eq!((close_code(&slow), close_code(&reading)), (None, None));
    assert_eq!(stage.broker.memory().given_up(Short::Backlogs), 1);
    let resumed = stage.page(Some(&start));
    let replayed = resumed
        .received()
        .iter()
        .filter(|it| it.kind() == "message")
        .count();
    assert_eq!(replayed, 101, "it resumes");
}
