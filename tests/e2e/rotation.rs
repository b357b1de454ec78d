//! SIGHUP: keys rotate without closing a connection (S-27), and an invalid file changes nothing.

use std::fs;
use std::path::PathBuf;

use lineside_protocol::codes::LINK_KEY_MISMATCH;
use lineside_protocol::frame::ToSidecar;
use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Browser, Place, Publisher, Sidecar, hello, now_ms, place, sign_with, within};

/// Keys used one after the other.
const ROTATIONS: usize = 100;

/// Browsers that stay connected through all rotations.
const BROWSERS: usize = 40;

/// A place with this content in its secret file, and the path of that file.
fn place_with_secret_file(content: &str) -> (Place, PathBuf) {
    let place = place();
    let path = place.folder().join("secret");
    fs::write(&path, content).unwrap();
    let place = place
        .with("LINESIDE_SECRET", "")
        .with("LINESIDE_SECRET_FILE", path.display());
    (place, path)
}

fn key(number: usize) -> String {
    format!("key number {number} of these tests: 0123456789")
}

fn token(key: &str) -> String {
    let draft = ConnectionDraft {
        sub: Some("1".into()),
        channels: vec!["a".into()],
        ..ConnectionDraft::default()
    };
    sign_with(key, draft, now_ms())
}

/// Sends SIGHUP and waits for its log line, which must contain `answer`.
fn reload(sidecar: &Sidecar, answer: &str) -> String {
    let lines = |sidecar: &Sidecar| -> Vec<String> {
        let log = sidecar.log().into_iter();
        log.filter(|line| line.contains("reloaded")).collect()
    };
    let before = lines(sidecar).len();
    sidecar.signal(Signal::SIGHUP);
    let line = within("the log line after SIGHUP", || {
        lines(sidecar).get(before).cloned()
    });
    assert!(line.contains(answer), "{line}");
    line
}

fn expect_refused(sidecar: &Sidecar, token: &str) {
    sidecar
        .request()
        .expect_refused(json!({"token": token}), 4001);
}

/// Publishes a number, which all browsers must receive.
fn expect_delivery(browsers: &mut [Browser], publisher: &Publisher, number: usize) {
    publisher.publish("a", number);
    for browser in browsers {
        browser.expect_message("a", json!(number));
    }
}

#[test]
fn a_hundred_key_rotations_close_no_connection() {
    let (place, path) = place_with_secret_file(&key(0));
    let sidecar = place.start();
    let publisher = sidecar.publisher();
    let mut browsers: Vec<Browser> = (0..BROWSERS)
        .map(|_| sidecar.browser(json!({"token": token(&key(0))})))
        .collect();
    for number in 1..=ROTATIONS {
        let (old, new) = (key(number - 1), key(number));
        // The sidecar accepts both keys before the app signs with the new one.
        fs::write(&path, format!("{old},{new}")).unwrap();
        let line = reload(&sidecar, "event=secret_reloaded");
        assert!(line.contains("keys=2 added=1 retired=0"), "{line}");
        for key in [&old, &new] {
            sidecar.browser(json!({"token": token(key)})).close();
        }
        fs::write(&path, format!("{new}\n")).unwrap();
        let line = reload(&sidecar, "event=secret_reloaded");
        assert!(line.contains("keys=1 added=0 retired=1"), "{line}");
        expect_refused(&sidecar, &token(&old));
        sidecar.browser(json!({"token": token(&new)})).close();
        expect_delivery(&mut browsers, &publisher, number);
    }
}

