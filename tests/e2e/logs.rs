//! The log: one line per event, without secrets, and safe against values that forge lines or control a terminal.

use lineside_protocol::frame::ToSidecar;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{
    RawBrowser, SECRET, Sidecar, claims, forge, frame, hello, place, publish, sidecar, token_for,
};

/// Checks that every line is a log line without control characters; returns the lines.
#[track_caller]
fn expect_lines(sidecar: &Sidecar) -> Vec<String> {
    let log = sidecar.log();
    for line in &log {
        let mut words = line.split(' ');
        assert!(words.next().unwrap().starts_with("at="), "{line:?}");
        assert!(words.next().unwrap().starts_with("level="), "{line:?}");
        assert!(words.next().unwrap().starts_with("event="), "{line:?}");
        let is_control = |char: char| {
            char.is_control()
                || matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!line.contains(is_control), "{line:?}");
    }
    log
}

/// Stops the sidecar; returns the whole log, which must be complete.
fn stop(mut sidecar: Sidecar) -> Vec<String> {
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.ended().success());
    let log = expect_lines(&sidecar);
    assert!(log.iter().any(|line| line.contains("event=drained")));
    log
}

#[test]
fn tokens_secrets_and_payloads_are_never_logged() {
    let sidecar = sidecar();
    let good = token_for("1", &["a"], &["n:*"]);
    let mut answers = Vec::new();
    // Valid tokens, sent in each way.
    let mut browser = sidecar.browser(json!({"token": good}));
    sidecar
        .request()
        .path(format!("/lineside?token={good}"))
        .open()
        .expect_welcome()
        .close();
    let offered = format!("lineside-v1, lineside.token.{good}");
    sidecar
        .request()
        .header("Sec-WebSocket-Protocol", &offered)
        .open()
        .expect_welcome()
        .close();
    // Tokens that are refused.
    let expired = forge(&claims(json!({"exp": 1, "canary": "CANARY"})));
    for bad in [
        "CANARY".to_owned(),
        format!("{good}CANARY"),
        "CANARY.CANARY.CANARY".into(),
        expired,
        "CANARY".repeat(2_000),
    ] {
        let mut first_frame = sidecar.request().connect(json!({"token": bad}));
        answers.push(format!("{:?}", first_frame.expect_close()));
        let mut in_url = sidecar
            .request()
            .path(format!("/lineside?token={bad}"))
            .open();
        answers.push(format!("{:?}", in_url.expect_close()));
        for request in [
            json!({"type": "subscribe", "channel": "b", "token": bad}),
            json!({"type": "refresh", "token": bad}),
        ] {
            browser.send(request);
            answers.push(browser.next().to_string());
        }
    }
    // Tokens in requests that are refused for another reason.
    let in_url = sidecar
        .request()
        .path(format!("/lineside?token={good}CANARY"));
    for request in [
        in_url.clone().without("Upgrade"),
        in_url.clone().header("Origin", "http://evil.example"),
        in_url
            .clone()
            .header("Origin", format!("http://{good}.example")),
        in_url.clone().without("Sec-WebSocket-Key"),
        sidecar.request().path(format!("/other?token={good}CANARY")),
        sidecar.request().path(format!("/{good}")),
        sidecar.request().path(format!("/token={good}CANARY")),
        sidecar
            .request()
            .path(format!("/lineside?token={good}CANARY%zz")),
        sidecar
            .request()
            .header("Sec-WebSocket-Protocol", format!("{offered}CANARY"))
            .without("Upgrade"),
        sidecar
            .request()
            .header("Authorization", "Bearer CANARY")
            .path("/other"),
        sidecar
            .request()
            .header("Cookie", format!("lineside=CANARY{}", "x".repeat(20_000))),
    ] {
        answers.push(request.response().body);
    }
    browser.send_text("{\"type\":\"refresh\",\"token\":\"CANARY");
    answers.push(browser.next().to_string());
    browser.send(json!({"type": "dance", "token": "CANARY"}));
    answers.push(browser.next().to_string());
    // Payloads.
    let publisher = sidecar.publisher();
    publisher.publish("a", "CANARY");
    publisher.try_publish("a", b"{\"CANARY\":", None);
    publisher.try_publish("a*", b"\"CANARY\"", Some("CANARY"));

    let (_, signature) = good.rsplit_once('.').unwrap();
    let log = stop(sidecar);
    for line in log.iter().chain(&answers) {
        for secret in ["CANARY", signature, SECRET, &good] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn foreign_values_cannot_forge_log_lines_or_control_a_terminal() {
    const FORGED: &str =
        "x\r\nat=1.000 level=error event=forged \u{1b}[31mred\u{7}\u{9b}\u{2028}\u{202e}\"\\\u{0}";
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "*").start();
    // Name, channel and payload of a publisher.
    let mut link = sidecar.raw_link();
    let mut forged = hello(1);
    forged.name = FORGED.into();
    link.handshake(forged);
    link.send(&publish(1, FORGED, "1"));
    link.send(&publish(2, "a", FORGED));
    link.read_until_ack(2);
    drop(link);
    let mut link = sidecar.raw_link();
    let mut bytes = Vec::new();
    ToSidecar::Hello(hello(2)).encode(&mut bytes);
    bytes.extend_from_slice(b"\xff\xff\xff\xff\r\nevent=forged");
    link.send(&bytes);
    while link.next().is_some() {}
    // Headers and path of a browser's request.
    for value in [
        "http://evil\u{1b}[31m",
        "http://evil\u{202e}",
        "\u{9b}31m",
        "http://evil\" level=error event=forged",
        "a\tb",
    ] {
        sidecar.request().header("Origin", value).response();
        sidecar
            .request()
            .header("X-Forwarded-Host", value)
            .header("Origin", "http://x")
            .response();
    }
    for path in ["/%0d%0aevent=forged", "/\"level=error\"event=forged", "/é"] {
        sidecar.request().path(path).response();
    }
    // A user id, which may contain everything but control characters.
    let token = forge(&claims(
        json!({"sub": "a\u{202e}\" event=forged x=\"\u{2028}b"}),
    ));
    let mut browser = sidecar.raw_browser();
    browser.send_text(&json!({"type": "connect", "token": token}).to_string());
    browser.send(&frame(0x82, b"binary"));
    browser.read_to_end();
    sidecar.logged(&[
        "event=connection_ended",
        "reason=binary",
        "user=\"a\\u{202e}\\\" event=forged x=\\\"\\u{2028}b\"",
    ]);
    // Requests, channels and the reason of a close frame.
    let mut browser: RawBrowser = sidecar.raw_browser().connect(json!({}));
    browser.send_text(&json!({"type": "subscribe", "channel": FORGED}).to_string());
    browser.send_text(&json!({"type": FORGED}).to_string());
    browser.send_text(&json!({"type": "subscribe", "channel": "a\u{202e}"}).to_string());
    browser.send(&frame(
        0x88,
        &[&1000_u16.to_be_bytes()[..], FORGED.as_bytes()].concat(),
    ));
    browser.read_to_end();

    for line in stop(sidecar) {
        // Foreign values stay within quotes.
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
fn sidecar_keeps_running_when_nobody_reads_its_output() {
    use std::process::Stdio;
    let place = place().with("LINESIDE_PUBLIC_CHANNELS", "a");
    let mut child = place
        .command(&[])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The reader is dropped after the first lines.
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
    let status = crate::support::within("the sidecar ends", || child.try_wait().unwrap());
    assert!(status.success(), "{status:?}");
}

#[test]
fn start_is_one_line_with_the_addresses_in_effect() {
    // If another process has the port already, the sidecar cannot use it either.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8090");
    let place = place();
    let sidecar = place.spawn_from(place.command(&[]).env_remove("LINESIDE_BIND"));
    let line = sidecar.logged(&["event=listening"]);
    assert!(line.contains(" bind=none "), "{line}");
    let log = sidecar.log();
    let is_other = |line: &&String| !line.contains("event=address_taken");
    assert_eq!(log.iter().filter(is_other).collect::<Vec<_>>(), [&line]);
}

#[test]
fn repeated_line_is_limited_and_its_omissions_are_counted() {
    const COUNT: usize = 1_000;
    let sidecar = sidecar();
    for _ in 0..COUNT {
        sidecar.request().path("/nowhere").response();
    }
    let log = stop(sidecar);
    let refused = |line: &&String| line.contains("event=request_refused");
    let written = log.iter().filter(refused).count();
    let omitted: usize = log
        .iter()
        .filter(|line| line.contains("level=warn event=lines_omitted of=request_refused"))
        .map(|line| {
            let (_, lines) = line.rsplit_once("lines=").unwrap();
            lines.parse::<usize>().unwrap()
        })
        .sum();
    assert!(written < COUNT / 2, "{written} lines");
    assert_eq!(written + omitted, COUNT);
}

#[test]
fn format_and_level_of_the_log_are_settings() {
    let place = place()
        .with("LINESIDE_LOG_FORMAT", "json")
        .with("LINESIDE_LOG_LEVEL", "warn");
    let mut sidecar = place.spawn();
    place.publisher().try_publish("a", b"{", None);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.ended().success());
    let log = sidecar.log();
    let [line] = &log[..] else { panic!("{log:?}") };
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["event"], "publication_refused");
    assert_eq!(line["code"], "bad_payload");
}
