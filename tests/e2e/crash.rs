//! SIGKILL of the sidecar: every resume is `lost`, and publishers retransmit what was not acked.

use lineside_protocol::Epoch;
use lineside_protocol::frame::{Publish, ToPublisher};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{hello, place, publish, token_for, within};

#[test]
fn after_a_kill_every_resume_is_lost_in_a_new_epoch() {
    let place = place();
    let sidecar = place.start();
    let publisher = place.publisher();
    let token = token_for("1", &["a"], &[]);
    let mut browser = sidecar.browser(json!({"token": token}));
    let cursor = publisher.publish("a", 1);
    browser.expect_message("a", json!(1));
    sidecar.kill();

    let sidecar = place.start();
    let mut browser = sidecar.browser(json!({"token": token, "after": cursor}));
    assert_eq!(browser.welcome["recovered"], false);
    assert_eq!(browser.welcome["lost"], json!(["user:1", "a"]));
    // The publisher reconnects by itself.
    let after = publisher.publish("a", 2);
    assert_eq!(browser.expect_message("a", json!(2)), after);
    let epoch = |cursor: &str| cursor.split_once('.').unwrap().0.to_owned();
    assert_ne!(epoch(&cursor), epoch(&after));
    within("the publisher has the new epoch", || {
        (publisher.inner.cursor()?.epoch == Epoch::new(&epoch(&after)).unwrap()).then_some(())
    });
}

#[test]
fn unacked_publications_are_retransmitted_once_and_in_order_after_a_kill() {
    const WAITING: u64 = 500;
    let place = place();
    let sidecar = place.start();
    let publisher = place.publisher();
    publisher.publish("a", "acked");
    // A suspended sidecar acks nothing while the kernel still accepts frames.
    sidecar.signal(Signal::SIGSTOP);
    (0..WAITING).for_each(|number| publisher.enqueue("a", number));
    sidecar.kill();

    let sidecar = place.start();
    publisher.flush();
    let anonymous = sidecar.browser(json!({}));
    let (epoch, _) = anonymous.cursor.split_once('.').unwrap();
    let mut browser = sidecar
        .browser(json!({"token": token_for("1", &["a"], &[]), "after": format!("{epoch}.0")}));
    let mut marked = 0;
    for number in 0..WAITING {
        let message = browser.next();
        assert_eq!(message["data"], json!(number), "{message}");
        match message.get("resent") {
            Some(Value::Bool(true)) => marked += 1,
            None => {}
            Some(other) => panic!("{other}"),
        }
    }
    assert_eq!(browser.next()["type"], "caught_up");
    let status = publisher.inner.status();
    assert_eq!(
        marked, status.resent,
        "exactly the retransmitted publications are marked"
    );
    assert_eq!((status.dropped_aged, status.dropped_full), (0, 0));
}

#[test]
fn frame_marked_as_resent_is_marked_for_browsers() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    let mut again = publish(1, "a", "1");
    Publish::mark_resent(&mut again);
    link.send(&again);
    link.send(&publish(2, "a", "2"));
    let message = browser.next();
    let cursor = message["cursor"].clone();
    assert_eq!(
        message,
        json!({"type": "message", "channel": "a", "cursor": cursor, "resent": true, "data": 1})
    );
    browser.expect_message("a", json!(2));
}

#[test]
fn kill_ends_connections_without_a_close_frame() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.raw_browser().connect(json!({}));
    sidecar.kill();
    let (code, texts) = browser.read_to_end();
    assert_eq!((code, texts), (None, vec![]));
}

#[test]
fn frames_retransmitted_on_a_new_link_are_deduplicated() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    link.send(&publish(1, "a", "1"));
    link.send(&publish(2, "a", "2"));
    link.read_until_ack(2);
    drop(link);
    let mut link = sidecar.raw_link();
    assert_eq!(link.handshake(hello(1)).last, 2);
    (1..=3).for_each(|sequence| link.send(&publish(sequence, "a", &sequence.to_string())));
    let answers = link.read_until_ack(3);
    assert!(
        !answers
            .iter()
            .any(|answer| matches!(answer, ToPublisher::Refusal(_))),
        "{answers:?}"
    );
    (1..=3).for_each(|number| drop(browser.expect_message("a", json!(number))));
    // Sequences of another publisher are independent.
    let mut other = sidecar.raw_link();
    assert_eq!(other.handshake(hello(2)).last, 0);
    other.send(&publish(1, "a", "\"another's\""));
    browser.expect_message("a", json!("another's"));
}
