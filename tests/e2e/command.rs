//! The command line: output and exit status of `lineside publish`, `token`, `serve`, `--version` and `--help`.

use std::io::Write as _;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::support::{Place, is_after, place, sidecar, token_for};

/// Runs the command to its end, with this standard input.
fn run(place: &Place, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = place.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut standard_input = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // The command may end before it has read everything.
        scope.spawn(move || standard_input.write_all(input).unwrap_or_default());
        child.wait_with_output().unwrap()
    })
}

/// Runs the command, which must succeed; returns its output.
#[track_caller]
fn printed(place: &Place, arguments: &[&str], input: &[u8]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = run(place, arguments, input);
    let (stdout, stderr) = (
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    );
    assert!(status.success(), "{arguments:?}: {stderr}");
    assert_eq!(stderr, "", "{arguments:?}");
    stdout
}

/// Runs the command, which must fail with this status; returns its one line of error.
#[track_caller]
fn failed(place: &Place, arguments: &[&str], input: &[u8], status: i32) -> String {
    let output = run(place, arguments, input);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {line}");
    assert_eq!(output.stdout, b"", "{arguments:?}");
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    assert!(line.starts_with("lineside: "), "{line}");
    assert!(!line.trim_end().contains(char::is_control), "{line:?}");
    line
}

#[test]
fn publish_prints_the_cursor_of_its_receipt() {
    let sidecar = sidecar();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &["news"], &[])}));
    let place = sidecar.place();
    let mut cursors = Vec::new();
    for (channel, data) in [
        ("news", json!({"a": [1, null]})),
        ("user:1", json!(-5)),
        ("news", json!("é")),
    ] {
        let cursor = printed(place, &["publish", channel, &data.to_string()], b"");
        assert_eq!(browser.expect_message(channel, data), cursor.trim_end());
        cursors.push(cursor.trim_end().to_owned());
    }
    assert!(cursors.windows(2).all(|pair| is_after(&pair[1], &pair[0])));
    printed(place, &["publish", "cable:Z2lkOi8v", "{}"], b"");
}

#[test]
fn publish_names_the_invalid_argument_and_publishes_nothing() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let place = sidecar.place();
    for (channel, data, part) in [
        ("a", "{x", "not JSON"),
        ("a", "", "not JSON"),
        ("a*", "1", "*"),
        ("", "1", "empty"),
        ("user:", "1", "empty"),
        ("a\u{1b}[31m", "1", "control"),
    ] {
        let line = failed(place, &["publish", channel, data], b"", 1);
        assert!(line.contains(part), "{line}");
    }
    let large = format!("\"{}\"", "x".repeat(65_536));
    let line = failed(
        place,
        &["publish", "-"],
        format!("{{\"channel\":\"a\",\"data\":{large}}}\n").as_bytes(),
        1,
    );
    assert!(line.contains("65538") && line.contains("65536"), "{line}");
    sidecar.publisher().publish("a", "marker");
    browser.expect_message("a", json!("marker"));
}

#[test]
fn publish_reads_lines_and_ends_when_all_are_acked() {
    const COUNT: u64 = 1_000;
    let sidecar = sidecar();
    let mut browser = sidecar.browser(json!({"token": token_for("1", &["a", "b"], &[])}));
    let lines: String = (0..COUNT)
        .map(|number| {
            let channel = ["a", "b"][usize::from(number % 2 == 1)];
            // Blank lines and white space are ignored.
            format!("{{\"data\": {number} , \"channel\":\"{channel}\"}}\r\n\n")
        })
        .collect();
    printed(
        sidecar.place(),
        &["publish", "-"],
        lines.trim_end().as_bytes(),
    );
    for number in 0..COUNT {
        browser.expect_message(["a", "b"][usize::from(number % 2 == 1)], json!(number));
    }
    printed(sidecar.place(), &["publish", "-"], b"");
}

