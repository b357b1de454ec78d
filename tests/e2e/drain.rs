//! A planned stop: everybody is told, nothing acked is lost, and it always ends.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use lineside_protocol::codes::LINK_DRAIN;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Browser, Sidecar, frame, hello, place, publish, sidecar, token_for};

#[track_caller]
fn expect_drained(browser: &mut Browser) -> Vec<Value> {
    let ending = browser.ended();
    assert_eq!((ending.code, ending.reason.as_str()), (4100, "drain"));
    assert!(ending.after_ms.is_some(), "it is told when to come again");
    ending.before
}

#[test]
fn a_stop_tells_browsers_and_publishers_and_leaves_nothing_behind() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let place = place();
        let mut sidecar = place.start();
        let mut browsers: Vec<Browser> = (0..5).map(|_| sidecar.subscriber()).collect();
        let mut silent = sidecar.dial().open();
        let mut link = sidecar.raw_link();
        link.greet(hello(1));
        sidecar.signal(signal);
        let (code, message) = link.faulted();
        assert_eq!(
            (code, message.as_str()),
            (LINK_DRAIN.number, LINK_DRAIN.meaning)
        );
        for browser in &mut browsers {
            assert_eq!(expect_drained(browser), Vec::<Value>::new());
        }
        expect_drained(&mut silent);
        let status = sidecar.ended();
        assert_eq!(status.code(), Some(0));
        assert!(!place.link().exists());
        assert!(TcpStream::connect(("127.0.0.1", sidecar.port)).is_err());
        sidecar.logged(&[
            "event=draining",
            signal.as_str().strip_prefix("SIG").unwrap(),
        ]);
        sidecar.logged(&["event=drained"]);
    }
}

#[test]
fn browsers_come_again_at_different_times() {
    let sidecar = sidecar();
    let mut browsers: Vec<Browser> = (0..8).map(|_| sidecar.subscriber()).collect();
    sidecar.signal(Signal::SIGTERM);
    let mut pauses: Vec<u64> = browsers
        .iter_mut()
        .map(|browser| browser.ended().after_ms.unwrap())
        .collect();
    pauses.sort_unstable();
    pauses.dedup();
    assert!(pauses.len() > 4, "{pauses:?}");
}

#[test]
fn everything_acked_before_a_stop_is_delivered() {
    const COUNT: u64 = 2_000;
    let mut sidecar = place().with("LINESIDE_SHARDS", 2).start();
    let mut browsers: Vec<Browser> = (0..4).map(|_| sidecar.subscriber()).collect();
    let mut link = sidecar.raw_link();
    link.greet(hello(1));
    let all: Vec<u8> = (1..=COUNT)
        .flat_map(|number| publish(number, "a", &number.to_string()))
        .collect();
    link.send(&all);
    link.acked(COUNT);
    sidecar.signal(Signal::SIGTERM);
    for browser in &mut browsers {
        let messages = expect_drained(browser);
        let numbers = messages
            .iter()
            .map(|message| message["data"].as_u64().unwrap());
        assert!(numbers.eq(1..=COUNT), "{} messages", messages.len());
    }
    assert!(sidecar.ended().success());
}

#[test]
fn a_publisher_that_never_pauses_does_not_hold_up_the_stop() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let floods = [sidecar.flood(1), sidecar.flood(2)];
    sidecar.signal(Signal::SIGTERM);
    expect_drained(&mut browser);
    drop(floods);
    sidecar.logged(&["event=drained"]);
}

#[test]
fn what_is_published_during_a_stop_waits_for_the_successor() {
    let place = place();
    let mut sidecar = place.start();
    let publisher = place.publisher();
    publisher.publish("a", 0);
    sidecar.signal(Signal::SIGTERM);
    (1..=200).for_each(|number| publisher.cast("a", number));
    assert!(sidecar.ended().success());
    let successor = place.start();
    publisher.flush();
    publisher.publish("a", 201);
    publisher.flush();
    let status = publisher.inner.status();
    assert_eq!(
        (status.accepted, status.acked, status.dropped_aged),
        (202, 202, 0)
    );
    drop(successor);
}

/// A browser that has far more to read than its kernel takes, and reads nothing.
pub(crate) fn stuck(sidecar: &Sidecar) -> crate::support::RawBrowser {
    let mut stuck = sidecar.raw_browser();
    let token = token_for("2", &["wide"], &[]);
    stuck.send(&frame(
        0x81,
        json!({"type": "connect", "token": token})
            .to_string()
            .as_bytes(),
    ));
    stuck.next().expect("a welcome");
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    for _ in 0..150 {
        publisher.publish("wide", text.clone());
    }
    stuck
}

#[test]
fn a_reader_that_is_stuck_does_not_keep_the_sidecar_alive() {
    let mut sidecar = place()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 2)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let mut browser = sidecar.subscriber();
    let _stuck = stuck(&sidecar);
    sidecar.signal(Signal::SIGTERM);
    expect_drained(&mut browser);
    assert_eq!(sidecar.ended().code(), Some(0));
    assert!(!sidecar.place().link().exists());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sidecar = place()
            .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
            .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
            .start();
        let _stuck = stuck(&sidecar);
        sidecar.signal(Signal::SIGTERM);
        sidecar.logged(&["event=draining"]);
        sidecar.signal(second);
        assert_eq!(sidecar.ended().code(), Some(0));
        sidecar.logged(&["level=warn", "event=drain_cut", "signal="]);
        assert!(
            !sidecar
                .log()
                .iter()
                .any(|line| line.contains("event=drained"))
        );
        assert!(!sidecar.place().link().exists());
    }
}

#[test]
fn the_end_of_its_parent_is_a_planned_stop_for_a_sidecar_that_belongs_to_it() {
    let place = place();
    let command = place.command(&["serve"]);
    let settings = command.get_envs();
    let mut parent = Command::new("/bin/sh");
    parent
        .args(["-c", "LINESIDE_PARENT_PID=$$ \"$0\" serve & wait"])
        .arg(command.get_program())
        .env_clear()
        .envs(settings.filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let mut parent = place.spawn_from(&mut parent);
    parent.logged(&["event=listening"]);
    parent.signal(Signal::SIGKILL);
    // Until the last line of the log, whose last writer is the sidecar.
    assert_eq!(parent.ended().signal(), Some(9));
    parent.logged(&["event=draining", "parent ended"]);
    parent.logged(&["event=drained"]);
    assert!(!place.link().exists());
}
