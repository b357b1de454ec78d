//! When a page is heard, and when its words wait.

use serde_json::json;

use super::stage::{ENDLESS, Stage};

#[test]
fn more_than_is_read_in_one_turn_is_read_in_the_next() {
    let mut stage = Stage::new();
    let page = stage.page(None);
    page.heard();
    // The kernel tells only once that it is there.
    let padding = "x".repeat(100_000);
    let request = json!({"type": "unsubscribe", "channel": "b", "padding": padding});
    stage.say(&page, &request);
    assert_eq!(page.heard().len(), 1);
}

#[test]
fn a_page_that_does_not_read_its_answers_is_not_heard_until_it_does() {
    let mut stage = Stage::new();
    let page = stage.narrow_page(0);
    let request = json!({"type": "unsubscribe", "channel": "b"});
    for _ in 0..50 {
        stage.say(&page, &request);
        assert_eq!(stage.owed(&page), 1);
    }
    stage.widen(&page, ENDLESS);
    assert_eq!(page.heard().len(), 50);
}
