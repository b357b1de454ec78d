//! What happens because time passed, to the millisecond.

use super::super::Limits;
use super::stage::{ENDLESS, End, Heard, LIMITS, Stage, connect};

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
    // Nobody is waited for who is not there.
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
fn further_pings_do_not_put_off_the_end_of_a_silent_page() {
    let mut stage = Stage::with(Limits {
        heartbeat_seconds: 1,
        ..LIMITS
    });
    let page = stage.page(None);
    stage.pass_ms(10_999);
    assert_eq!(page.heard().len(), 1 + 10 * 2);
    stage.pass_ms(1);
    assert_eq!(page.heard().last(), Some(&Heard::Close(4102)));
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
fn a_page_with_a_replay_to_read_is_asked_for_no_answer() {
    let mut stage = Stage::new();
    let start = stage.publish("a", 0, 0);
    for number in 1..=50 {
        stage.publish("a", number, 1_000);
    }
    let page = stage.open();
    stage.narrow(&page, 1_000);
    stage.say(&page, &connect(Some(&start)));
    let mut heard = Vec::new();
    for _ in 0..10 {
        stage.pass_ms(5_000);
        stage.widen(&page, 1_000);
        heard.extend(page.heard());
    }
    assert!((5..50).contains(&heard.len()), "it is not through yet");
    stage.widen(&page, ENDLESS);
    heard.extend(page.heard());
    assert!(heard[1..51].iter().all(|it| it.kind() == "message"));
    assert_eq!(heard[51].kind(), "caught_up");
    assert_eq!(heard.len(), 52, "{:?}", &heard[52..]);
}

#[test]
fn a_page_that_cannot_be_heard_is_slow_and_not_silent() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    stage.pass_ms(25_000);
    page.heard();
    // It was pinged; then the kernel refuses, and what the page answers is not read.
    stage.pass_ms(1_000);
    stage.narrow(&page, 0);
    stage.publish("a", 1, 0);
    stage.pass_ms(10_000);
    stage.widen(&page, ENDLESS);
    assert_eq!(page.heard().last(), Some(&Heard::Close(4101)));
}
