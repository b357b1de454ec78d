//! Misbehaving sidecars. The publisher reports each and reconnects.

use std::io::Write;

use lineside_protocol::codes::{
    LINK_DRAIN, LINK_KEY_MISMATCH, LINK_REPLACED, LINK_UNSUPPORTED_VERSION,
};
use lineside_protocol::frame::{Fault, Moved, Skip, ToPublisher, ToSidecar, Welcome};
use lineside_protocol::{POSITION_MAX, Position};
use lineside_publisher::{PublishOptions, Publisher};

use super::sidecar::{Line, TestFolder, epoch, eventually, pair, publish};

/// Checks that the link ends with the error `says` after `misbehave`, and that the next link works.
fn assert_link_ends_and_recovers(says: &str, misbehave: impl FnOnce(&mut Line)) {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=2);
    let mut line = sidecar.link(0, "a");
    line.numbers(2);
    misbehave(&mut line);
    eventually("the error is reported", || {
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
fn reply_to_an_unsent_frame_ends_the_link() {
    assert_link_ends_and_recovers("a reply to frame 3, but only 2 were sent", |line| {
        line.ack(3, 101);
    });
    assert_link_ends_and_recovers("a reply to frame 9, but only 2 were sent", |line| {
        line.receipt(9, 101);
    });
    assert_link_ends_and_recovers("a reply to frame 7, but only 2 were sent", |line| {
        line.refuse(7, 1, "no");
    });
}

#[test]
fn invalid_position_ends_the_link() {
    assert_link_ends_and_recovers("9007199254740992 is not a position", |line| {
        line.moved(POSITION_MAX + 1);
    });
}

#[test]
fn second_welcome_ends_the_link() {
    assert_link_ends_and_recovers("a second welcome", |line| line.welcome(0, "b"));
}

#[test]
fn invalid_bytes_end_the_link() {
    assert_link_ends_and_recovers("a frame of 1213486160 bytes", |line| {
        line.stream.write_all(b"HTTP/1.1 400 Bad Request").unwrap();
    });
    assert_link_ends_and_recovers("the unknown kind 200", |line| {
        line.stream.write_all(&[0, 0, 0, 4, 200, 0, 0, 0]).unwrap();
    });
}

#[test]
fn fault_is_reported_with_its_meaning_and_escaped() {
    let code = LINK_UNSUPPORTED_VERSION;
    let says =
        "unsupported_version (102), only 2\\nERROR forged. Publisher and sidecar share no version";
    assert_link_ends_and_recovers(says, |line| line.fault(code.number, "only 2\nERROR forged"));
}

#[test]
fn fault_instead_of_a_welcome_is_reported() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    line.fault(106, "no room");
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("full (106), no room"))
    });
    assert_eq!(sidecar.link(0, "a").numbers(1), [1]);
}

#[test]
fn fault_is_reported_although_a_write_failed() {
    let (_folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.link(0, "a");
    // More than the socket buffer, so that the publisher always has bytes to write.
    let payload = vec![b' '; 60_000];
    for _ in 0..50 {
        let options = PublishOptions::default();
        publisher.publish("news", &payload, options).unwrap();
    }
    // More than the socket buffer in this direction too: the publisher writes before it has read everything.
    let mut news = Vec::new();
    let position = Position(101);
    (0..60_000).for_each(|_| ToPublisher::Moved(Moved { position }).encode(&mut news));
    let (code, message) = (LINK_DRAIN.number, "stopping".into());
    ToPublisher::Fault(Fault { code, message }).encode(&mut news);
    line.stream.write_all(&news).unwrap();
    drop(line);
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("drain (105), stopping"))
    });
}

#[test]
fn replaced_publisher_does_not_reconnect() {
    let (folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    let replaced = line.hello().publisher;
    line.welcome(0, "a");
    line.fault(LINK_REPLACED.number, "newer");
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("replaced (104)"))
    });
    // Another publisher, whose link is only cut, reconnects several times meanwhile.
    let other = folder.publisher();
    other.connect().unwrap();
    for _ in 0..7 {
        assert_ne!(sidecar.accept().hello().publisher, replaced);
    }
    // The replaced publisher waits for a minute, and a stop ends it at once.
    assert_eq!(publisher.stop(super::sidecar::deadline()).frames, 0);
}

#[test]
fn other_version_is_reported() {
    let (_folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    line.hello();
    line.send(&welcome(9, [0; 8]));
    let says = "speaks version 9 of the link, and this gem 1";
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains(says))
    });
}

#[test]
fn link_refused_for_another_key_is_reported_and_retried() {
    let (folder, _publisher, sidecar) = pair();
    let mut settings = folder.settings();
    settings.fingerprint = [1; 8];
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    let code = LINK_KEY_MISMATCH;
    line.send(&ToPublisher::Fault(Fault {
        code: code.number,
        message: code.meaning.into(),
    }));
    eventually("the fault", || publisher.status().mismatch);
    let status = publisher.status();
    assert!(!status.linked && status.acked == 0);
    assert!(status.last_error.unwrap().contains("different secrets"));
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
        epoch: epoch("a"),
    })
}

#[test]
fn too_long_path_is_reported() {
    let folder = TestFolder::new();
    let mut settings = folder.settings();
    settings.link = settings.link.join("n".repeat(120));
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("(File name too long)"))
    });
}

#[test]
fn silent_sidecar_is_disconnected() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    assert_eq!(line.next(), None);
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("did not answer within 5000 ms"))
    });
    assert_eq!(sidecar.link(0, "a").numbers(1), [1]);
}

#[test]
fn frames_expire_while_the_sidecar_is_silent() {
    let (folder, _publisher, sidecar) = pair();
    let mut settings = folder.settings();
    settings.spool_seconds_max = 1;
    let publisher = Publisher::new(settings);
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    eventually("the frame has expired", || {
        publisher.status().dropped_aged == 1
    });
    line.welcome(0, "a");
    assert_eq!(line.next(), Some(ToSidecar::Skip(Skip { through: 1 })));
}

#[test]
fn frame_before_the_welcome_ends_the_link() {
    let (_folder, publisher, sidecar) = pair();
    publisher.connect().unwrap();
    let mut line = sidecar.accept();
    line.hello();
    line.moved(5);
    assert_eq!(line.next(), None);
    eventually("the error is reported", || {
        publisher
            .status()
            .last_error
            .is_some_and(|error| error.contains("the first frame is not a welcome"))
    });
    assert_eq!(publisher.cursor(), None);
}

#[test]
fn stop_does_not_wait_for_a_silent_sidecar() {
    let (_folder, publisher, sidecar) = pair();
    publish(&publisher, 1..=1);
    let mut line = sidecar.accept();
    line.hello();
    assert_eq!(publisher.stop(std::time::Instant::now()).frames, 1);
    assert_eq!(line.next(), None);
}
