//! Who is slow, who is not, and how it ends.

use lineside_hub::OUTBOX_ITEMS_MAX;

use super::super::Limits;
use super::stage::{ENDLESS, End, Heard, LIMITS, Stage};

/// The last two frames of a page that was slow: why, and the close.
#[track_caller]
fn assert_told_slow(heard: &[Heard]) {
    let [.., told, close] = heard else {
        panic!("{heard:?}")
    };
    assert_eq!(told.text()["code"], 4101);
    assert!(told.text()["after_ms"].is_u64());
    assert_eq!(*close, Heard::Close(4101));
}

#[test]
fn a_page_that_reads_nothing_for_ten_seconds_is_told_and_reset() {
    let mut stage = Stage::new();
    let (deaf, other) = (stage.narrow_page(100), stage.page(None));
    other.heard();
    stage.publish("a", 1, 100);
    stage.pass_ms(9_999);
    assert_eq!(stage.worker.connections(), 2);
    stage.pass_ms(1 + 1_999);
    assert_eq!(deaf.end(), None, "it has two seconds to read why");
    stage.pass_ms(1);
    assert_eq!(deaf.end(), Some(End::Reset));
    assert_eq!(deaf.heard(), [], "half a message is none");
    assert_eq!(other.messages(), [1]);
    assert_eq!(stage.worker.connections(), 1);
}

#[test]
fn a_slow_page_that_reads_again_in_time_learns_why() {
    let mut stage = Stage::new();
    let deaf = stage.narrow_page(100);
    stage.publish("a", 1, 100);
    stage.publish("a", 2, 100);
    stage.pass_ms(11_000);
    stage.widen(&deaf, ENDLESS);
    let heard = deaf.heard();
    assert_eq!(heard[0].text()["data"][0], 1, "it was begun");
    assert_eq!(heard.len(), 3, "nothing more is sent: {heard:?}");
    assert_told_slow(&heard);
    stage.send(&deaf, 8, &4101_u16.to_be_bytes());
    assert_eq!(deaf.end(), Some(End::Closed));
}

#[test]
fn a_page_to_which_too_many_bytes_are_owed_is_told_at_once() {
    let mut stage = Stage::new();
    let deaf = stage.narrow_page(1);
    for number in 0..6 {
        stage.publish("a", number, 10_000);
    }
    stage.narrow(&deaf, 0);
    assert_eq!(stage.worker.connections(), 1);
    stage.publish("a", 6, 10_000);
    stage.widen(&deaf, ENDLESS);
    assert_told_slow(&deaf.heard());
}

#[test]
fn a_page_to_which_too_many_frames_are_owed_is_told_at_once() {
    let limits = Limits {
        outbox_bytes_max: usize::MAX,
        ..LIMITS
    };
    let mut stage = Stage::with(limits);
    let (deaf, patient) = (stage.narrow_page(1), stage.narrow_page(1));
    for number in 0..OUTBOX_ITEMS_MAX {
        stage.publish("a", number as u64, 0);
    }
    stage.widen(&patient, ENDLESS);
    assert_eq!(patient.messages().len(), OUTBOX_ITEMS_MAX);
    stage.publish("a", 0, 0);
    stage.widen(&deaf, ENDLESS);
    assert_told_slow(&deaf.heard());
    assert_eq!(patient.messages(), [0]);
}

#[test]
fn a_page_that_takes_a_little_now_and_then_is_not_slow() {
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
    let heard = page.heard();
    let messages = heard.iter().filter(|it| it.kind() == "message");
    assert_eq!(messages.count(), 5);
    assert_eq!(page.end(), None);
}

#[test]
fn our_own_pause_makes_nobody_slow_however_many_they_are() {
    let mut stage = Stage::with(Limits {
        heartbeat_seconds: 1_000,
        ..LIMITS
    });
    // More than one slice of writes.
    let pages: Vec<_> = (0..600).map(|_| stage.narrow_page(1)).collect();
    stage.publish("a", 1, 100);
    stage.stand_still_ms(100_000);
    // While we stood still they read all: the kernel says so first.
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
fn frames_are_whole_however_little_is_taken_at_a_time() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(1);
    for number in 0..3 {
        stage.publish("a", number, number.try_into().unwrap());
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        stage.widen(&page, 1);
        heard.extend(page.messages());
    }
    assert_eq!(heard, [0, 1, 2]);
}
