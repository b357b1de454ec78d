//! A sidecar that is killed: nobody is deceived, and what was not acked comes again.

use lineside_protocol::Epoch;
use lineside_protocol::frame::{Publish, ToPublisher};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{hello, place, publish, token_for, within};

#[test]
fn after_a_kill_every_resume_is_lost_and_the_epoch_is_another() {
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
    // The publisher finds its way by itself.
    let after = publisher.publish("a", 2);
    assert_eq!(browser.expect_message("a", json!(2)), after);
    let epoch = |cursor: &str| cursor.split_once('.').unwrap().0.to_owned();
    assert_ne!(epoch(&cursor), epoch(&after));
    within("the publisher knows the new epoch", || {
        (publisher.inner.cursor()?.epoch == Epoch::new(&epoch(&after)).unwrap()).then_some(())
    });
}

#[test]
fn what_was_not_acked_before_a_kill_lands_once_and_in_order_in_the_successor() {
    const WAITING: u64 = 500;
    let place = place();
    let sidecar = place.start();
    let publisher = place.publisher();
    publisher.publish("a", "acked");
    // Stopped it acks nothing, and the kernel still takes what is sent to it.
    sidecar.signal(Signal::SIGSTOP);
    (0..WAITING).for_each(|number| publisher.cast("a", number));
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
    assert_eq!(browser.next()["type"], "caught_up", "and nothing else");
    let status = publisher.inner.status();
    assert_eq!(
        marked, status.resent,
        "marked is exactly what had been sent before"
    );
    assert_eq!((status.dropped_aged, status.dropped_full), (0, 0));
}

#[test]
fn a_frame_that_its_publisher_marks_as_resent_is_marked_for_browsers() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_link();
    link.greet(hello(1));
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
fn a_browser_in_the_middle_of_a_kill_sees_the_end_and_no_close_frame() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.raw_browser().connected();
    sidecar.kill();
    let (code, texts) = browser.ended();
    assert_eq!((code, texts), (None, vec![]));
}

#[test]
fn what_a_publisher_sent_twice_on_two_links_lands_once() {
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_link();
    link.greet(hello(1));
    link.send(&publish(1, "a", "1"));
    link.send(&publish(2, "a", "2"));
    link.acked(2);
    drop(link);
    let mut link = sidecar.raw_link();
    assert_eq!(link.greet(hello(1)).last, 2, "how far it came, it is told");
    (1..=3).for_each(|sequence| link.send(&publish(sequence, "a", &sequence.to_string())));
    let answers = link.acked(3);
    assert!(
        !answers
            .iter()
            .any(|answer| matches!(answer, ToPublisher::Refusal(_))),
        "{answers:?}"
    );
    (1..=3).for_each(|number| drop(browser.expect_message("a", json!(number))));
    // The same numbers of another publisher are other publications.
    let mut other = sidecar.raw_link();
    assert_eq!(other.greet(hello(2)).last, 0);
    other.send(&publish(1, "a", "\"another's\""));
    browser.expect_message("a", json!("another's"));
}
