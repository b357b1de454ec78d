//! The log: one line an event, no secret in it, and nothing in it that somebody else wrote there.

use lineside_protocol::frame::ToSidecar;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    RawBrowser, SECRET, Sidecar, claims, forge, frame, hello, place, publish, sidecar, token_for,
};

/// Every line is one of ours, and steers no terminal.
#[track_caller]
fn expect_lines(sidecar: &Sidecar) -> Vec<String> {
    let log = sidecar.log();
    for line in &log {
        let mut words = line.split(' ');
        assert!(words.next().unwrap().starts_with("at="), "{line:?}");
        assert!(words.next().unwrap().starts_with("level="), "{line:?}");
        assert!(words.next().unwrap().starts_with("event="), "{line:?}");
        let steers = |char: char| {
            char.is_control()
                || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(steers), "{line:?}");
    }
    log
}

/// A log line says who came, so that their absence from it means something.
fn end(mut sidecar: Sidecar) -> Vec<String> {
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.ended().success());
    let log = expect_lines(&sidecar);
    assert!(log.iter().any(|line| line.contains("event=drained")));
    log
}

#[test]
fn no_token_secret_or_payload_is_ever_written() {
    let sidecar = sidecar();
    let good = token_for("1", &["a"], &["n:*"]);
    let mut answers = Vec::new();
    // Good ones, in each way.
    let mut browser = sidecar.browser(json!({"token": good}));
    sidecar
        .dial()
        .path(format!("/lineside?token={good}"))
        .open()
        .take_welcome()
        .leave();
    let offered = format!("lineside-v1, lineside.token.{good}");
    sidecar
        .dial()
        .header("Sec-WebSocket-Protocol", &offered)
        .open()
        .take_welcome()
        .leave();
    // Ones that are refused, in each way and for several reasons.
    let expired = forge(&claims(json!({"exp": 1, "canary": "CANARY"})));
    for bad in [
        "CANARY".to_owned(),
        format!("{good}CANARY"),
        "CANARY.CANARY.CANARY".into(),
        expired,
        "CANARY".repeat(2_000),
    ] {
        let mut first_frame = sidecar.dial().open();
        first_frame.send(json!({"type": "connect", "token": bad}));
        answers.push(format!("{:?}", first_frame.ended()));
        let mut in_url = sidecar.dial().path(format!("/lineside?token={bad}")).open();
        answers.push(format!("{:?}", in_url.ended()));
        for request in [
            json!({"type": "subscribe", "channel": "b", "token": bad}),
            json!({"type": "refresh", "token": bad}),
        ] {
            browser.send(request);
            answers.push(browser.next().to_string());
        }
    }
    // Ones in requests that are refused for something else.
    let in_url = sidecar.dial().path(format!("/lineside?token={good}CANARY"));
    for dial in [
        in_url.clone().without("Upgrade"),
        in_url.clone().header("Origin", "http://evil.example"),
        in_url.clone().without("Sec-WebSocket-Key"),
        sidecar.dial().path(format!("/other?token={good}CANARY")),
        sidecar
            .dial()
            .path(format!("/lineside?token={good}CANARY%zz")),
        sidecar
            .dial()
            .header("Sec-WebSocket-Protocol", format!("{offered}CANARY"))
            .without("Upgrade"),
        sidecar
            .dial()
            .header("Authorization", "Bearer CANARY")
            .path("/other"),
        sidecar
            .dial()
            .header("Cookie", format!("lineside=CANARY{}", "x".repeat(20_000))),
    ] {
        answers.push(dial.refused().body);
    }
    browser.send_text("{\"type\":\"refresh\",\"token\":\"CANARY");
    answers.push(browser.next().to_string());
    browser.send(json!({"type": "CANARYCANARY".repeat(0) + "dance", "token": "CANARY"}));
    answers.push(browser.next().to_string());
    // Payloads belong to the app.
    let publisher = sidecar.publisher();
    publisher.publish("a", "CANARY");
    publisher.try_publish("a", b"{\"CANARY\":", None);
    publisher.try_publish("a*", b"\"CANARY\"", Some("CANARY"));

    let (_, signature) = good.rsplit_once('.').unwrap();
    let log = end(sidecar);
    for line in log.iter().chain(&answers) {
        for secret in ["CANARY", signature, SECRET, &good] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn nothing_that_others_choose_begins_a_line_or_steers_a_terminal() {
    const FORGED: &str =
        "x\r\nat=1.000 level=error event=forged \u{1b}[31mred\u{7}\u{9b}\u{2028}\u{202e}\"\\\u{0}";
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "*").start();
    // A publisher's name and channels.
    let mut link = sidecar.raw_link();
    let mut forged = hello(1);
    forged.name = FORGED.into();
    forged.fingerprint = [7; 8];
    link.greet(forged);
    link.send(&publish(1, FORGED, "1"));
    link.send(&publish(2, "a", FORGED));
    link.acked(2);
    drop(link);
    let mut link = sidecar.raw_link();
    let mut bytes = Vec::new();
    ToSidecar::Hello(hello(2)).encode(&mut bytes);
    bytes.extend_from_slice(b"\xff\xff\xff\xff\r\nevent=forged");
    link.send(&bytes);
    while link.next().is_some() {}
    // What a browser may write into a request, as far as HTTP lets it.
    for value in [
        "http://evil\u{1b}[31m",
        "http://evil\u{202e}",
        "\u{9b}31m",
        "http://evil\" level=error event=forged",
        "a\tb",
    ] {
        sidecar.dial().header("Origin", value).refused();
        sidecar
            .dial()
            .header("X-Forwarded-Host", value)
            .header("Origin", "http://x")
            .refused();
    }
    for path in ["/%0d%0aevent=forged", "/\"level=error\"event=forged", "/é"] {
        sidecar.dial().path(path).refused();
    }
    // A user's id may hold what a name may: everything but control characters.
    let token = forge(&claims(
        json!({"sub": "a\u{202e}\" event=forged x=\"\u{2028}b"}),
    ));
    let mut browser = sidecar.raw_browser();
    browser.send_text(&json!({"type": "connect", "token": token}).to_string());
    browser.send(&frame(0x82, b"binary"));
    browser.ended();
    sidecar.logged(&[
        "event=connection_ended",
        "reason=binary",
        "user=\"a\\u{202e}\\\" event=forged x=\\\"\\u{2028}b\"",
    ]);
    // And requests and channels.
    let mut browser: RawBrowser = sidecar.raw_browser().connected();
    browser.send_text(&json!({"type": "subscribe", "channel": FORGED}).to_string());
    browser.send_text(&json!({"type": FORGED}).to_string());
    browser.send_text(&json!({"type": "subscribe", "channel": "a\u{202e}"}).to_string());
    browser.send(&frame(
        0x88,
        &[&1000_u16.to_be_bytes()[..], FORGED.as_bytes()].concat(),
    ));
    browser.ended();

    for line in end(sidecar) {
        // Outside of quotes nobody else has a word.
        let mut unquoted = String::new();
        let mut is_quoted = false;
        let mut chars = line.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' if is_quoted => drop(chars.next()),
                '"' => is_quoted = !is_quoted,
                _ if !is_quoted => unquoted.push(char),
                _ => {}
            }
        }
        assert!(!is_quoted && !unquoted.contains("event=forged"), "{line}");
    }
}

#[test]
fn a_sidecar_whose_output_nobody_reads_goes_on() {
    use std::process::Stdio;
    let place = place().with("LINESIDE_PUBLIC_CHANNELS", "a");
    let mut child = place
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Dropped: every further line finds its reader gone.
    let first = {
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        while !line.contains("event=listening") {
            line.clear();
            assert_ne!(
                std::io::BufRead::read_line(&mut output, &mut line).unwrap(),
                0
            );
        }
        line
    };
    assert!(first.contains("bind="));
    let publisher = place.publisher();
    for number in 0..50 {
        publisher.try_publish("a", b"{", None);
        publisher.publish("a", number);
    }
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let status = crate::support::within("it ends", || child.try_wait().unwrap());
    assert!(status.success(), "{status:?}");
}
