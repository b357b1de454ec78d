//! SIGHUP: keys come and go while everybody stays connected (promise S-27), and a bad file changes nothing.

use std::fs;
use std::path::PathBuf;

use lineside_token::{ChannelDraft, ConnectionDraft, Keys, sign_channel, sign_connection};
use nix::pty::openpty;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Browser, Place, Publisher, Sidecar, hello, now_ms, place, within};

/// Keys that come into use one after the other.
const ROTATIONS: usize = 100;

/// Browsers that live through all of it.
const BROWSERS: usize = 40;

/// A place whose secret is in a file.
fn place_with_a_file(content: &str) -> (Place, PathBuf) {
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
        ttl_s: 3600,
        ..ConnectionDraft::default()
    };
    sign_connection(draft, &Keys::parse(key).unwrap(), now_ms()).unwrap()
}

/// Sends SIGHUP and waits for the line that answers it.
fn reload(sidecar: &Sidecar, answer: &str) -> String {
    let lines = |sidecar: &Sidecar| -> Vec<String> {
        let log = sidecar.log().into_iter();
        log.filter(|line| line.contains("reloaded")).collect()
    };
    let before = lines(sidecar).len();
    sidecar.signal(Signal::SIGHUP);
    let line = within("the answer to SIGHUP", || {
        lines(sidecar).get(before).cloned()
    });
    assert!(line.contains(answer), "{line}");
    line
}

fn expect_refused(sidecar: &Sidecar, token: &str) {
    let mut browser = sidecar.dial().open();
    browser.send(json!({"type": "connect", "token": token}));
    assert_eq!(browser.ended().code, 4001);
}

fn expect_all_to_hear(browsers: &mut [Browser], publisher: &Publisher, number: usize) {
    publisher.publish("a", number);
    for browser in browsers {
        browser.expect_message("a", json!(number));
    }
}

#[test]
fn keys_rotate_a_hundred_times_and_nobody_notices() {
    let (place, path) = place_with_a_file(&key(0));
    let sidecar = place.start();
    let publisher = sidecar.publisher();
    let mut browsers: Vec<Browser> = (0..BROWSERS)
        .map(|_| sidecar.browser(json!({"token": token(&key(0))})))
        .collect();
    for number in 1..=ROTATIONS {
        let (old, new) = (key(number - 1), key(number));
        // Both, before the new one signs.
        fs::write(&path, format!("{old},{new}")).unwrap();
        let line = reload(&sidecar, "event=secret_reloaded");
        assert!(line.contains("keys=2 added=1 retired=0"), "{line}");
        for good in [&old, &new] {
            sidecar.browser(json!({"token": token(good)})).leave();
        }
        fs::write(&path, format!("{new}\n")).unwrap();
        let line = reload(&sidecar, "event=secret_reloaded");
        assert!(line.contains("keys=1 added=0 retired=1"), "{line}");
        expect_refused(&sidecar, &token(&old));
        sidecar.browser(json!({"token": token(&new)})).leave();
        expect_all_to_hear(&mut browsers, &publisher, number);
    }
}

#[test]
fn a_retired_key_opens_nothing_more_on_a_live_connection() {
    let (place, path) = place_with_a_file(&key(0));
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
    // What it was let in with lives as long as it says, and a fresh one carries on from it.
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
    browser.send(json!({"type": "refresh", "token": token(&key(1)), "ref": 3}));
    assert_eq!(browser.next()["type"], "refreshed");
}

#[test]
fn a_bad_file_leaves_the_keys_from_before() {
    let (place, path) = place_with_a_file(&key(0));
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
    sidecar.browser(json!({"token": token(&key(0))})).leave();
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
    fs::write(&path, key(1)).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    expect_refused(&sidecar, &token(&key(0)));
}

#[test]
fn without_a_file_sighup_says_so_and_changes_nothing() {
    let sidecar = crate::support::sidecar();
    let mut browser = sidecar.subscriber();
    let line = reload(&sidecar, "event=secret_not_reloaded");
    assert!(line.contains("LINESIDE_SECRET_FILE"), "{line}");
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn publishers_are_told_of_the_keys_that_hold_now() {
    let fingerprint = |number| Keys::parse(&key(number)).unwrap().fingerprint();
    let (place, path) = place_with_a_file(&key(0));
    let sidecar = place.start();
    let told = |publisher: u8, theirs| {
        let mut hello = hello(publisher);
        hello.fingerprint = theirs;
        sidecar.raw_link().greet(hello).fingerprint
    };
    assert_eq!(told(1, fingerprint(0)), fingerprint(0));
    fs::write(&path, format!("{},{}", key(1), key(0))).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    // An app that signs with either agrees with the sidecar; one without a key is told which signs.
    assert_eq!(told(2, fingerprint(0)), fingerprint(0));
    assert_eq!(told(3, fingerprint(1)), fingerprint(1));
    assert_eq!(told(4, [0; 8]), fingerprint(1));
    fs::write(&path, key(1)).unwrap();
    reload(&sidecar, "event=secret_reloaded");
    let mismatch = |line: &String| line.contains("event=key_mismatch");
    assert!(!sidecar.log().iter().any(mismatch));
    assert_eq!(told(5, fingerprint(0)), fingerprint(1));
    sidecar.logged(&["level=error", "event=key_mismatch", "raw[5]"]);
}

#[test]
fn a_terminal_that_closes_ends_what_runs_in_it() {
    let terminal = openpty(None, None).unwrap();
    let place = place();
    let mut command = place.command(&[]);
    let mut sidecar = place.spawn_from(command.stdin(terminal.slave));
    sidecar.logged(&["event=listening"]);
    sidecar.signal(Signal::SIGHUP);
    assert_eq!(sidecar.ended().code(), Some(0));
    sidecar.logged(&["event=draining", "signal=HUP"]);
}