#[test]
fn retired_key_opens_nothing_more_on_a_live_connection() {
    let (place, path) = place_with_secret_file(&key(0));
    let sidecar = place.start();
    let mut browser = sidecar.browser(json!({"token": token(&key(0))}));
    fs::write(&path, key(1)).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    browser.send(json!({"type": "refresh", "token": token(&key(0)), "ref": 1}));
    browser.expect_error("token_invalid");
    let draft = ChannelDraft {
        channel: "b".into(),
        sub: None,
        ttl_s: 60,
    };
    let of_old = sign_channel(draft, &Keys::parse(&key(0)).unwrap(), now_ms()).unwrap();
    browser.send(json!({"type": "subscribe", "channel": "b", "token": of_old, "ref": 2}));
    browser.expect_error("token_invalid");
    // The token of the connection stays valid until it expires, and a refresh with the new key extends the connection.
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
    browser.send(json!({"type": "refresh", "token": token(&key(1)), "ref": 3}));
    assert_eq!(browser.next()["type"], "refreshed");
}

#[test]
fn invalid_secret_file_keeps_the_previous_keys() {
    let (place, path) = place_with_secret_file(&key(0));
    let sidecar = place.start();
    let mut browser = sidecar.browser(json!({"token": token(&key(0))}));
    for bad in ["", "short", &format!("{},", key(1)), &"x".repeat(64)] {
        fs::write(&path, bad).unwrap();
        let line = reload(&sidecar, "event=secret_not_reloaded");
        assert!(
            line.contains("LINESIDE_SECRET_FILE") && line.contains("remedy="),
            "{line}"
        );
        assert!(
            !line.contains("short\"") && !line.contains(&key(1)),
            "{line}"
        );
    }
    fs::remove_file(&path).unwrap();
    let line = reload(&sidecar, "event=secret_not_reloaded");
    assert!(line.contains(path.to_str().unwrap()), "{line}");
    sidecar.browser(json!({"token": token(&key(0))})).close();
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
    fs::write(&path, key(1)).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    expect_refused(&sidecar, &token(&key(0)));
}

#[test]
fn sighup_without_a_secret_file_is_logged_and_changes_nothing() {
    let sidecar = crate::support::sidecar();
    let mut browser = sidecar.subscriber();
    let line = reload(&sidecar, "event=secret_not_reloaded");
    assert!(line.contains("LINESIDE_SECRET_FILE"), "{line}");
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn publisher_handshake_uses_the_reloaded_keys() {
    let fingerprint = |number| Keys::parse(&key(number)).unwrap().fingerprint();
    let (place, path) = place_with_secret_file(&key(0));
    let sidecar = place.start();
    // Returns the fingerprint in the welcome that answers a hello with this fingerprint.
    let answer_to = |publisher: u8, fingerprint| {
        let mut hello = hello(publisher);
        hello.fingerprint = fingerprint;
        sidecar.raw_link().handshake(hello).fingerprint
    };
    assert_eq!(answer_to(1, fingerprint(0)), fingerprint(0));
    fs::write(&path, format!("{},{}", key(1), key(0))).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    // The fingerprint of either key is confirmed; a publisher without a key receives that of the signing key.
    assert_eq!(answer_to(2, fingerprint(0)), fingerprint(0));
    assert_eq!(answer_to(3, fingerprint(1)), fingerprint(1));
    assert_eq!(answer_to(4, [0; 8]), fingerprint(1));
    fs::write(&path, key(1)).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    let mut retired = hello(5);
    retired.fingerprint = fingerprint(0);
    let mut link = sidecar.raw_link();
    let mut bytes = Vec::new();
    ToSidecar::Hello(retired).encode(&mut bytes);
    link.send(&bytes);
    assert_eq!(link.expect_fault().0, LINK_KEY_MISMATCH.number);
}

#[test]
fn sighup_of_a_closed_terminal_drains_the_sidecar() {
    let terminal = openpty(None, None).unwrap();
    let place = place();
    let mut command = place.command(&[]);
    let mut sidecar = place.spawn_from(command.stdin(terminal.slave));
    sidecar.logged(&["event=listening"]);
    sidecar.signal(Signal::SIGHUP);
    assert_eq!(sidecar.ended().code(), Some(0));
    sidecar.logged(&["event=draining", "signal=HUP"]);
}
