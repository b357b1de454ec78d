//! What happens because time passed, to the millisecond.

use super::stage::{End, Heard, LIMITS, Stage};
use crate::shard::Limits;

#[test]
fn a_page_that_never_connects_is_sent_away_after_five_seconds() {
    let mut stage = Stage::new();
    let page = stage.open();
    stage.pass_ms(4_999);
    assert_eq!(page.heard(), []);
    stage.pass_ms(1);
    assert_eq!(page.heard().last(), Some(&Heard::Close(4103)));
    assert_eq!(page.end(), None);
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Closed));
    assert_eq!(stage.worker.connections(), 0);
}

#[test]
fn a_page_that_answers_no_ping_is_let_go_ten_seconds_after_it() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.heard();
    stage.pass_ms(24_999);
    assert_eq!(page.heard(), []);
    stage.pass_ms(1);
    let kinds: Vec<_> = page.heard().iter().map(|it| it.kind().to_owned()).collect();
    assert_eq!(kinds, ["a ping of the WebSocket", "ping"]);
    stage.pass_ms(9_999);
    assert_eq!(page.heard(), []);
    stage.pass_ms(1);
    assert_eq!(page.heard().last(), Some(&Heard::Close(4102)));
    stage.pass_ms(2_000);
    assert_eq!(page.end(), Some(End::Closed));
}

#[test]
fn a_heartbeat_shorter_than_the_time_to_connect_is_kept_from_the_first() {
    let heartbeat_seconds = 1;
    let mut stage = Stage::with(Limits {
        heartbeat_seconds,
        ..LIMITS
    });
    let page = stage.page(None);
    page.heard();
    for _ in 0..3 {
        stage.pass_ms(999);
        assert_eq!(page.heard(), []);
        stage.pass_ms(1);
        assert_eq!(page.heard().len(), 2, "two pings");
        stage.send(&page, 0xa, &[]);
    }
}

#[test]
fn anything_that_is_heard_counts_as_an_answer() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.heard();
    for number in 0..10 {
        stage.pass_ms(25_000);
        assert_eq!(page.heard().len(), 2, "two pings");
        stage.pass_ms(9_000);
        // Half a frame is enough.
        stage.send(&page, 0xa, &[]);
        stage.publish("a", number, 1);
        assert_eq!(page.messages(), [number]);
        stage.pass_ms(16_000);
        page.heard();
        stage.send(&page, 0xa, &[]);
    }
}

#[test]
fn a_page_that_neither_reads_nor_answers_is_let_go_all_the_same() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(0);
    // The pings themselves are refused by the kernel.
    stage.pass_ms(25_000 + 10_000 + 2_000);
    assert_eq!(page.end(), Some(End::Reset));
    assert_eq!(stage.worker.connections(), 0);
}

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
