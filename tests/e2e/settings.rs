//! Settings: their validation at the start, and their effect on listeners and public channels.

use std::process::Stdio;

use serde_json::json;

use crate::support::{listening_ports, place, sidecar};

#[test]
fn invalid_setting_stops_the_start_with_one_line_that_names_it() {
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
fn public_channels_star_opens_no_reserved_channel() {
    let sidecar = place().with("LINESIDE_PUBLIC_CHANNELS", "*").start();
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "any"}]}));
    assert_eq!(browser.welcome["channels"], json!(["any"]));
    for name in ["user:1", "cable:x"] {
        browser.send(json!({"type": "subscribe", "channel": name}));
        browser.expect_error("forbidden");
    }
}

#[test]
fn missing_secret_stops_the_start() {
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
fn settings_are_logged_at_debug_and_an_unknown_one_warns() {
    let sidecar = place()
        .with("LINESIDE_HEARTBEAT_SECOND", 5)
        .with("LINESIDE_SHARDS", 2)
        .with("LINESIDE_LOG_LEVEL", "debug")
        .start();
    sidecar.logged(&[
        "level=warn",
        "event=unknown_setting",
        "name=LINESIDE_HEARTBEAT_SECOND",
    ]);
    sidecar.logged(&["level=debug", "event=epoch"]);
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
fn only_the_configured_port_is_open() {
    let sidecar = sidecar();
    let port = format!("127.0.0.1:{}", sidecar.port);
    assert_eq!(listening_ports(&sidecar), [port]);
}
