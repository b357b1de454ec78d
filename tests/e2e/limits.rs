//! Silence, and settings that cannot be.

use std::process::Stdio;

use serde_json::json;

use crate::support::{Heard, listening_ports, place, sidecar};

#[test]
fn who_answers_nothing_is_sent_away_and_who_answers_anything_stays() {
    let sidecar = place()
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a")
        .start();
    // Reads everything and sends nothing: no pong, no request.
    let mut silent = sidecar.raw_browser().connected();
    // Its WebSocket answers pings as every browser's does, its page answers none.
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| silent.ended());
        let mut pings = 0;
        while !ended.is_finished() {
            match browser.hear() {
                Heard::Envelope(envelope) => assert_eq!(envelope["type"], "ping"),
                Heard::Ping => pings += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(pings > 1);
        let (code, texts) = ended.join().unwrap();
        assert_eq!(code, Some(4102));
        let goodbye = texts.last().unwrap();
        assert_eq!(goodbye["reason"], "heartbeat");
        assert!(goodbye["after_ms"].is_u64());
    });
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn a_client_that_vanishes_frees_its_place() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 1).start();
    for _ in 0..20 {
        let (stream, answer) = crate::support::within("a place", || {
            let (stream, answer) = sidecar.dial().request();
            (answer.status == 101).then_some((stream, answer))
        });
        assert_eq!(answer.status, 101);
        drop(stream);
    }
}

#[test]
fn a_client_that_neither_reads_nor_answers_frees_its_place() {
    let sidecar = place()
        .with("LINESIDE_CONNECTIONS_MAX", 1)
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .start();
    let _silent = sidecar.raw_browser().connected();
    let line = sidecar.logged(&["event=connection_ended"]);
    assert!(line.contains("reason=heartbeat"), "{line}");
    crate::support::within("a place", || {
        let (_, answer) = sidecar.dial().request();
        (answer.status == 101).then_some(())
    });
}

#[test]
fn a_setting_that_cannot_be_stops_the_start_with_one_line_that_names_it() {
    // Values that the unit tests of the settings leave out.
    for (name, value) in [
        ("LINESIDE_SECRET", "the secret of these tests: 0123456789,"),
        (
            "LINESIDE_SECRET",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("LINESIDE_BIND", "127.0.0.1:65536"),
        ("LINESIDE_LINK", "tcp://127.0.0.1:1"),
        ("LINESIDE_ALLOWED_ORIGINS", "app.example"),
        ("LINESIDE_PUBLIC_CHANNELS", "a*b"),
        ("LINESIDE_CONNECTIONS_MAX", "-1"),
        ("LINESIDE_OUTBOX_BYTES_MAX", "1MB"),
        ("LINESIDE_SLOW_SECONDS_MAX", "0"),
        ("LINESIDE_REPLAY_SECONDS_MAX", "0"),
        ("LINESIDE_DRAIN_SECONDS_MAX", "99999999999999999999999"),
    ] {
        let mut sidecar = place().with(name, value).spawn();
        let status = sidecar.ended();
        let log = sidecar.log();
        assert!(!status.success(), "{name}={value}: {log:?}");
        let [line] = &log[..] else {
            panic!("{name}={value}: {log:?}")
        };
        assert!(
            line.starts_with("lineside: ") && line.contains(name),
            "{line}"
        );
    }
}

#[test]
fn a_grant_of_everything_public_opens_no_reserved_name() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "*").start();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "any"}]}));
    assert_eq!(browser.welcome["channels"], json!(["any"]));
    for name in ["user:1", "cable:x"] {
        browser.send(json!({"type": "subscribe", "channel": name}));
        browser.expect_error("forbidden");
    }
}

#[test]
fn without_a_secret_nothing_is_served() {
    let place = place();
    let mut command = place.command(&["serve"]);
    command
        .env_remove("LINESIDE_SECRET")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert_eq!(output.stdout, b"");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(
        line.contains("LINESIDE_SECRET") && line.contains("bundle exec lineside"),
        "{line}"
    );
}

#[test]
fn the_effective_settings_are_told_once_and_a_mistyped_one_is_warned_of() {
    let sidecar = place()
        .with("LINESIDE_HEARTBEAT_SECOND", 5)
        .with("LINESIDE_SHARDS", 2)
        .start();
    sidecar.logged(&[
        "level=warn",
        "event=unknown_setting",
        "name=LINESIDE_HEARTBEAT_SECOND",
    ]);
    let log = sidecar.log();
    for line in [
        "name=LINESIDE_SHARDS value=2",
        "name=LINESIDE_HEARTBEAT_SECONDS value=25",
        "name=LINESIDE_SECRET value=[redacted]",
    ] {
        let found = log
            .iter()
            .filter(|it| it.contains("event=setting") && it.ends_with(line));
        assert_eq!(found.count(), 1, "{line}");
    }
}

#[test]
fn nothing_listens_but_the_port_and_the_link() {
    let sidecar = sidecar();
    let port = format!("127.0.0.1:{}", sidecar.port);
    assert_eq!(listening_ports(&sidecar), [port]);
}
