//! The link: handshake, acks and receipts, sequences, and the newest position.

use lineside_protocol::codes::{LINK_REPLACED, LINK_UNSUPPORTED_VERSION};
use lineside_protocol::frame::{PROTOCOL_VERSION, Skip, ToPublisher, ToSidecar};
use lineside_publisher::{PublishOptions, Settings};
use lineside_token::Keys;
use serde_json::json;

use crate::support::{
    PUBLISH, SECRET, hello, position, publication, publish, raw_frame, sidecar, within,
};

#[test]
fn welcome_has_the_journal_position_and_the_last_sequence() {
    let sidecar = sidecar();
    let cursor = sidecar.publisher().publish("a", 1);
    let welcome = sidecar.raw_link().handshake(hello(1));
    assert_eq!(welcome.version, PROTOCOL_VERSION);
    assert_eq!(welcome.last, 0);
    assert_eq!(welcome.epoch.at(welcome.position).to_string(), cursor);
    assert_eq!(
        welcome.fingerprint,
        Keys::parse(SECRET).unwrap().fingerprint()
    );
    let mut done = hello(2);
    done.done = 41;
    assert_eq!(sidecar.raw_link().handshake(done).last, 41);
}

#[test]
fn hello_of_another_version_is_refused_with_both_versions() {
    let sidecar = sidecar();
    for (min, max) in [
        (PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 7),
        (0, PROTOCOL_VERSION - 1),
    ] {
        let mut link = sidecar.raw_link();
        let mut other = hello(1);
        (other.version_min, other.version_max) = (min, max);
        let mut bytes = Vec::new();
        ToSidecar::Hello(other).encode(&mut bytes);
        link.send(&bytes);
        let (code, message) = link.expect_fault();
        assert_eq!(code, LINK_UNSUPPORTED_VERSION.number);
        for version in [min, max, PROTOCOL_VERSION] {
            assert!(message.contains(&version.to_string()), "{message}");
        }
    }
    let mut both = hello(2);
    (both.version_min, both.version_max) = (PROTOCOL_VERSION, 200);
    assert_eq!(sidecar.raw_link().handshake(both).version, PROTOCOL_VERSION);
}

#[test]
fn newer_link_of_a_publisher_replaces_the_older_one() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let mut older = sidecar.raw_publisher(1);
    older.send(&publish(1, "a", "1"));
    older.read_until_ack(1);
    // Half a frame, which the newer link must not complete.
    let cut = publish(2, "a", "\"from the older link\"");
    older.send(&cut[..cut.len() / 2]);
    let mut newer = sidecar.raw_link();
    assert_eq!(newer.handshake(hello(1)).last, 1);
    assert_eq!(older.expect_fault().0, LINK_REPLACED.number);
    newer.send(&publish(1, "a", "\"again\""));
    newer.send(&publish(2, "a", "2"));
    newer.read_until_ack(2);
    browser.expect_message("a", json!(1));
    browser.expect_message("a", json!(2));
}

#[test]
fn sequences_may_jump_and_older_ones_are_dropped() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    link.send(&publish(1, "a", "1"));
    link.send(&publish(5, "a", "5"));
    link.send(&publish(3, "a", "3"));
    link.send(&publish(5, "a", "5"));
    let mut skip = Vec::new();
    ToSidecar::Skip(Skip { through: 9 }).encode(&mut skip);
    link.send(&skip);
    link.send(&publish(9, "a", "9"));
    link.send(&publish(10, "a", "10"));
    link.read_until_ack(10);
    for number in [1, 5, 10] {
        browser.expect_message("a", json!(number));
    }
    sidecar.logged(&["event=publications_skipped", "through=9"]);
}

#[test]
fn receipt_has_the_position_that_browsers_receive() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    link.send(&raw_frame(PUBLISH, 1, &[], &publication(1, "1")));
    let mut answers = link.read_until_ack(1);
    let Some(ToPublisher::Receipt(receipt)) = answers.pop() else {
        panic!("{answers:?}")
    };
    let cursor = browser.expect_message("a", json!(1));
    assert_eq!(
        (receipt.sequence, receipt.position.0),
        (1, position(&cursor))
    );
    // A retransmitted frame gets the same answer.
    link.send(&raw_frame(PUBLISH, 1, &[], &publication(1, "1")));
    assert_eq!(
        link.read_until_ack(1).pop(),
        Some(ToPublisher::Receipt(receipt))
    );
}

#[test]
fn idle_publisher_receives_the_newest_position() {
    let sidecar = sidecar();
    let mut idle = sidecar.raw_publisher(1);
    let cursor = sidecar.publisher().publish("a", 1);
    let Some(ToPublisher::Moved(moved)) = idle.next() else {
        panic!("no frame with the position")
    };
    assert_eq!(moved.position.0, position(&cursor));
    // The gem's publisher makes it the cursor of pages.
    let other = sidecar.publisher();
    other.inner.connect().unwrap();
    within("the first cursor", || other.inner.cursor());
    let cursor = sidecar.publisher().publish("a", 2);
    within("the newest cursor", || {
        (other.inner.cursor()?.to_string() == cursor).then_some(())
    });
}

#[test]
fn publisher_with_another_key_is_refused() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let other_key = Keys::parse("another secret of these tests: 98765").unwrap();
    let mut settings = Settings::new(sidecar.place().link(), "other app");
    settings.fingerprint = other_key.fingerprint();
    let publisher = lineside_publisher::Publisher::new(settings);
    let options = PublishOptions::default();
    publisher.publish("a", b"1", options).unwrap();
    sidecar.logged(&[
        "level=error",
        "event=link_fault",
        "code=key_mismatch",
        "publisher=\"other app\"",
    ]);
    within("the refusal", || publisher.status().mismatch.then_some(()));
    let status = publisher.status();
    assert!(!status.linked && status.last_error.unwrap().contains("different secrets"));
    // A publisher with the same key, or without one, is accepted.
    sidecar.publisher().publish("a", 2);
    browser.expect_message("a", json!(2));
}
