//! A planned restart: the successor goes on where the predecessor stopped, in the same epoch, and nobody misses anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lineside_protocol::frame::{PublishHead, ToPublisher, encode_publish};
use lineside_publisher::Outcome;
use lineside_token::ConnectionDraft;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Browser, Place, Sidecar, frame, hello, now_ms, place, publish, sign, signed_at, token_for,
    within,
};

fn beside(place: &Place, suffix: &str) -> PathBuf {
    format!("{}{suffix}", place.link().display()).into()
}

fn epoch(cursor: &str) -> &str {
    cursor.split_once('.').unwrap().0
}

/// Ends a sidecar as planned; it must leave its state.
#[track_caller]
fn stop(mut sidecar: Sidecar) {
    sidecar.signal(Signal::SIGTERM);
    stopped(&mut sidecar);
}

#[track_caller]
fn stopped(sidecar: &mut Sidecar) {
    assert!(sidecar.ended().success());
    sidecar.logged(&["event=state_saved"]);
    let state = fs::metadata(beside(sidecar.place(), ".state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o7777, 0o600);
    assert!(!beside(sidecar.place(), ".state.new").exists());
}

/// Starts the successor; of the state nothing may be left.
#[track_caller]
fn start(place: &Place) -> Sidecar {
    let sidecar = place.start();
    sidecar.logged(&["event=state_restored"]);
    assert_no_state(place);
    sidecar
}

#[track_caller]
fn assert_no_state(place: &Place) {
    for suffix in [".state", ".state.new", ".state.taken"] {
        assert!(!beside(place, suffix).exists(), "{suffix}");
    }
}

/// Connects as user 1 to `a`, after this cursor.
fn resume(sidecar: &Sidecar, cursor: &str) -> Browser {
    sidecar.browser(json!({"token": token_for("1", &["a"], &[]), "after": cursor}))
}

#[track_caller]
fn expect_recovered(browser: &Browser) {
    let welcome = &browser.welcome;
    assert_eq!(
        (&welcome["recovered"], &welcome["lost"]),
        (&json!(true), &json!([])),
        "{welcome}"
    );
}

#[track_caller]
fn expect_lost(sidecar: &Sidecar, cursor: &str) {
    let browser = resume(sidecar, cursor);
    assert_eq!(
        browser.welcome["lost"],
        json!(["user:1", "a"]),
        "{}",
        browser.welcome
    );
    assert_ne!(epoch(&browser.cursor), epoch(cursor));
}

#[test]
fn a_page_resumes_whole_and_sees_nothing_twice() {
    let place = place();
    let mut sidecar = place.start();
    let publisher = place.publisher();
    let early = publisher.publish("a", 1);
    let mut browser = resume(&sidecar, &early);
    browser.expect(json!({"type": "caught_up", "cursor": early}));
    publisher.publish("a", 2);
    browser.expect_message("a", json!(2));
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(browser.ended().code, 4100);
    stopped(&mut sidecar);
    (3..=5).for_each(|number| publisher.cast("a", number));

    let sidecar = start(&place);
    publisher.flush();
    let mut again = resume(&sidecar, &browser.cursor);
    expect_recovered(&again);
    // Exactly these, and not marked as sent before.
    (3..=5).for_each(|number| drop(again.expect_message("a", json!(number))));
    assert_eq!(again.next()["type"], "caught_up");
    let live = publisher.publish("a", 6);
    assert_eq!(again.expect_message("a", json!(6)), live);
    assert_eq!(epoch(&live), epoch(&early));
    // What lies before the restart is replayed, too.
    let mut late = resume(&sidecar, &early);
    expect_recovered(&late);
    (2..=6).for_each(|number| drop(late.expect_message("a", json!(number))));
}

#[test]
fn publishing_through_restarts_loses_repeats_and_reorders_nothing() {
    // More by the environment: what few restarts do not show, many may.
    let restarts: u64 = std::env::var("LINESIDE_TEST_RESTARTS").map_or(5, |it| it.parse().unwrap());
    let place = place().with("LINESIDE_SHARDS", 2);
    let mut sidecar = place.start();
    let over = Arc::new(AtomicBool::new(false));
    let heard = Arc::new(AtomicU64::new(0));
    let publishing = std::thread::spawn({
        let (place, over, heard) = (place.clone(), Arc::clone(&over), Arc::clone(&heard));
        move || {
            let publisher = place.publisher();
            let mut last = 0;
            // Many under way at any time, and one that waits for its receipt.
            while !over.load(Ordering::Relaxed) {
                (0..20).for_each(|_| {
                    last += 1;
                    publisher.cast("a", last);
                });
                last += 1;
                publisher.publish("a", last);
                within(
                    "the browser is not behind by half of what history holds",
                    || {
                        let is_near = last < heard.load(Ordering::Relaxed) + 500;
                        (is_near || over.load(Ordering::Relaxed)).then_some(())
                    },
                );
            }
            publisher.flush();
            (last, publisher.inner.status())
        }
    });
    let mut browser = resume(&sidecar, "unknown");
    let mut seen = Vec::new();
    let epoch_before = epoch(&browser.cursor).to_owned();
    for _ in 0..restarts {
        let mut hear = |envelope: Value| {
            let number = envelope["data"].as_u64();
            number.inspect(|number| heard.store(*number, Ordering::Relaxed));
            seen.push(envelope);
        };
        (0..200).for_each(|_| hear(browser.next()));
        sidecar.signal(Signal::SIGTERM);
        browser.ended().before.into_iter().for_each(hear);
        stopped(&mut sidecar);
        sidecar = start(&place);
        browser = resume(&sidecar, &browser.cursor);
        expect_recovered(&browser);
    }
    over.store(true, Ordering::Relaxed);
    let (last, status) = publishing.join().unwrap();
    let marker = place.publisher().publish("a", "the end");
    assert_eq!(epoch(&marker), epoch_before);
    loop {
        let envelope = browser.next();
        if envelope["data"] == "the end" {
            break;
        }
        seen.push(envelope);
    }
    let numbers: Vec<u64> = seen
        .iter()
        .filter(|envelope| envelope["type"] == "message")
        .map(|message| message["data"].as_u64().unwrap())
        .collect();
    let first = numbers[0];
    assert!(
        numbers.iter().copied().eq(first..=last),
        "{first}..={last} and not {} numbers",
        numbers.len()
    );
    assert!(seen.iter().all(|envelope| envelope.get("resent").is_none()));
    assert_eq!(
        (status.accepted, status.acked, status.dropped_aged),
        (last, last, 0)
    );
    assert!(status.reconnects >= restarts, "{status:?}");
}

#[test]
fn what_landed_before_a_restart_is_known_after_it_and_answered_alike() {
    let wants_receipt = |sequence: u64| {
        let mut bytes = Vec::new();
        let head = PublishHead {
            sequence,
            wants_receipt: true,
            ..PublishHead::default()
        };
        encode_publish(&mut bytes, head, [("a", &b"1"[..])]);
        bytes
    };
    let place = place();
    let sidecar = place.start();
    let mut link = sidecar.linked(1);
    link.send(&wants_receipt(1));
    link.send(&publish(2, "a", "no JSON"));
    link.send(&publish(3, "a", "3"));
    let answers = link.acked(3);
    let [ToPublisher::Receipt(_), ToPublisher::Refusal(_)] = &answers[..] else {
        panic!("{answers:?}")
    };
    stop(sidecar);

    let sidecar = start(&place);
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_link();
    assert_eq!(link.greet(hello(1)).last, 3, "how far it came, it is told");
    link.send(&wants_receipt(1));
    link.send(&publish(2, "a", "no JSON"));
    link.send(&publish(3, "a", "3"));
    assert_eq!(link.acked(3), answers);
    link.send(&publish(4, "a", "4"));
    browser.expect_message("a", json!(4));
    assert_eq!(
        sidecar.raw_link().greet(hello(2)).last,
        0,
        "another is not known"
    );
}

#[test]
fn a_once_id_is_a_duplicate_across_restarts_of_either_end() {
    let place = place();
    let landed = |payload: &str| {
        // A process of its own each time.
        let publisher = place.publisher();
        match publisher.try_publish("a", payload.as_bytes(), Some("order-7-paid")) {
            Outcome::Receipt { cursor, duplicate } => (cursor.to_string(), duplicate),
            other => panic!("{other:?}"),
        }
    };
    let sidecar = place.start();
    let before = place.publisher().publish("a", "before");
    let (first, duplicate) = landed("1");
    assert!(!duplicate);
    stop(sidecar);
    stop(start(&place));
    let sidecar = start(&place);
    let mut browser = resume(&sidecar, &before);
    assert_eq!(
        landed("2"),
        (first.clone(), true),
        "the cursor of the first"
    );
    place.publisher().publish("a", "behind it");
    assert_eq!(browser.expect_message("a", json!(1)), first);
    assert_eq!(browser.next()["type"], "caught_up");
    browser.expect_message("a", json!("behind it"));
}

#[test]
fn who_was_signed_out_stays_so() {
    let place = place();
    let sidecar = place.start();
    let of_session = |sid: &str| {
        sign(ConnectionDraft {
            sub: Some("2".into()),
            sid: Some(sid.into()),
            ..ConnectionDraft::default()
        })
    };
    let (whole, one, other) = (signed_at(now_ms(), 60), of_session("x"), of_session("y"));
    let publisher = place.publisher();
    let now_ms = now_ms();
    let sign_out = |user, session| publisher.inner.disconnect(user, session, now_ms, false);
    sign_out("1", None).unwrap();
    sign_out("2", Some("x")).unwrap();
    publisher.flush();
    stop(sidecar);

    let sidecar = start(&place);
    for token in [&whole, &one] {
        let mut browser = sidecar.dial().open();
        browser.send(json!({"type": "connect", "token": token}));
        assert_eq!(browser.ended().code, 4002);
    }
    sidecar.browser(json!({"token": other})).leave();
}

#[test]
fn a_kill_after_a_planned_restart_begins_a_new_epoch() {
    let place = place();
    let sidecar = place.start();
    let first = place.publisher().publish("a", 1);
    stop(sidecar);
    let sidecar = start(&place);
    let second = place.publisher().publish("a", 2);
    assert_eq!(epoch(&second), epoch(&first));
    sidecar.kill();
    assert_no_state(&place);
    let sidecar = place.start();
    expect_lost(&sidecar, &first);
    expect_lost(&sidecar, &second);
}

#[test]
fn a_stop_whose_drain_is_cut_leaves_its_state_too() {
    let place = place()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024);
    let mut sidecar = place.start();
    // A reader that has far more to read than its kernel takes, and reads nothing.
    let mut stuck = sidecar.raw_browser();
    let connect = json!({"type": "connect", "token": token_for("2", &["wide"], &[])});
    stuck.send(&frame(0x81, connect.to_string().as_bytes()));
    stuck.next().expect("a welcome");
    let publisher = place.publisher();
    let cursor = publisher.publish("a", 1);
    let text = "x".repeat(60_000);
    (0..150).for_each(|_| drop(publisher.publish("wide", text.clone())));
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    (2..=4).for_each(|number| publisher.cast("a", number));
    sidecar.signal(Signal::SIGTERM);
    stopped(&mut sidecar);
    sidecar.logged(&["event=drain_cut"]);

    let sidecar = start(&place);
    publisher.flush();
    let mut browser = resume(&sidecar, &cursor);
    expect_recovered(&browser);
    (2..=4).for_each(|number| drop(browser.expect_message("a", json!(number))));
}

#[test]
fn a_state_that_is_no_good_is_refused_with_a_line_and_a_new_epoch_begins() {
    type Spoil = fn(&PathBuf);
    let spoil: [(&str, Spoil); 5] = [
        ("cut short", |state| {
            let whole = fs::read(state).unwrap();
            fs::write(state, &whole[..whole.len() / 2]).unwrap();
        }),
        ("damaged", |state| {
            let mut bytes = fs::read(state).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(state, bytes).unwrap();
        }),
        ("version", |state| {
            let mut bytes = fs::read(state).unwrap();
            bytes[9] = 200;
            fs::write(state, bytes).unwrap();
        }),
        ("mode", |state| {
            fs::set_permissions(state, fs::Permissions::from_mode(0o644)).unwrap();
        }),
        ("opened", |state| {
            let elsewhere = state.with_extension("elsewhere");
            fs::rename(state, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, state).unwrap();
        }),
    ];
    let place = place();
    let mut sidecar = place.start();
    for (reason, spoil) in spoil {
        let cursor = place.publisher().publish("a", 1);
        stop(sidecar);
        spoil(&beside(&place, ".state"));
        sidecar = place.start();
        let line = sidecar.logged(&["level=error", "event=state_refused", reason]);
        assert!(line.contains(".state.taken"), "{line}");
        assert!(fs::symlink_metadata(beside(&place, ".state")).is_err());
        expect_lost(&sidecar, &cursor);
        let mut browser = sidecar.subscriber();
        place.publisher().publish("a", 2);
        browser.expect_message("a", json!(2));
    }
}

#[test]
fn a_start_that_fails_leaves_the_state_to_the_next() {
    let place = place();
    let sidecar = place.start();
    let cursor = place.publisher().publish("a", 1);
    stop(sidecar);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let failed = place
        .command(&[])
        .env("LINESIDE_BIND", taken.local_addr().unwrap().to_string())
        .output()
        .unwrap();
    assert_eq!(failed.status.code(), Some(1));
    let sidecar = start(&place);
    expect_recovered(&resume(&sidecar, &cursor));
}

#[test]
fn a_disk_that_takes_no_more_costs_the_epoch_and_not_the_stop() {
    let place = place();
    let plain = place.command(&[]);
    let mut limited = Command::new("sh");
    let settings = plain
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    // A file that would grow beyond this is cut there, and the write fails with EFBIG: setrlimit(2).
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\""])
        .arg(plain.get_program())
        .env_clear()
        .envs(settings)
        .current_dir(place.folder());
    let mut sidecar = place.start_from(&mut limited);
    let cursor = place.publisher().publish("a", "x".repeat(60_000));
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(sidecar.ended().code(), Some(0));
    let line = sidecar.logged(&["level=error", "event=state_not_saved"]);
    assert!(line.contains("new epoch"), "{line}");
    assert_no_state(&place);
    expect_lost(&place.start(), &cursor);
}