#[test]
fn malformed_line_is_named_and_lines_before_it_are_published() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let good = r#"{"channel":"a","data":1}"#;
    let overlong = format!("{{\"channel\":\"a\",\"data\":\"{}\"}}", "x".repeat(140_000));
    for bad in [
        "x",
        "[]",
        "{}",
        r#"{"channel":"a"}"#,
        r#"{"channel":7,"data":1}"#,
        r#"{"channel":"a","data":1,"once":"x"}"#,
        r#"{"channel":"a","data":}"#,
        &overlong,
    ] {
        let lines = format!("{good}\n\n{bad}\n{good}\n");
        let line = failed(sidecar.place(), &["publish", "-"], lines.as_bytes(), 1);
        assert!(
            line.contains("line 3") && line.contains("lines before it are published"),
            "{line}"
        );
        browser.expect_message("a", json!(1));
        sidecar.publisher().publish("a", "marker");
        browser.expect_message("a", json!("marker"));
    }
    let line = failed(sidecar.place(), &["publish", "-"], b"\xff\n", 1);
    assert!(line.contains("line 1"), "{line}");
}

#[test]
fn refused_line_fails_the_command_and_other_lines_are_published() {
    let sidecar = sidecar();
    let mut browser = sidecar.subscriber();
    let lines = "{\"channel\":\"a\",\"data\":1}\n{\"channel\":\"*\",\"data\":2}\n{\"channel\":\"a\",\"data\":3}\n";
    let line = failed(sidecar.place(), &["publish", "-"], lines.as_bytes(), 1);
    assert!(line.contains('*'), "{line}");
    browser.expect_message("a", json!(1));
    browser.expect_message("a", json!(3));
}

#[test]
fn publish_without_a_sidecar_fails_and_names_the_link() {
    let place = place();
    for arguments in [&["publish", "a", "1"][..], &["publish", "-"]] {
        let line = failed(&place, arguments, b"{\"channel\":\"a\",\"data\":1}\n", 1);
        assert!(line.contains(place.link().to_str().unwrap()), "{line}");
    }
    // The socket of a killed sidecar remains.
    place.start().kill();
    failed(&place, &["publish", "a", "1"], b"", 1);
}

#[test]
fn token_prints_a_token_that_connects() {
    let sidecar = sidecar();
    let place = sidecar.place();
    let arguments = [
        "token",
        "--sub",
        "42",
        "--channel",
        "news",
        "--channel",
        "b",
        "--allow",
        "chat:*",
        "--ttl",
        "90s",
    ];
    let token = printed(place, &arguments, b"");
    let mut browser = sidecar.browser(json!({"token": token.trim_end()}));
    assert_eq!(browser.welcome["user"], "42");
    assert_eq!(browser.welcome["channels"], json!(["user:42", "news", "b"]));
    browser.subscribe(json!({"channel": "chat:1"}));
    let anonymous = printed(place, &["token"], b"");
    assert_eq!(
        sidecar
            .browser(json!({"token": anonymous.trim_end()}))
            .welcome["user"],
        json!(null)
    );
}

#[test]
fn token_refuses_invalid_claims_and_arguments() {
    let place = place();
    for (arguments, part, status) in [
        (&["token", "--channel", "user:1"][..], "reserved", 1),
        (&["token", "--channel", "a*"], "*", 1),
        (&["token", "--sub", ""], "sub", 1),
        (&["token", "--ttl", "25h"], "86400", 1),
        (&["token", "--ttl", "0"], "", 1),
        (&["token", "--ttl", "soon"], "--ttl", 64),
        (&["token", "--sub"], "--sub", 64),
        (&["token", "--admin"], "--admin", 64),
        (&["token", "42"], "42", 64),
    ] {
        let line = failed(&place, arguments, b"", status);
        assert!(line.contains(part), "{line}");
    }
    let mut command = place.command(&["token"]);
    let output = command.env_remove("LINESIDE_SECRET").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("LINESIDE_SECRET")
    );
}

