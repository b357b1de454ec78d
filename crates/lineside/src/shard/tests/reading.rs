//! Reading of requests, and requests that wait.

use serde_json::json;

use super::stage::{ENDLESS, Stage};

#[test]
fn request_larger_than_the_reads_of_one_turn_is_answered() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.received();
    // Readiness is reported only once.
    let padding = "x".repeat(100_000);
    let request = json!({"type": "unsubscribe", "channel": "b", "padding": padding});
    stage.request(&page, &request);
    assert_eq!(page.received().len(), 1);
}

#[test]
fn requests_wait_while_a_page_does_not_read_its_replies() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(0);
    let request = json!({"type": "unsubscribe", "channel": "b"});
    for _ in 0..50 {
        stage.request(&page, &request);
        assert_eq!(stage.outbox_items(&page), 1);
    }
    stage.widen(&page, ENDLESS);
    assert_eq!(page.received().len(), 50);
}
