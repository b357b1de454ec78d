//! Slow browsers: they are disconnected, the others receive everything, and memory stays bounded.

use std::io::Read;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Browser, Place, RawBrowser, Received, Sidecar, frame, place, within};

/// A place with small limits: a few payloads fill the outbox once the kernel's buffers are full.
fn small_outbox() -> Place {
    place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b")
        .with("LINESIDE_OUTBOX_BYTES_MAX", 65_536)
        .with("LINESIDE_SLOW_SECONDS_MAX", 1)
}

/// A browser that is subscribed to `a` and reads nothing after its welcome.
fn stalled(sidecar: &Sidecar) -> RawBrowser {
    sidecar
        .raw_browser()
        .connect(json!({"subscribe": [{"channel": "a"}]}))
}

#[test]
fn stalled_browser_is_disconnected_and_others_receive_everything() {
    let sidecar = small_outbox().start();
    let mut stalled = stalled(&sidecar);
    let mut other = sidecar.browser(json!({"subscribe": [{"channel": "a"}, {"channel": "b"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    // 18 MB, more than the kernel's buffers of one connection hold.
    for number in 0..300 {
        publisher.publish("a", json!([number, text]));
        other.expect_message("a", json!([number, text]));
    }
    let line = sidecar.logged(&["event=connection_ended", "reason=slow"]);
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    publisher.publish("b", "marker");
    other.expect_message("b", json!("marker"));
    // The connection is reset, which discards what was not read.
    let mut received = 0;
    while stalled.next().is_some() {
        received += 1;
    }
    assert!(received < 300, "{received}");
    assert_eq!(
        sidecar
            .log()
            .iter()
            .filter(|line| line.contains("reason=slow"))
            .count(),
        1
    );
}

#[test]
fn stalled_browser_is_disconnected_after_the_slow_time_out() {
    let sidecar = small_outbox()
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let _stalled = stalled(&sidecar);
    let mut other = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    for number in 0..200 {
        publisher.publish("a", json!([number, text]));
        other.expect_message("a", json!([number, text]));
    }
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
}

#[test]
fn browser_that_reads_no_answers_is_disconnected() {
    let sidecar = small_outbox().start();
    let mut stalled = stalled(&sidecar);
    let mut other = sidecar.browser(json!({"subscribe": [{"channel": "b"}]}));
    // Each request is answered with a replay of 120 KB; none is read.
    let publisher = sidecar.publisher();
    let start = publisher.publish("a", 0);
    (0..2).for_each(|_| drop(publisher.publish("a", "x".repeat(60_000))));
    let request = format!(r#"{{"type":"subscribe","channel":"a","after":"{start}"}}"#);
    let request = frame(0x81, request.as_bytes());
    // 48 MB of answers: more than kernel buffers with limits of 32 MiB for receiving and 4 MiB for sending hold. 400
    // requests are below the limit of a burst.
    stalled.send(&request.repeat(400));
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
    publisher.publish("b", "marker");
    other.expect_message("b", json!("marker"));
}

#[test]
fn suspended_sidecar_treats_no_browser_as_slow() {
    let sidecar = small_outbox().start();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    publisher.publish("a", 0);
    browser.expect_message("a", json!(0));
    // Suspended for longer than the slow time-out, with more publications waiting than an outbox holds. The heartbeats of
    // another sidecar measure the time.
    let other = place().with("LINESIDE_HEARTBEAT_SECONDS", 1).start();
    let mut clock = other.browser(json!({}));
    sidecar.signal(Signal::SIGSTOP);
    for number in 1..=50 {
        publisher.enqueue("a", json!([number, text]));
    }
    (0..3).for_each(|_| drop(clock.next_ping()));
    sidecar.signal(Signal::SIGCONT);
    for number in 1..=50 {
        browser.expect_message("a", json!([number, text]));
    }
    assert!(
        !sidecar
            .log()
            .iter()
            .any(|line| line.contains("reason=slow"))
    );
}

#[test]
fn suspended_sidecar_treats_no_browser_as_silent() {
    /// More than one epoll call returns.
    const COUNT: usize = 400;
    let sidecar = place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .start();
    let mut browsers: Vec<RawBrowser> = (0..COUNT)
        .map(|_| sidecar.raw_browser().connect(json!({})))
        .collect();
    // Suspended for longer than the time-out after a ping. The heartbeats of another sidecar measure the time.
    let other = place().with("LINESIDE_HEARTBEAT_SECONDS", 1).start();
    let mut clock = other.browser(json!({}));
    (0..2).for_each(|_| drop(clock.next_ping()));
    sidecar.signal(Signal::SIGSTOP);
    // A thread may still send pings until it is stopped; the pongs below answer those too.
    within("all threads are stopped", || {
        is_stopped(&sidecar).then_some(())
    });
    for browser in &mut browsers {
        browser.send_text(r#"{"type":"pong"}"#);
    }
    (0..12).for_each(|_| drop(clock.next_ping()));
    sidecar.signal(Signal::SIGCONT);
    for browser in &mut browsers {
        browser.send_text(r#"{"type":"unsubscribe","channel":"a"}"#);
        let answered = |frame: &[u8]| frame.starts_with(br#"{"type":"unsubscribed""#);
        while !answered(&browser.next().expect("the connection is open").1) {}
    }
}

/// Whether every thread of the process is stopped (the state `T` of proc(5)).
fn is_stopped(sidecar: &Sidecar) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T')
    })
}

/// Numbers in the messages among these envelopes.
fn numbers(envelopes: &[Value]) -> Vec<u64> {
    let messages = envelopes.iter().filter(|it| it["type"] == "message");
    messages.map(|it| it["data"][0].as_u64().unwrap()).collect()
}

/// Reads a slow browser to its end, with code 4101 or a reset. Then resumes after its newest cursor, again and again while
/// the resumed browser is slow itself, until a replay is complete. Returns the numbers of all messages.
fn resume_until_caught_up(sidecar: &Sidecar, slow: &mut RawBrowser, before: &str) -> Vec<u64> {
    let (code, mut received) = slow.read_to_end();
    assert!(code.is_none_or(|code| code == 4101), "{code:?}");
    loop {
        let newest = received.iter().rfind(|it| it["type"] == "message");
        let cursor = newest.map_or(before, |it| it["cursor"].as_str().unwrap());
        let entry = json!({"channel": "a", "after": cursor});
        let mut browser: Browser = sidecar.browser(json!({"subscribe": [entry]}));
        assert_eq!(browser.welcome["recovered"], true);
        loop {
            match browser.receive() {
                Received::Envelope(it) if it["type"] == "caught_up" => return numbers(&received),
                Received::Envelope(it) => received.push(it),
                Received::Ping => {}
                Received::Close(4101, _) | Received::End => break,
                Received::Close(code, reason) => panic!("{code} {reason}"),
            }
        }
    }
}

#[test]
fn slow_browser_resumes_without_a_gap() {
    let sidecar = small_outbox()
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let publisher = sidecar.publisher();
    let before = publisher.publish("b", 0);
    let mut stalled = stalled(&sidecar);
    let text = "x".repeat(60_000);
    for number in 0..300 {
        publisher.publish("a", json!([number, text]));
    }
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
    let all: Vec<u64> = (0..300).collect();
    assert_eq!(resume_until_caught_up(&sidecar, &mut stalled, &before), all);
}

#[test]
fn replay_that_is_read_too_slowly_is_ended_and_the_next_continues() {
    let sidecar = small_outbox()
        .with("LINESIDE_REPLAY_SECONDS_MAX", 1)
        .with("LINESIDE_SLOW_SECONDS_MAX", 600)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let publisher = sidecar.publisher();
    let before = publisher.publish("b", 0);
    let text = "x".repeat(60_000);
    // 42 MB: more than the kernel's buffers hold, and more than is read within a second at 1 KiB a step.
    for number in 0..700 {
        publisher.enqueue("a", json!([number, text]));
        if number % 50 == 49 {
            publisher.flush();
        }
    }
    let mut slow = sidecar.raw_browser();
    slow.send_text(
        &json!({"type": "connect", "subscribe": [{"channel": "a", "after": before}]}).to_string(),
    );
    let mut read = Vec::new();
    let is_slow = |line: &String| line.contains("reason=slow");
    while !sidecar.log().iter().any(is_slow) {
        let mut some = [0; 1024];
        let count = slow.stream.read(&mut some).unwrap();
        assert!(count > 0 && read.len() < 40_000_000, "{}", read.len());
        read.extend(&some[..count]);
        // Each step waits for a receipt, which sets the pace.
        publisher.publish("b", 0);
    }
    let mut slow = slow.with_unparsed(read);
    let all: Vec<u64> = (0..700).collect();
    assert_eq!(resume_until_caught_up(&sidecar, &mut slow, &before), all);
}

/// Peak resident memory of the process, in KiB (`VmHWM` of proc(5)).
fn memory_kib_max(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

#[test]
fn stalled_browsers_share_one_copy_and_delay_no_other() {
    let sidecar = small_outbox().start();
    let stalled: Vec<RawBrowser> = (0..40).map(|_| stalled(&sidecar)).collect();
    let mut others: Vec<Browser> = (0..4)
        .map(|_| sidecar.browser(json!({"subscribe": [{"channel": "a"}]})))
        .collect();
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    for number in 0..300 {
        publisher.publish("a", json!([number, text]));
        for other in &mut others {
            other.expect_message("a", json!([number, text]));
        }
    }
    let ended = |line: &&String| line.contains("reason=slow");
    within("all stalled browsers are disconnected", || {
        (sidecar.log().iter().filter(ended).count() == stalled.len()).then_some(())
    });
    // 18 MB were published: 720 MB with a copy for each browser.
    let kib = memory_kib_max(&sidecar);
    assert!(kib < 100_000, "{kib} KiB");
}
