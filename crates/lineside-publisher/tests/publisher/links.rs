//! What the publisher makes of a sidecar that is not as it should be. None of it ends the publisher.

use std::io::Write;

use lineside_protocol::codes::{LINK_DRAIN, LINK_REPLACED, LINK_UNSUPPORTED_VERSION};
use lineside_protocol::frame::{Fault, Moved, Skip, ToPublisher, ToSidecar, Welcome};
use lineside_protocol::{POSITION_MAX, Position};
use lineside_publisher::{PublishOptions, Publisher};

use super::sidecar::{Line, Place, epoch, eventually, pair, publish};

/// Plays a sidecar that misbehaves, sees the link end with an error that says so, and that the next link works.
fn is_survived(says: &str, misbehave: impl FnOnce(&mut Line)) {
    let (_place, publisher, sidecar) = pair();
    publish(&publisher, 1..=2);
    let mut line = sidecar.link(0, "a");
    line.numbers(2);
    misbehave(&mut line);
    eventually("the error is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains(says))
    });
    assert!(!publisher.status().linked);
    assert_eq!(publisher.status().acked, 0);
    assert_eq!(sidecar.link(0, "a").numbers(2), [1, 2]);
}

#[test]
fn lies_about_what_was_sent_end_the_link() {
    is_survived("answers frame 3, and only 2 were sent", |line| {
        line.ack(3, 101);
    });
    is_survived("answers frame 9, and only 2 were sent", |line| {
        line.receipt(9, 101);
    });
    is_survived("answers frame 7, and only 2 were sent", |line| {
        line.refuse(7, 1, "no");
    });
}

#[test]
fn impossible_positions_end_the_link() {
    is_survived("9007199254740992 is not a position", |line| {
        line.moved(POSITION_MAX + 1);
    });
}

#[test]
fn second_welcome_ends_the_link() {
    is_survived("a second welcome", |line| line.welcome(0, "b"));
}

#[test]
fn bytes_that_are_no_frame_end_the_link() {
    is_survived("a frame of 1213486160 bytes", |line| {
        line.stream.write_all(b"HTTP/1.1 400 Bad Request").unwrap();
    });
    is_survived("the unknown kind 200", |line| {
        line.stream.write_all(&[0, 0, 0, 4, 200, 0, 0, 0]).unwrap();
    });
}

#[test]
fn fault_is_told_with_its_meaning_and_without_its_line_breaks() {
    let code = LINK_UNSUPPORTED_VERSION;
    let says =
        "unsupported_version (102), only 2\\nERROR forged. Publisher and sidecar share no version";
    is_survived(says, |line| line.fault(code.number, "only 2\nERROR forged"));
}

#[test]
fn fault_in_place_of_a_welcome_is_told() {
    let (_place, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    line.fault(106, "no room");
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("full (106), no room"))
    });
    assert_eq!(sidecar.link(0, "a").numbers(1), [1]);
}

#[test]
fn fault_is_told_though_the_link_broke_in_the_middle_of_a_write() {
    let (_place, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.link(0, "a");
    // More than the socket takes, so that it always has something to write.
    let payload = vec![b' '; 60_000];
    for _ in 0..50 {
        let options = PublishOptions::default();
        publisher.publish("news", &payload, options).unwrap();
    }
    // More than the socket takes, too: when the last of it is written, much is unread, and it writes before it comes to that.
    let mut news = Vec::new();
    let position = Position(101);
    (0..60_000).for_each(|_| ToPublisher::Moved(Moved { position }).encode(&mut news));
    let (code, message) = (LINK_DRAIN.number, "stopping".into());
    ToPublisher::Fault(Fault { code, message }).encode(&mut news);
    line.stream.write_all(&news).unwrap();
    drop(line);
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("drain (105), stopping"))
    });
}

#[test]
fn publisher_that_was_replaced_does_not_fight() {
    let (place, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    let replaced = line.hello().publisher;
    line.welcome(0, "a");
    line.fault(LINK_REPLACED.number, "newer");
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("replaced (104)"))
    });
    // Another one, whose link is merely cut, comes back again and again meanwhile.
    let other = place.publisher();
    other.connect().unwrap();
    for _ in 0..7 {
        assert_ne!(sidecar.accept().hello().publisher, replaced);
    }
    // It pauses for a minute, and still ends at once when told to.
    assert_eq!(publisher.stop(super::sidecar::deadline()).frames, 0);
}

#[test]
fn other_version_is_told() {
    let (_place, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    line.hello();
    line.send(&welcome(9, [0; 8]));
    let says = "speaks version 9 of the link, and this gem 1";
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains(says))
    });
}

#[test]
fn other_key_is_told_and_the_link_goes_on() {
    let (place, _publisher, sidecar) = pair();
    let mut settings = place.settings();
    settings.fingerprint = [1; 8];
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    line.send(&welcome(1, [2; 8]));
    assert_eq!(line.numbers(1), [1]);
    let status = publisher.status();
    assert!(status.mismatch && status.linked);
    assert!(status.last_error.unwrap().contains("different keys"));
    drop(line);
    let mut line = sidecar.accept();
    line.hello();
    line.send(&welcome(1, [1; 8]));
    eventually("the keys agree", || publisher.status().linked);
    assert_eq!(
        (publisher.status().mismatch, publisher.status().last_error),
        (false, None)
    );
}

fn welcome(version: u8, fingerprint: [u8; 8]) -> ToPublisher {
    ToPublisher::Welcome(Welcome {
        version,
        last: 0,
        position: Position(0),
        fingerprint,
        payload_bytes_max: 65_536,
        epoch: epoch("a"),
    })
}

#[test]
fn path_that_is_too_long_is_told() {
    let place = Place::new();
    let mut settings = place.settings();
    settings.link = settings.link.join("n".repeat(120));
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("(File name too long)"))
    });
}

#[test]
fn sidecar_that_does_not_answer_is_left() {
    let (_place, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    assert_eq!(line.next(), None);
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("did not answer within 5000 ms"))
    });
    assert_eq!(sidecar.link(0, "a").numbers(1), [1]);
}

#[test]
fn age_is_kept_while_the_sidecar_does_not_answer() {
    let (place, _publisher, sidecar) = pair();
    let mut settings = place.settings();
    settings.spool_seconds_max = 1;
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    eventually("it is too old", || publisher.status().dropped_aged == 1);
    line.welcome(0, "a");
    assert_eq!(line.next(), Some(ToSidecar::Skip(Skip { through: 1 })));
}

#[test]
fn frame_before_the_welcome_ends_the_link() {
    let (_place, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    line.hello();
    line.moved(5);
    assert_eq!(line.next(), None);
    eventually("it is told", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("did not welcome first"))
    });
    assert_eq!(publisher.cursor(), None);
}

#[test]
fn stop_does_not_wait_for_a_sidecar_that_does_not_answer() {
    let (_place, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    assert_eq!(publisher.stop(std::time::Instant::now()).frames, 1);
    assert_eq!(line.next(), None);
}
