//! What crosses a replay: a cut, a request, what is published and what is forgotten meanwhile. (One that comes to a shard
//! that is behind: `seam.rs`; one that is larger than an outbox: `resume.rs`; one that nobody reads: `slow.rs`.)

use serde_json::{Value, json};

use crate::support::{Browser, Place, Publisher, Sidecar, place};

/// More than the kernel's buffers of one connection take: 18 MB.
const COUNT: u64 = 300;

fn roomy() -> Place {
    place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b")
        .with("LINESIDE_SLOW_SECONDS_MAX", 600)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", COUNT)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
}

/// Publishes `COUNT` numbers to `a`; gives the cursor before them.
fn fill(publisher: &Publisher, bytes: usize) -> String {
    let before = publisher.publish("b", "before");
    let text = "x".repeat(bytes);
    for number in 0..COUNT {
        publisher.cast("a", json!([number, text]));
        if number % 50 == 49 {
            publisher.flush();
        }
    }
    publisher.flush();
    before
}

fn connect(after: &str) -> Value {
    json!({"subscribe": [{"channel": "a", "after": after}]})
}

/// The next message of the channel `a` is this number.
#[track_caller]
fn expect(browser: &mut Browser, number: u64) {
    let envelope = browser.next();
    assert_eq!(envelope["type"], "message", "instead of {number}");
    assert_eq!(
        (&envelope["channel"], &envelope["data"][0]),
        (&json!("a"), &json!(number))
    );
}

#[test]
fn a_cut_in_the_middle_of_a_replay_resumes_after_what_was_received() {
    let sidecar = roomy().start();
    let before = fill(&sidecar.publisher(), 100);
    for cut in [0, 1, 2, COUNT / 2, COUNT - 1, COUNT] {
        let mut browser = sidecar.browser(connect(&before));
        (0..cut).for_each(|number| expect(&mut browser, number));
        // Between `connect` and `caught_up` the channel's cursor is its newest message's.
        let cursor = browser.cursor.clone();
        drop(browser);
        let mut browser = sidecar.browser(connect(&cursor));
        assert_eq!(browser.welcome["recovered"], true);
        (cut..COUNT).for_each(|number| expect(&mut browser, number));
        assert_eq!(browser.next()["type"], "caught_up");
    }
}

/// Has a browser begin a replay that the kernel cannot hold, and read no more than its welcome; waits until that is so.
fn begun(sidecar: &Sidecar, before: &str) -> Browser {
    let browser = sidecar.browser(connect(before));
    assert_eq!(browser.welcome["recovered"], true);
    browser
}

#[test]
fn a_subscribe_during_a_replay_is_answered_behind_it() {
    let sidecar = roomy().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begun(&sidecar, &before);
    browser.send(json!({"type": "subscribe", "channel": "b", "after": before, "ref": 1}));
    // It is not subscribed yet, and `a` is: the one waits behind the replay, the other is missed, and replayed.
    publisher.publish("a", json!([COUNT]));
    publisher.publish("b", "meanwhile");
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    expect(&mut browser, COUNT);
    let answer = browser.next();
    assert_eq!(
        (&answer["type"], &answer["ref"]),
        (&json!("subscribed"), &json!(1))
    );
    assert_eq!(answer["recovered"], true);
    browser.expect_message("b", json!("meanwhile"));
    let end = browser.next();
    assert_eq!(
        (&end["type"], &end["channel"]),
        (&json!("caught_up"), &json!("b"))
    );
    publisher.publish("b", "live");
    browser.expect_message("b", json!("live"));
}

#[test]
fn what_is_forgotten_during_a_replay_comes_all_the_same() {
    let sidecar = roomy().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begun(&sidecar, &before);
    // As many again: of what the replay promised the journal holds nothing any more.
    for number in COUNT..2 * COUNT {
        publisher.publish("a", json!([number]));
    }
    let late = sidecar.browser(connect(&before));
    assert_eq!(late.welcome["lost"], json!(["a"]));
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    (COUNT..2 * COUNT).for_each(|number| expect(&mut browser, number));
}

#[test]
fn an_unsubscribe_during_a_replay_ends_it_behind_the_replay() {
    let sidecar = roomy().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begun(&sidecar, &before);
    browser.send(json!({"type": "unsubscribe", "channel": "a"}));
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    browser.expect(json!({"type": "unsubscribed", "channel": "a"}));
    publisher.publish("a", "not for it");
    browser.subscribe(json!({"channel": "b"}));
}