#[test]
fn secret_is_read_from_a_file_and_a_short_one_is_refused() {
    let place = place();
    let path = place.folder().join("secret");
    std::fs::write(&path, format!("{}\n", crate::support::SECRET)).unwrap();
    let run = |value: &std::path::Path| {
        let mut command = place.command(&["token", "--sub", "1"]);
        command
            .env_remove("LINESIDE_SECRET")
            .env("LINESIDE_SECRET_FILE", value)
            .output()
            .unwrap()
    };
    let output = run(&path);
    assert!(output.status.success());
    let sidecar = place.start();
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        sidecar.browser(json!({"token": token.trim_end()})).welcome["user"],
        "1"
    );
    assert!(!run(&path.join("missing")).status.success());
    std::fs::write(&path, "short").unwrap();
    let line = String::from_utf8(run(&path).stderr).unwrap();
    assert!(
        line.contains("LINESIDE_SECRET_FILE") && line.contains("32") && !line.contains("short\""),
        "{line}"
    );
}

#[test]
fn version_and_help_are_printed() {
    let place = place();
    for arguments in [["--version"], ["-V"]] {
        let version = printed(&place, &arguments, b"");
        assert_eq!(version, format!("lineside {}\n", env!("CARGO_PKG_VERSION")));
    }
    let help = printed(&place, &["--help"], b"");
    for word in ["serve", "publish", "token", "tail", "check", "--version"] {
        assert!(help.contains(word), "{help}");
    }
    for arguments in [&["help"][..], &["-h"], &["help", "help"]] {
        assert_eq!(printed(&place, arguments, b""), help);
    }
    for command in ["serve", "publish", "token", "tail", "check"] {
        let text = printed(&place, &["help", command], b"");
        assert!(
            text.contains(&format!("{command}]"))
                || text.starts_with(&format!("lineside {command}"))
        );
        for option in ["--help", "-h"] {
            assert_eq!(printed(&place, &[command, option], b""), text);
        }
    }
    assert_eq!(
        printed(&place, &["publish", "a", "--help"], b""),
        printed(&place, &["help", "publish"], b"")
    );
}

#[test]
fn parse_only_checks_the_arguments_and_does_nothing() {
    let place = place();
    for arguments in [
        &["publish", "a", "1"][..],
        &["serve"],
        &["tail"],
        &["token"],
        &["--help"],
    ] {
        let arguments = [&["--parse-only"], arguments].concat();
        assert_eq!(printed(&place, &arguments, b""), "");
    }
    let line = failed(&place, &["--parse-only", "publish", "a", "{x"], b"", 1);
    assert!(line.contains("not JSON"), "{line}");
    failed(&place, &["--parse-only", "tail", "--all"], b"", 64);
}

#[test]
fn grant_of_reserved_names_is_refused_by_the_command() {
    for grant in ["user:*", "user:7", "cable:x"] {
        let line = failed(&place(), &["token", "--allow", grant], b"", 64);
        assert!(line.contains(grant) && line.contains("--sub"), "{line}");
    }
}

#[test]
fn unknown_arguments_end_with_status_64() {
    let place = place();
    for arguments in [
        &["dance"][..],
        &["--dance"],
        &["serve", "now"],
        &["publish"],
        &["publish", "a"],
        &["publish", "a", "1", "2"],
        &["tail", "a", "b"],
        &["tail", "--all"],
        &["check", "now"],
        &["help", "dance"],
        &["help", "tail", "x"],
    ] {
        let line = failed(&place, arguments, b"", 64);
        assert!(line.contains("--help"), "{line}");
    }
}

#[test]
fn serve_starts_the_sidecar() {
    let place = place();
    let mut child = place
        .command(&["serve"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    place.publisher().publish("a", 1);
    child.kill().unwrap();
    child.wait().unwrap();
}
