//! A browser that does not read costs nobody else a message, and itself its connection.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Place, RawBrowser, Sidecar, frame, place};

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
