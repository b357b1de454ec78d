//! Events during a replay: a lost connection, requests, publications and evictions from the history. `seam.rs` has replays
//! on a lagging shard, `resume.rs` replays larger than the outbox, `slow.rs` replays that are not read.

use serde_json::{Value, json};

use crate::support::{Browser, Place, Publisher, Sidecar, place};

/// Publications of one replay: 18 MB at 60 kB each, more than the kernel's buffers of one connection hold.
const COUNT: u64 = 300;

fn large_history() -> Place {
    place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b")
        // On a busy machine a replay takes longer than the default limits of slow readers.
        .with("LINESIDE_SLOW_SECONDS_MAX", 600)
        .with("LINESIDE_REPLAY_SECONDS_MAX", 600)
        .with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", COUNT)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
}

/// Publishes `COUNT` numbers to `a`; returns the cursor before them.
fn fill(publisher: &Publisher, bytes: usize) -> String {
    let before = publisher.publish("b", "before");
    let text = "x".repeat(bytes);
    for number in 0..COUNT {
        publisher.enqueue("a", json!([number, text]));
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

/// Receives a message of the channel `a` with this number.
#[track_caller]
fn expect(browser: &mut Browser, number: u64) {
    let envelope = browser.next();
    assert_eq!(envelope["type"], "message", "expected {number}");
    assert_eq!(
        (&envelope["channel"], &envelope["data"][0]),
        (&json!("a"), &json!(number))
    );
}

#[test]
fn interrupted_replay_resumes_after_the_last_received_message() {
    let sidecar = large_history().start();
    let before = fill(&sidecar.publisher(), 100);
    for cut in [0, 1, 2, COUNT / 2, COUNT - 1, COUNT] {
        let mut browser = sidecar.browser(connect(&before));
        (0..cut).for_each(|number| expect(&mut browser, number));
        // Before `caught_up`, a channel resumes after its newest message.
        let cursor = browser.cursor.clone();
        drop(browser);
        let mut browser = sidecar.browser(connect(&cursor));
        assert_eq!(browser.welcome["recovered"], true);
        (cut..COUNT).for_each(|number| expect(&mut browser, number));
        assert_eq!(browser.next()["type"], "caught_up");
    }
}

/// A browser whose replay has begun and that has read nothing after its welcome.
fn begin_replay(sidecar: &Sidecar, before: &str) -> Browser {
    let browser = sidecar.browser(connect(before));
    assert_eq!(browser.welcome["recovered"], true);
    browser
}

#[test]
fn subscribe_during_a_replay_is_answered_after_it() {
    let sidecar = large_history().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begin_replay(&sidecar, &before);
    browser.send(json!({"type": "subscribe", "channel": "b", "after": before, "ref": 1}));
    // `a` is subscribed: its message follows the replay. `b` is not yet: its message is replayed after `subscribed`.
    publisher.publish("a", json!([COUNT]));
    publisher.publish("b", "during the replay");
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    expect(&mut browser, COUNT);
    let answer = browser.next();
    assert_eq!(
        (&answer["type"], &answer["ref"]),
        (&json!("subscribed"), &json!(1))
    );
    assert_eq!(answer["recovered"], true);
    browser.expect_message("b", json!("during the replay"));
    let end = browser.next();
    assert_eq!(
        (&end["type"], &end["channel"]),
        (&json!("caught_up"), &json!("b"))
    );
    publisher.publish("b", "live");
    browser.expect_message("b", json!("live"));
}

#[test]
fn replay_is_complete_although_history_is_evicted_meanwhile() {
    let sidecar = large_history().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begin_replay(&sidecar, &before);
    // Evicts everything that the replay still has to send.
    for number in COUNT..2 * COUNT {
        publisher.enqueue("a", json!([number]));
    }
    publisher.flush();
    let late = sidecar.browser(connect(&before));
    assert_eq!(late.welcome["lost"], json!(["a"]));
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    (COUNT..2 * COUNT).for_each(|number| expect(&mut browser, number));
}

#[test]
fn unsubscribe_during_a_replay_is_answered_after_it() {
    let sidecar = large_history().start();
    let publisher = sidecar.publisher();
    let before = fill(&publisher, 60_000);
    let mut browser = begin_replay(&sidecar, &before);
    browser.send(json!({"type": "unsubscribe", "channel": "a"}));
    (0..COUNT).for_each(|number| expect(&mut browser, number));
    assert_eq!(browser.next()["type"], "caught_up");
    browser.expect(json!({"type": "unsubscribed", "channel": "a"}));
    publisher.publish("a", "must not arrive");
    browser.subscribe(json!({"channel": "b"}));
}
