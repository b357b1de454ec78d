//! A browser that does not read costs nobody else a message, and itself its connection.

use std::io::Read;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Browser, Heard, Place, RawBrowser, Sidecar, frame, place, within};

/// So small that a few payloads fill it, once the kernel's buffers are full too.
fn narrow() -> Place {
    place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b")
        .with("LINESIDE_OUTBOX_BYTES_MAX", 65_536)
        .with("LINESIDE_SLOW_SECONDS_MAX", 1)
}

/// A connected browser that has subscribed to `a` and reads nothing more.
fn stuck(sidecar: &Sidecar) -> RawBrowser {
    let mut browser = sidecar.raw_browser();
    browser.send(&frame(
        0x81,
        br#"{"type":"connect","subscribe":[{"channel":"a"}]}"#,
    ));
    let (_, welcome) = browser.next().expect("a welcome");
    assert!(welcome.starts_with(br#"{"type":"welcome""#));
    browser
}

#[test]
fn a_browser_that_never_reads_is_cut_and_the_others_get_everything() {
    let sidecar = narrow().start();
    let mut deaf = stuck(&sidecar);
    let mut witness = sidecar.browser(json!({"subscribe": [{"channel": "a"}, {"channel": "b"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    // Far more than the kernel's buffers of one connection take.
    for number in 0..300 {
        publisher.publish("a", json!([number, text]));
        witness.expect_message("a", json!([number, text]));
    }
    let line = sidecar.logged(&["event=connection_ended", "reason=slow"]);
    assert!(line.contains("peer=127.0.0.1:"), "{line}");
    publisher.publish("b", "behind it");
    witness.expect_message("b", json!("behind it"));
    // What it had not read is gone with a reset: it is never left waiting.
    let mut received = 0;
    while deaf.next().is_some() {
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
fn a_browser_that_the_kernel_refuses_for_too_long_is_cut_with_little_in_its_outbox() {
    let sidecar = narrow()
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let _deaf = stuck(&sidecar);
    let mut witness = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    for number in 0..200 {
        publisher.publish("a", json!([number, text]));
        witness.expect_message("a", json!([number, text]));
    }
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
}

#[test]
fn a_page_that_does_not_read_answers_cannot_make_us_keep_them() {
    let sidecar = narrow().start();
    let mut greedy = stuck(&sidecar);
    let mut witness = sidecar.browser(json!({"subscribe": [{"channel": "b"}]}));
    // Each request is answered by a replay of 120 KB; none is read.
    let publisher = sidecar.publisher();
    let start = publisher.publish("a", 0);
    (0..2).for_each(|_| drop(publisher.publish("a", "x".repeat(60_000))));
    let request = format!(r#"{{"type":"subscribe","channel":"a","after":"{start}"}}"#);
    let request = frame(0x81, request.as_bytes());
    // 48 MB of answers: more than the kernel's buffers can grow to where 32 MiB may be received and 4 MiB sent, and fewer
    // requests than may come at once.
    greedy.send(&request.repeat(400));
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
    publisher.publish("b", "behind it");
    witness.expect_message("b", json!("behind it"));
}

#[test]
fn our_own_pause_makes_nobody_slow() {
    let sidecar = narrow().start();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    let publisher = sidecar.publisher();
    let text = "x".repeat(60_000);
    publisher.publish("a", 0);
    browser.expect_message("a", json!(0));
    // Stopped for longer than a slow browser may be (another's heartbeat is the clock), with more waiting than an outbox holds.
    let other = place().with("LINESIDE_HEARTBEAT_SECONDS", 1).start();
    let mut clock = other.browser(json!({}));
    sidecar.signal(Signal::SIGSTOP);
    for number in 1..=50 {
        publisher.cast("a", json!([number, text]));
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
fn our_own_pause_makes_nobody_silent_however_many_answered() {
    // More than the kernel tells of at a time.
    const COUNT: usize = 400;
    let sidecar = place()
        .with("LINESIDE_SHARDS", 1)
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .start();
    let mut browsers: Vec<RawBrowser> = (0..COUNT)
        .map(|_| sidecar.raw_browser().connected())
        .collect();
    // For longer than anybody may be silent after a ping (another's heartbeat is the clock).
    let other = place().with("LINESIDE_HEARTBEAT_SECONDS", 1).start();
    let mut clock = other.browser(json!({}));
    (0..2).for_each(|_| drop(clock.next_ping()));
    sidecar.signal(Signal::SIGSTOP);
    // A thread may run on for a while, and ping; what is said from here on is said to all of its pings.
    within("all threads stand still", || {
        stands_still(&sidecar).then_some(())
    });
    for browser in &mut browsers {
        browser.send_text(r#"{"type":"pong"}"#);
    }
    (0..12).for_each(|_| drop(clock.next_ping()));
    sidecar.signal(Signal::SIGCONT);
    for browser in &mut browsers {
        browser.send_text(r#"{"type":"unsubscribe","channel":"a"}"#);
        let answered = |frame: &[u8]| frame.starts_with(br#"{"type":"unsubscribed""#);
        while !answered(&browser.next().expect("it is not sent away").1) {}
    }
}

/// Whether every thread of the process is stopped (the state `T` of proc(5)).
fn stands_still(sidecar: &Sidecar) -> bool {
    let mut threads = std::fs::read_dir(format!("/proc/{}/task", sidecar.pid())).unwrap();
    threads.all(|thread| {
        let stat = std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        let (_, state) = stat.rsplit_once(") ").unwrap();
        state.starts_with('T')
    })
}

/// The numbers of the messages among these envelopes.
fn numbers(envelopes: &[Value]) -> Vec<u64> {
    let messages = envelopes.iter().filter(|it| it["type"] == "message");
    messages.map(|it| it["data"][0].as_u64().unwrap()).collect()
}

/// Reads a slow browser to its end, which is told by its code or is a reset, and has others go on where it was, until one is
/// through its replay: whoever is slow itself gets on, too. Gives all that they were sent.
fn resumed(sidecar: &Sidecar, deaf: &mut RawBrowser, before: &str) -> Vec<u64> {
    let (code, mut heard) = deaf.ended();
    assert!(code.is_none_or(|code| code == 4101), "{code:?}");
    loop {
        let newest = heard.iter().rfind(|it| it["type"] == "message");
        let cursor = newest.map_or(before, |it| it["cursor"].as_str().unwrap());
        let entry = json!({"channel": "a", "after": cursor});
        let mut browser: Browser = sidecar.browser(json!({"subscribe": [entry]}));
        assert_eq!(browser.welcome["recovered"], true);
        loop {
            match browser.hear() {
                Heard::Envelope(it) if it["type"] == "caught_up" => return numbers(&heard),
                Heard::Envelope(it) => heard.push(it),
                Heard::Ping => {}
                Heard::Close(4101, _) | Heard::End => break,
                Heard::Close(code, reason) => panic!("{code} {reason}"),
            }
        }
    }
}

#[test]
fn a_slow_browser_resumes_where_it_was() {
    let sidecar = narrow()
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let publisher = sidecar.publisher();
    let before = publisher.publish("b", 0);
    let mut deaf = stuck(&sidecar);
    let text = "x".repeat(60_000);
    for number in 0..300 {
        publisher.publish("a", json!([number, text]));
    }
    sidecar.logged(&["event=connection_ended", "reason=slow"]);
    let all: Vec<u64> = (0..300).collect();
    assert_eq!(resumed(&sidecar, &mut deaf, &before), all);
}

#[test]
fn a_replay_that_is_taken_in_a_trickle_is_ended_and_the_next_goes_on_from_there() {
    let sidecar = narrow()
        .with("LINESIDE_REPLAY_SECONDS_MAX", 1)
        .with("LINESIDE_SLOW_SECONDS_MAX", 600)
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let publisher = sidecar.publisher();
    let before = publisher.publish("b", 0);
    let text = "x".repeat(60_000);
    // More than the kernel's buffers take, and than is read in that second a kilobyte at a time.
    for number in 0..700 {
        publisher.cast("a", json!([number, text]));
        if number % 50 == 49 {
            publisher.flush();
        }
    }
    let mut trickle = sidecar.raw_browser();
    trickle.send_text(
        &json!({"type": "connect", "subscribe": [{"channel": "a", "after": before}]}).to_string(),
    );
    let mut taken = Vec::new();
    let is_slow = |line: &String| line.contains("reason=slow");
    while !sidecar.log().iter().any(is_slow) {
        let mut some = [0; 1024];
        let count = trickle.stream.read(&mut some).unwrap();
        assert!(count > 0 && taken.len() < 40_000_000, "{}", taken.len());
        taken.extend(&some[..count]);
        // The pace.
        publisher.publish("b", 0);
    }
    let mut trickle = trickle.begun_with(taken);
    let all: Vec<u64> = (0..700).collect();
    assert_eq!(resumed(&sidecar, &mut trickle, &before), all);
}

/// The most memory that the process ever had, in KiB (`VmHWM` of proc(5)).
fn memory_kib_max(sidecar: &Sidecar) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

#[test]
fn many_that_do_not_read_cost_the_others_nothing_and_hold_one_copy() {
    let sidecar = narrow().start();
    let deaf: Vec<RawBrowser> = (0..40).map(|_| stuck(&sidecar)).collect();
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
    within("all that do not read are cut", || {
        (sidecar.log().iter().filter(ended).count() == deaf.len()).then_some(())
    });
    // What was published is 18 MB, and 720 if each of them had a copy.
    let kib = memory_kib_max(&sidecar);
    assert!(kib < 100_000, "{kib} KiB");
}
