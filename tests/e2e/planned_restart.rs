//! Planned restart: the successor restores the state and the epoch, and no publication is lost, repeated or reordered.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lineside_protocol::frame::ToPublisher;
use lineside_publisher::Outcome;
use lineside_token::ConnectionDraft;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Browser, PUBLISH, Place, Sidecar, hello, now_ms, place, publication, publish, raw_frame, sign,
    signed_at, token_for, within,
};

/// Path of a file beside the link.
fn beside(place: &Place, suffix: &str) -> PathBuf {
    format!("{}{suffix}", place.link().display()).into()
}

fn epoch(cursor: &str) -> &str {
    cursor.split_once('.').unwrap().0
}

/// Stops a sidecar with SIGTERM; it must save its state.
#[track_caller]
fn stop(mut sidecar: Sidecar) {
    sidecar.signal(Signal::SIGTERM);
    expect_saved_state(&mut sidecar);
}

/// Waits for the end of a stopped sidecar; it must have saved its state.
#[track_caller]
fn expect_saved_state(sidecar: &mut Sidecar) {
    assert!(sidecar.ended().success());
    sidecar.logged(&["event=state_saved"]);
    let state = fs::metadata(beside(sidecar.place(), ".state")).unwrap();
    assert_eq!(state.permissions().mode() & 0o7777, 0o600);
    assert!(!beside(sidecar.place(), ".state.new").exists());
}

/// Starts the successor; it must restore the state and remove its files.
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

/// Connects as user 1 and resumes `a` after this cursor.
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
fn browser_resumes_across_a_planned_restart() {
    let place = place();
    let mut sidecar = place.start();
    let publisher = place.publisher();
    let early = publisher.publish("a", 1);
    let mut browser = resume(&sidecar, &early);
    browser.expect(json!({"type": "caught_up", "cursor": early}));
    publisher.publish("a", 2);
    browser.expect_message("a", json!(2));
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(browser.expect_close().code, 4100);
    expect_saved_state(&mut sidecar);
    (3..=5).for_each(|number| publisher.enqueue("a", number));

    let sidecar = start(&place);
    publisher.flush();
    let mut again = resume(&sidecar, &browser.cursor);
    expect_recovered(&again);
    // Exactly these messages, without `resent`.
    (3..=5).for_each(|number| drop(again.expect_message("a", json!(number))));
    assert_eq!(again.next()["type"], "caught_up");
    let live = publisher.publish("a", 6);
    assert_eq!(again.expect_message("a", json!(6)), live);
    assert_eq!(epoch(&live), epoch(&early));
    // Publications from before the restart are replayed too.
    let mut late = resume(&sidecar, &early);
    expect_recovered(&late);
    (2..=6).for_each(|number| drop(late.expect_message("a", json!(number))));
}

