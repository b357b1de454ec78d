//! Drain: a planned stop notifies browsers and publishers, delivers everything acked, and always ends.

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;

use lineside_protocol::codes::LINK_DRAIN;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Browser, RawBrowser, Sidecar, place, publish, sidecar, token_for};

/// Receives everything up to the close frame of a drain; returns the envelopes before it.
#[track_caller]
fn expect_drained(browser: &mut Browser) -> Vec<Value> {
    let ending = browser.expect_close();
    assert_eq!((ending.code, ending.reason.as_str()), (4100, "drain"));
    assert!(ending.after_ms.is_some(), "no delay before the reconnect");
    ending.before
}

#[test]
fn drain_notifies_browsers_and_publishers_and_removes_the_link() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let place = place();
        let mut sidecar = place.start();
        let mut browsers: Vec<Browser> = (0..5).map(|_| sidecar.subscriber()).collect();
        let mut silent = sidecar.request().open();
        let mut link = sidecar.raw_publisher(1);
        sidecar.signal(signal);
        let (code, message) = link.expect_fault();
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
fn signals_for_other_processes_are_ignored() {
    let mut sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        sidecar.signal(signal);
        let name = signal.as_str().strip_prefix("SIG").unwrap();
        sidecar.logged(&["event=signal_ignored", name]);
    }
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
    sidecar.signal(Signal::SIGTERM);
    // During the stop they do not cut it either.
    sidecar.signal(Signal::SIGUSR1);
    expect_drained(&mut browser);
    assert_eq!(sidecar.ended().code(), Some(0));
    sidecar.logged(&["event=drained"]);
}

#[test]
fn drain_spreads_the_reconnects_of_browsers() {
    let sidecar = sidecar();
    let mut browsers: Vec<Browser> = (0..8).map(|_| sidecar.subscriber()).collect();
    sidecar.signal(Signal::SIGTERM);
    let mut delays: Vec<u64> = browsers
        .iter_mut()
        .map(|browser| browser.expect_close().after_ms.unwrap())
        .collect();
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 4, "{delays:?}");
}

#[test]
fn publications_acked_before_a_stop_are_delivered() {
    const COUNT: u64 = 2_000;
    let mut sidecar = place().with("LINESIDE_SHARDS", 2).start();
    let mut browsers: Vec<Browser> = (0..4).map(|_| sidecar.subscriber()).collect();
    let mut link = sidecar.raw_publisher(1);
    let all: Vec<u8> = (1..=COUNT)
        .flat_map(|number| publish(number, "a", &number.to_string()))
        .collect();
    link.send(&all);
    link.read_until_ack(COUNT);
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
fn flooding_publishers_do_not_delay_the_drain() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let floods = [sidecar.flood(1), sidecar.flood(2)];
    sidecar.signal(Signal::SIGTERM);
    expect_drained(&mut browser);
    drop(floods);
    sidecar.logged(&["event=drained"]);
}

/// More answers than the kernel buffer of a link holds: a refusal has about 100 bytes.
const REFUSALS: u64 = 5_000;

#[test]
fn publisher_that_reads_no_answers_does_not_delay_the_drain() {
    let mut sidecar = place().with("LINESIDE_DRAIN_SECONDS_MAX", 600).start();
    let mut browser = sidecar.subscriber();
    let mut link = sidecar.raw_publisher(1);
    let refused: Vec<u8> = (1..=REFUSALS)
        .flat_map(|number| publish(number, "*", "1"))
        .collect();
    link.send(&refused);
    sidecar.logged(&["event=publication_refused"]);
    sidecar.signal(Signal::SIGTERM);
    expect_drained(&mut browser);
    assert!(sidecar.ended().success());
    sidecar.logged(&["event=drained"]);
}

#[test]
fn publications_during_a_stop_are_acked_by_the_successor() {
    let place = place();
    let mut sidecar = place.start();
    let publisher = place.publisher();
    publisher.publish("a", 0);
    sidecar.signal(Signal::SIGTERM);
    (1..=200).for_each(|number| publisher.enqueue("a", number));
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

/// A browser that reads nothing, with more to read than the kernel's buffers hold: a drain waits for it.
pub(crate) fn stalled(sidecar: &Sidecar) -> RawBrowser {
    let token = token_for("2", &["wide"], &[]);
    let browser = sidecar.raw_browser().connect(json!({"token": token}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    for _ in 0..150 {
        publisher.publish("wide", text.clone());
    }
    browser
}

#[test]
fn drain_ends_after_its_time_out_despite_a_stalled_browser() {
    let mut sidecar = place()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 2)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let mut browser = sidecar.subscriber();
    let _stalled = stalled(&sidecar);
    sidecar.signal(Signal::SIGTERM);
    expect_drained(&mut browser);
    assert_eq!(sidecar.ended().code(), Some(0));
    assert!(!sidecar.place().link().exists());
}

#[test]
fn second_signal_cuts_the_drain() {
    for second in [Signal::SIGTERM, Signal::SIGINT] {
        let mut sidecar = place()
            .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
            .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
            .start();
        let _stalled = stalled(&sidecar);
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
fn end_of_the_parent_process_drains_its_sidecar() {
    let place = place();
    let script = "LINESIDE_PARENT_PID=$$ \"$0\" serve & wait";
    let mut parent = place.spawn_from(&mut place.command_under(&["/bin/sh", "-c", script], &[]));
    parent.logged(&["event=listening"]);
    parent.signal(Signal::SIGKILL);
    // `ended` reads the log to its end, up to which the sidecar holds it open.
    assert_eq!(parent.ended().signal(), Some(9));
    parent.logged(&["event=draining", "parent ended"]);
    parent.logged(&["event=drained"]);
    assert!(!place.link().exists());
}
