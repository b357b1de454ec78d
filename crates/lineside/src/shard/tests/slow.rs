//! Slow readers: detection, and the end of their connections.

use lineside_hub::OUTBOX_ITEMS_MAX;

use super::super::Limits;
use super::stage::{ENDLESS, End, LIMITS, Received, Stage};

/// Asserts that the last two frames give slowness as the reason, and close.
#[track_caller]
fn assert_ended_as_slow(received: &[Received]) {
    let [.., reason, close] = received else {
        panic!("{received:?}")
    };
    assert_eq!(reason.text()["code"], 4101);
    assert!(reason.text()["after_ms"].is_u64());
    assert_eq!(*close, Received::Close(4101));
}

#[test]
fn page_that_reads_nothing_is_reset_after_10_s_and_2_s_for_its_close() {
    let mut stage = Stage::new();
    let (stalled, other) = (stage.narrow_page(100), stage.page(None));
    other.received();
    stage.publish("a", 1, 100);
    stage.pass_ms(9_999);
    assert_eq!(stage.worker.connections(), 2);
    stage.pass_ms(1 + 1_999);
    assert_eq!(stalled.end(), None, "two seconds are left for the close");
    stage.pass_ms(1);
    assert_eq!(stalled.end(), Some(End::Reset));
    assert_eq!(stalled.received(), [], "the message is incomplete");
    assert_eq!(other.messages(), [1]);
    assert_eq!(stage.worker.connections(), 1);
}

#[test]
fn slow_page_that_reads_again_receives_the_reason() {
    let mut stage = Stage::new();
    let stalled = stage.narrow_page(100);
    stage.publish("a", 1, 100);
    stage.publish("a", 2, 100);
    stage.pass_ms(11_000);
    stage.widen(&stalled, ENDLESS);
    let received = stalled.received();
    assert_eq!(received[0].text()["data"][0], 1, "it was partly written");
    assert_eq!(received.len(), 3, "only the reason follows: {received:?}");
    assert_ended_as_slow(&received);
    stage.send(&stalled, 8, &4101_u16.to_be_bytes());
    assert_eq!(stalled.end(), Some(End::Closed));
}

#[test]
fn page_with_too_many_unsent_bytes_is_slow_at_once() {
    let mut stage = Stage::new();
    let stalled = stage.narrow_page(1);
    for number in 0..6 {
        stage.publish("a", number, 10_000);
    }
    stage.narrow(&stalled, 0);
    assert_eq!(stage.worker.connections(), 1);
    stage.publish("a", 6, 10_000);
    stage.widen(&stalled, ENDLESS);
    assert_ended_as_slow(&stalled.received());
}

#[test]
fn page_with_too_many_unsent_frames_is_slow_at_once() {
    let limits = Limits {
        outbox_bytes_max: usize::MAX,
        ..LIMITS
    };
    let mut stage = Stage::with(limits);
    let (stalled, reading) = (stage.narrow_page(1), stage.narrow_page(1));
    for number in 0..OUTBOX_ITEMS_MAX {
        stage.publish("a", number as u64, 0);
    }
    stage.widen(&reading, ENDLESS);
    assert_eq!(reading.messages().len(), OUTBOX_ITEMS_MAX);
    stage.publish("a", 0, 0);
    stage.widen(&stalled, ENDLESS);
    assert_ended_as_slow(&stalled.received());
    assert_eq!(reading.messages(), [0]);
}

#[test]
fn page_that_reads_a_little_every_9_s_is_not_slow() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(1);
    for number in 0..5 {
        stage.publish("a", number, 10_000);
    }
    for _ in 0..50 {
        stage.pass_ms(9_000);
        stage.widen(&page, 1_000);
        stage.send(&page, 0xa, &[]);
    }
    stage.widen(&page, ENDLESS);
    let received = page.received();
    let messages = received.iter().filter(|it| it.kind() == "message");
    assert_eq!(messages.count(), 5);
    assert_eq!(page.end(), None);
}

/// Linux reports the kernel buffer as writable only when a third of it is free.
#[test]
fn page_that_reads_is_not_slow_although_the_kernel_reports_nothing() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(1);
    for number in 0..5 {
        stage.publish("a", number, 10_000);
    }
    for _ in 0..20 {
        stage.pass_ms(9_999);
        stage.narrow(&page, 1_000);
        stage.pass_ms(1);
        stage.send(&page, 0xa, &[]);
    }
    stage.pass_ms(9_999);
    assert_eq!(page.messages(), [0]);
    stage.pass_ms(1);
    stage.widen(&page, ENDLESS);
    assert_ended_as_slow(&page.received());
}

#[test]
fn pages_are_not_slow_after_a_suspension_of_the_process() {
    let mut stage = Stage::with(Limits {
        heartbeat_seconds: 1_000,
        ..LIMITS
    });
    // More than one slice of writes.
    let pages: Vec<_> = (0..600).map(|_| stage.narrow_page(1)).collect();
    stage.publish("a", 1, 100);
    stage.suspend_ms(100_000);
    // They read everything meanwhile, and the kernel reports that first.
    for page in &pages {
        stage.narrow(page, ENDLESS);
    }
    for slot in 0..pages.len() {
        stage.worker.writable(slot);
    }
    stage.turns();
    for page in &pages {
        assert_eq!(page.messages(), [1]);
    }
    stage.publish("a", 2, 0);
    assert!(pages.iter().all(|page| page.messages() == [2]));
}

#[test]
fn frames_are_complete_when_one_byte_is_written_at_a_time() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(1);
    for number in 0..3 {
        stage.publish("a", number, number.try_into().unwrap());
    }
    let mut received = Vec::new();
    while received.len() < 3 {
        stage.widen(&page, 1);
        received.extend(page.messages());
    }
    assert_eq!(received, [0, 1, 2]);
}
