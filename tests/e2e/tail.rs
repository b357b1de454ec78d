//! `lineside tail`, which prints publications for an operator.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use lineside_protocol::codes::{LINK_BAD_CHANNEL, LINK_BAD_FRAME, LINK_TAILS_FULL};
use lineside_protocol::frame::{Fault, Frame, TailReply, TailRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{Place, RawLink, Sidecar, now_ms, place, sidecar, within};

/// A running `lineside tail`.
struct Tail {
    child: Option<Child>,
    lines: Option<BufReader<ChildStdout>>,
}

impl Tail {
    /// Starts it and waits until it receives publications.
    fn start(sidecar: &Sidecar, arguments: &[&str]) -> Self {
        let began = |sidecar: &Sidecar| {
            let log = sidecar.log().into_iter();
            log.filter(|line| line.contains("event=tail_opened"))
                .count()
        };
        let before = began(sidecar);
        let mut command = sidecar.place().command(&["tail"]);
        let mut child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let tail = Self {
            child: Some(child),
            lines: Some(lines),
        };
        within("the tail is attached", || {
            (began(sidecar) > before).then_some(())
        });
        tail
    }

    fn next_text(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{line:?}");
        line
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.next_text()).unwrap()
    }

    fn into_parts(mut self) -> (Child, BufReader<ChildStdout>) {
        (self.child.take().unwrap(), self.lines.take().unwrap())
    }

    /// Waits for its end; returns its status and standard error.
    fn ended(self) -> (ExitStatus, String) {
        let (mut child, _lines) = self.into_parts();
        let status = within("the tail ends", || child.try_wait().unwrap());
        (status, standard_error(&mut child))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// Standard error up to the end of the process.
fn standard_error(child: &mut Child) -> String {
    let mut text = String::new();
    let mut error = child.stderr.take().unwrap();
    error.read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    text
}

fn kill_with(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn tail_prints_each_publication_as_a_line() {
    let sidecar = sidecar();
    let mut tail = Tail::start(&sidecar, &[]);
    let publisher = sidecar.publisher();
    let before_ms = now_ms();
    for (channel, data) in [
        ("news", json!({"a": [1, null]})),
        ("user:42", json!("é")),
        ("cable:x", json!(-1)),
    ] {
        let cursor = publisher.publish(channel, data.clone());
        let line = tail.next();
        assert_eq!(
            line,
            json!({"channel": channel, "cursor": cursor, "at": line["at"], "data": data})
        );
        let at_ms = line["at"].as_f64().unwrap() * 1000.0;
        let now_ms = now_ms();
        assert!(
            at_ms > before_ms as f64 - 2.0 && at_ms < now_ms as f64 + 2.0,
            "{at_ms} {now_ms}"
        );
    }
}

#[test]
fn tail_prints_only_the_named_channel_or_prefix() {
    let sidecar = sidecar();
    let mut channel = Tail::start(&sidecar, &["user:4"]);
    let mut prefix = Tail::start(&sidecar, &["user:*"]);
    let publisher = sidecar.publisher();
    for name in ["user", "user:42", "news", "user:4", "xuser:4"] {
        publisher.publish(name, name);
    }
    publisher.publish("user:4", "last");
    assert_eq!(channel.next()["data"], "user:4");
    assert_eq!(channel.next()["data"], "last");
    for data in ["user:42", "user:4", "last"] {
        assert_eq!(prefix.next()["data"], data);
    }
}

#[test]
fn tail_escapes_control_and_format_characters() {
    let sidecar = sidecar();
    let mut tail = Tail::start(&sidecar, &[]);
    let payload = "{\n\t\"a\":\r\n \"x\u{9b}31m\u{7f}\u{202e}\u{2066}\u{e0041}\\n\"}";
    let channel = "a\u{202e}\u{200b}";
    sidecar
        .publisher()
        .try_publish(channel, payload.as_bytes(), None);
    let line = tail.next_text();
    let is_unsafe = |char: char| {
        char.is_control() || matches!(char, '\u{200b}' | '\u{202e}' | '\u{2066}' | '\u{e0041}')
    };
    assert!(!line.trim_end().contains(is_unsafe), "{line:?}");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["channel"], channel);
    let text = "x\u{9b}31m\u{7f}\u{202e}\u{2066}\u{e0041}\n";
    assert_eq!(line["data"], json!({"a": text}));
}

#[test]
fn tail_shows_the_record_of_a_channel_beside_its_name() {
    let sidecar = sidecar();
    let mut tail = Tail::start(&sidecar, &[]);
    let record = "Z2lkOi8vYXBwL09yZGVyLzc";
    let channel = format!("{record}:lines");
    sidecar.publisher().publish(&channel, 1);
    sidecar.publisher().publish("orders", 2);
    let line = tail.next();
    assert_eq!(line["channel"], channel);
    assert_eq!(line["readable"], "gid://app/Order/7:lines");
    assert_eq!(tail.next()["readable"], Value::Null);
    let _of_one = Tail::start(&sidecar, &[record]);
    sidecar.logged(&["event=tail_opened", "(gid://app/Order/7)"]);
}

#[test]
fn stalled_tail_reports_its_missed_publications_and_delays_nobody() {
    const COUNT: u64 = 20_000;
    let sidecar = sidecar();
    let tail = Tail::start(&sidecar, &["a"]);
    let mut browser = sidecar.subscriber();
    let publisher = sidecar.publisher();
    // 40 MB: more than pipe, sockets and queue hold.
    let text = "x".repeat(2_000);
    // Less at once than the outbox of a browser holds.
    for chunk in (0..COUNT).step_by(200) {
        (chunk..chunk + 200).for_each(|number| publisher.enqueue("a", json!([number, text])));
        for number in chunk..chunk + 200 {
            browser.expect_message("a", json!([number, text]));
        }
    }
    let (mut child, lines) = tail.into_parts();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let reader = {
        let seen = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in lines.lines() {
                let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
                seen.lock().unwrap().push(line["data"][0].as_u64());
            }
        })
    };
    // Once a marker is printed, everything before it was printed or missed.
    let mut markers = 0;
    within("the tail prints a marker", || {
        publisher.publish("a", "marker");
        markers += 1;
        seen.lock().unwrap().contains(&None).then_some(())
    });
    kill_with(&child, Signal::SIGTERM);
    reader.join().unwrap();
    let numbers: Vec<u64> = seen.lock().unwrap().iter().copied().flatten().collect();
    assert!(numbers.is_sorted(), "not in the order of the journal");
    let unseen = COUNT - numbers.len() as u64;
    let missed: u64 = standard_error(&mut child)
        .lines()
        .map(|line| {
            let line = line.strip_prefix("lineside: ").expect(line);
            assert!(line.contains("publications are missing here"), "{line}");
            line.split(' ').next().unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert!(unseen > 0, "nothing was missed");
    assert!(
        (unseen..=unseen + markers).contains(&missed),
        "{missed} missed, {unseen} of {COUNT} unseen"
    );
}

#[test]
fn tail_ends_with_its_reader_and_with_a_planned_stop() {
    let mut sidecar = sidecar();
    let mut tail = Tail::start(&sidecar, &[]);
    sidecar.publisher().publish("a", 1);
    tail.next();
    let (mut child, lines) = Tail::start(&sidecar, &[]).into_parts();
    drop(lines);
    sidecar.publisher().publish("a", 2);
    let status = within("the tail without a reader ends", || {
        child.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(0));
    sidecar.logged(&["event=tail_closed"]);
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(sidecar.ended().code(), Some(0));
    tail.next();
    let (status, error) = tail.ended();
    assert_eq!(status.code(), Some(0), "{error}");
    assert!(error.contains("stopping as planned"), "{error}");
}

#[test]
fn tail_fails_when_the_sidecar_is_killed() {
    let sidecar = sidecar();
    let tail = Tail::start(&sidecar, &[]);
    sidecar.kill();
    let (status, error) = tail.ended();
    assert_eq!(status.code(), Some(1));
    assert!(error.contains("is it still running?"), "{error}");
}

#[test]
fn tail_without_a_sidecar_names_the_link_and_the_remedy() {
    let place = place();
    let output = place.command(&["tail"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains(place.link().to_str().unwrap()), "{error}");
    assert!(error.contains("bundle exec lineside"), "{error}");
    for bad in ["a*b", "**", ""] {
        let output = place.command(&["tail", bad]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{bad}");
    }
}

/// A connection of a tail that sends arbitrary bytes first.
fn raw_tail(place: &Place, first: &[u8]) -> RawLink {
    let mut link = place.raw_link();
    link.stream.write_all(first).unwrap();
    link
}

/// The request of a tail.
fn tail_request(wanted: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let wanted = wanted.to_owned();
    TailRequest { wanted }.encode(&mut bytes);
    bytes
}

/// Receives a frame; `None` at the end of the link.
fn answer(link: &mut RawLink) -> Option<TailReply> {
    let mut bytes = BytesMut::new();
    loop {
        if let Some(frame) = Frame::split(&mut bytes).unwrap() {
            return Some(TailReply::decode(&frame).unwrap());
        }
        let mut byte = [0];
        match link.stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => bytes.extend_from_slice(&byte),
            // Bytes that the sidecar left unread reset the link after the fault.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn invalid_tail_request_ends_its_own_link_with_a_fault() {
    let sidecar = sidecar();
    let mut tail = Tail::start(&sidecar, &[]);
    let mut endless = tail_request("a");
    endless[..4].copy_from_slice(&100_000_u32.to_be_bytes());
    endless.resize(4_000, b'a');
    for (bytes, expected) in [
        (tail_request("a*b"), LINK_BAD_CHANNEL),
        (tail_request(""), LINK_BAD_CHANNEL),
        (tail_request(&"x".repeat(300)), LINK_BAD_CHANNEL),
        (endless, LINK_BAD_FRAME),
        // An incomplete frame, which times out.
        (tail_request("abc")[..9].to_vec(), LINK_BAD_FRAME),
    ] {
        let mut link = raw_tail(sidecar.place(), &bytes);
        match answer(&mut link) {
            Some(TailReply::Fault(Fault { code, .. })) => assert_eq!(code, expected.number),
            other => panic!("expected {expected:?}, received {other:?}"),
        }
        assert_eq!(answer(&mut link), None);
    }
    sidecar.publisher().publish("a", 1);
    assert_eq!(tail.next()["data"], 1);
}

#[test]
fn tails_are_limited_in_number() {
    let sidecar = sidecar();
    let mut links: Vec<RawLink> = (0..16)
        .map(|_| {
            let mut link = raw_tail(sidecar.place(), &tail_request("*"));
            let first = answer(&mut link);
            assert!(matches!(first, Some(TailReply::Opened(_))), "{first:?}");
            link
        })
        .collect();
    let mut one_more = raw_tail(sidecar.place(), &tail_request("*"));
    match answer(&mut one_more) {
        Some(TailReply::Fault(fault)) => assert_eq!(fault.code, LINK_TAILS_FULL.number),
        other => panic!("expected a fault, received {other:?}"),
    }
    links.pop();
    within("another tail is accepted", || {
        let mut link = raw_tail(sidecar.place(), &tail_request("*"));
        matches!(answer(&mut link), Some(TailReply::Opened(_))).then_some(())
    });
}