#[test]
fn publications_survive_restarts_once_and_in_order() {
    // The environment can ask for more restarts, which find rarer faults.
    let restarts: u64 = std::env::var("LINESIDE_TEST_RESTARTS").map_or(5, |it| it.parse().unwrap());
    let place = place().with("LINESIDE_SHARDS", 2);
    let mut sidecar = place.start();
    let over = Arc::new(AtomicBool::new(false));
    let received = Arc::new(AtomicU64::new(0));
    let publishing = std::thread::spawn({
        let (place, over, received) = (place.clone(), Arc::clone(&over), Arc::clone(&received));
        move || {
            let publisher = place.publisher();
            let mut last = 0;
            // Twenty unacked publications at a time, then one that waits for its receipt.
            while !over.load(Ordering::Relaxed) {
                (0..20).for_each(|_| {
                    last += 1;
                    publisher.enqueue("a", last);
                });
                last += 1;
                publisher.publish("a", last);
                within("the browser lags by less than half of the history", || {
                    let is_near = last < received.load(Ordering::Relaxed) + 500;
                    (is_near || over.load(Ordering::Relaxed)).then_some(())
                });
            }
            publisher.flush();
            (last, publisher.inner.status())
        }
    });
    let mut browser = resume(&sidecar, "unknown");
    let mut seen = Vec::new();
    let epoch_before = epoch(&browser.cursor).to_owned();
    for _ in 0..restarts {
        let mut record = |envelope: Value| {
            let number = envelope["data"].as_u64();
            number.inspect(|number| received.store(*number, Ordering::Relaxed));
            seen.push(envelope);
        };
        (0..200).for_each(|_| record(browser.next()));
        sidecar.signal(Signal::SIGTERM);
        browser.expect_close().before.into_iter().for_each(record);
        expect_saved_state(&mut sidecar);
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
        "expected {first}..={last}, received {} numbers",
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
fn retransmitted_frames_get_the_same_answers_after_a_restart() {
    // With the flag that asks for a receipt.
    let with_receipt = raw_frame(PUBLISH, 1, &[], &publication(1, "1"));
    let place = place();
    let sidecar = place.start();
    let mut link = sidecar.raw_publisher(1);
    link.send(&with_receipt);
    link.send(&publish(2, "a", "no JSON"));
    link.send(&publish(3, "a", "3"));
    let answers = link.read_until_ack(3);
    let [ToPublisher::Receipt(_), ToPublisher::Refusal(_)] = &answers[..] else {
        panic!("{answers:?}")
    };
    stop(sidecar);

    let sidecar = start(&place);
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_link();
    assert_eq!(link.handshake(hello(1)).last, 3);
    link.send(&with_receipt);
    link.send(&publish(2, "a", "no JSON"));
    link.send(&publish(3, "a", "3"));
    assert_eq!(link.read_until_ack(3), answers);
    link.send(&publish(4, "a", "4"));
    browser.expect_message("a", json!(4));
    assert_eq!(
        sidecar.raw_link().handshake(hello(2)).last,
        0,
        "another publisher starts at 0"
    );
}

#[test]
fn once_id_is_a_duplicate_after_restarts_of_sidecar_and_publisher() {
    let place = place();
    let publish_once = |payload: &str| {
        let publisher = place.publisher();
        match publisher.try_publish("a", payload.as_bytes(), Some("order-7-paid")) {
            Outcome::Receipt { cursor, duplicate } => (cursor.to_string(), duplicate),
            other => panic!("{other:?}"),
        }
    };
    let sidecar = place.start();
    let before = place.publisher().publish("a", "before");
    let (first, duplicate) = publish_once("1");
    assert!(!duplicate);
    stop(sidecar);
    stop(start(&place));
    let sidecar = start(&place);
    let mut browser = resume(&sidecar, &before);
    assert_eq!(
        publish_once("2"),
        (first.clone(), true),
        "the cursor of the first publication"
    );
    place.publisher().publish("a", "marker");
    assert_eq!(browser.expect_message("a", json!(1)), first);
    assert_eq!(browser.next()["type"], "caught_up");
    browser.expect_message("a", json!("marker"));
}

#[test]
fn revocations_survive_a_planned_restart() {
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
    let sign_out = |user, session| publisher.inner.revoke(user, session, now_ms, false);
    sign_out("1", None).unwrap();
    sign_out("2", Some("x")).unwrap();
    publisher.flush();
    stop(sidecar);

    let sidecar = start(&place);
    for token in [&whole, &one] {
        sidecar
            .request()
            .expect_refused(json!({"token": token}), 4002);
    }
    sidecar.browser(json!({"token": other})).close();
}

#[test]
fn kill_after_a_planned_restart_begins_a_new_epoch() {
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
fn state_is_saved_when_the_drain_is_cut() {
    let place = place()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024);
    let mut sidecar = place.start();
    let publisher = place.publisher();
    let cursor = publisher.publish("a", 1);
    let _stalled = crate::drain::stalled(&sidecar);
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    (2..=4).for_each(|number| publisher.enqueue("a", number));
    sidecar.signal(Signal::SIGTERM);
    expect_saved_state(&mut sidecar);
    sidecar.logged(&["event=drain_cut"]);

    let sidecar = start(&place);
    publisher.flush();
    let mut browser = resume(&sidecar, &cursor);
    expect_recovered(&browser);
    (2..=4).for_each(|number| drop(browser.expect_message("a", json!(number))));
}

#[test]
fn unusable_state_is_refused_and_begins_a_new_epoch() {
    type Damage = fn(&PathBuf);
    let damages: [(&str, Damage); 5] = [
        ("truncated", |state| {
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
    for (reason, damage) in damages {
        let cursor = place.publisher().publish("a", 1);
        stop(sidecar);
        damage(&beside(&place, ".state"));
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
fn failed_start_keeps_the_state_for_the_next_start() {
    let place = place();
    let sidecar = place.start();
    let cursor = place.publisher().publish("a", 1);
    stop(sidecar);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // Each shard needs file descriptors.
    let few = ["sh", "-c", "ulimit -n 40; exec \"$0\""];
    for (wrapper, name, value) in [
        (&[][..], "LINESIDE_BIND", taken.as_str()),
        (&few[..], "LINESIDE_SHARDS", "64"),
    ] {
        let failed = place.command_under(wrapper, &[]).env(name, value).output();
        assert_eq!(failed.unwrap().status.code(), Some(1), "{name}={value}");
        assert!(beside(&place, ".state").exists(), "{name}={value}");
    }
    let sidecar = start(&place);
    expect_recovered(&resume(&sidecar, &cursor));
}

#[test]
fn full_disk_ends_the_epoch_and_the_stop_succeeds() {
    let place = place();
    // Writes beyond this size fail with EFBIG (setrlimit(2)).
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\"";
    let mut sidecar = place.start_from(&mut place.command_under(&["sh", "-c", script], &[]));
    let cursor = place.publisher().publish("a", "x".repeat(60_000));
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(sidecar.ended().code(), Some(0));
    let line = sidecar.logged(&["level=error", "event=state_not_saved"]);
    assert!(line.contains("new epoch"), "{line}");
    assert_no_state(&place);
    expect_lost(&place.start(), &cursor);
}

#[test]
fn state_is_saved_although_a_cleaner_has_removed_the_lock() {
    let sidecar = place().start();
    let place = sidecar.place().clone();
    let cursor = sidecar.publisher().publish("a", 1);
    let lock = beside(&place, ".lock");
    fs::remove_file(&lock).unwrap();
    within("the lock is back", || lock.exists().then_some(()));
    stop(sidecar);
    let browser = resume(&start(&place), &cursor);
    expect_recovered(&browser);
}
