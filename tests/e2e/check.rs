//! `lineside check`: every mistake that it knows is found, named with its remedy, and nothing else is.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{Place, Sidecar, place};

/// What it found: its status, and the lines that are not `ok`.
struct Found {
    status: i32,
    lines: Vec<String>,
}

fn check(command: &mut Command) -> Found {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    assert!(lines.len() > 1, "{text}");
    for line in &lines {
        let level = ["ok    ", "warn  ", "fail  "];
        assert!(level.iter().any(|it| line.starts_with(it)), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    lines.retain(|line| !line.starts_with("ok"));
    let faults = lines.iter().filter(|line| line.starts_with("fail"));
    let status = output.status.code().unwrap();
    assert_eq!(status == 1, faults.count() > 0, "{text}");
    Found { status, lines }
}

impl Found {
    /// One finding and no other; it holds these words.
    #[track_caller]
    fn expect(&self, start: &str, words: &[&str]) {
        let [line] = &self.lines[..] else {
            panic!("one finding, {start}, and not {:#?}", self.lines)
        };
        assert!(line.starts_with(start), "{line}");
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(self.status, i32::from(start.starts_with("fail")));
    }
}

/// Checks with these settings changed, while nothing runs: that there is no sidecar is left out.
fn without_a_sidecar(place: &Place, changes: &[(&str, &str)]) -> Found {
    let mut command = place.command(&["check"]);
    let mut found = check(command.envs(changes.iter().copied()));
    let before = found.lines.len();
    found.lines.retain(|line| {
        !(line.starts_with("fail  sidecar: ") && line.contains("bundle exec lineside"))
    });
    assert_eq!(found.lines.len() + 1, before, "no sidecar is a finding");
    found.status = i32::from(found.lines.iter().any(|line| line.starts_with("fail")));
    found
}

/// Checks what runs, with settings of this command's own.
fn beside(sidecar: &Sidecar, changes: &[(&str, &str)]) -> Found {
    let bind = format!("127.0.0.1:{}", sidecar.port);
    let mut command = sidecar.place().command(&["check"]);
    check(
        command
            .env("LINESIDE_BIND", bind)
            .envs(changes.iter().copied()),
    )
}

#[test]
fn a_good_set_up_has_no_findings() {
    let sidecar = place().start();
    let found = beside(&sidecar, &[]);
    assert_eq!((found.status, found.lines), (0, vec![]));
    let none = without_a_sidecar(&place(), &[]);
    assert_eq!((none.status, none.lines), (0, vec![]));
}

#[test]
fn secrets_are_looked_at_and_never_shown() {
    let place = place();
    let (secret, short) = ("LINESIDE_SECRET", "much-too-short");
    without_a_sidecar(&place, &[(secret, "")])
        .expect("fail  secret", &["LINESIDE_SECRET", "bundle exec lineside"]);
    let found = without_a_sidecar(&place, &[(secret, short)]);
    found.expect("fail  secret", &["14 bytes", "32"]);
    assert!(!found.lines[0].contains(short));
    let file = place.folder().join("secret");
    std::fs::write(&file, crate::support::SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let in_file = [(secret, ""), ("LINESIDE_SECRET_FILE", file)];
    without_a_sidecar(&place, &in_file).expect("warn  secret file", &[file, "chmod 600"]);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(without_a_sidecar(&place, &in_file).lines.is_empty());
    std::fs::remove_file(file).unwrap();
    without_a_sidecar(&place, &in_file).expect("fail  secret", &[file]);
}

#[test]
fn settings_that_cannot_be_are_named_with_what_they_must_be() {
    let place = place();
    let long = format!("unix:/{}", "x".repeat(120));
    for (name, value, word) in [
        ("LINESIDE_ALLOWED_ORIGINS", "app.example", "scheme://host"),
        ("LINESIDE_LINK", &*long, "shorter"),
        ("LINESIDE_PATH", "lineside", "begin with /"),
        ("LINESIDE_BIND", "8090", "127.0.0.1:8090"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/99", "address"),
    ] {
        let found = check(place.command(&["check"]).env(name, value));
        found.expect("fail  settings", &[name, word]);
    }
    // A secret that is missing hides none of them.
    let mut command = place.command(&["check"]);
    let found = check(command.env("LINESIDE_SECRET", "").env("LINESIDE_PATH", "x"));
    assert_eq!(found.lines.len(), 2, "{:?}", found.lines);
    without_a_sidecar(&place, &[("LINESIDE_ORIGINS", "https://a.example")])
        .expect("warn  settings", &["LINESIDE_ORIGINS", "spelling"]);
}

#[test]
fn a_link_that_others_could_use_or_nobody_finds_is_told() {
    let place = place();
    let folder = place.link().parent().unwrap().to_owned();
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    without_a_sidecar(&place, &[]).expect("fail  link folder", &["chmod go-w"]);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(without_a_sidecar(&place, &[]).lines.is_empty());
    let release = place.folder().join("releases/20261122203000/tmp/l.sock");
    let release = format!("unix:{}", release.display());
    without_a_sidecar(&place, &[("LINESIDE_LINK", &release)])
        .expect("warn  link place", &["one release", "LINESIDE_LINK"]);
    let file = place.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let below = format!("unix:{}/below/l.sock", file.display());
    without_a_sidecar(&place, &[("LINESIDE_LINK", &below)])
        .expect("fail  link folder", &["cannot be made", "LINESIDE_LINK"]);
}

#[test]
fn a_taken_port_is_told_before_the_start() {
    let place = place();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["LINESIDE_BIND", "LINESIDE_ADMIN_BIND"] {
        without_a_sidecar(&place, &[(setting, &address)])
            .expect("fail  port", &[&address, setting, "another address"]);
    }
}

#[test]
fn what_the_sidecar_was_told_otherwise_is_told() {
    let sidecar = place().with("LINESIDE_ADMIN_BIND", "127.0.0.1:0").start();
    beside(
        &sidecar,
        &[("LINESIDE_SECRET", "another secret of these tests: 98765")],
    )
    .expect("fail  key", &["another secret", "LINESIDE_SECRET"]);
    beside(&sidecar, &[("LINESIDE_PATH", "/cable")])
        .expect("fail  port and path", &["/cable", "/lineside"]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap().to_string();
    drop(free);
    beside(&sidecar, &[("LINESIDE_BIND", &closed)])
        .expect("warn  port and path", &[&closed, "nothing answers"]);
    let none = beside(&sidecar, &[("LINESIDE_BIND", "none")]);
    assert!(none.lines.is_empty(), "{:?}", none.lines);
    let line = sidecar.logged(&["event=listening"]);
    let admin = line.split_once("admin=").unwrap().1.split(' ').next();
    let found = beside(&sidecar, &[("LINESIDE_ADMIN_BIND", admin.unwrap())]);
    assert!(
        found.lines.is_empty(),
        "the same version: {:?}",
        found.lines
    );
    // Somebody else's page is no sidecar.
    beside(&sidecar, &[("LINESIDE_BIND", admin.unwrap())])
        .expect("warn  port and path", &["404", "no sidecar"]);
}

#[test]
fn another_version_that_runs_is_told() {
    let sidecar = place().start();
    let other = page("lineside_build_info{version=\"0.0.9\"} 1\n");
    beside(&sidecar, &[("LINESIDE_ADMIN_BIND", &other)]).expect(
        "warn  version",
        &["0.0.9", env!("CARGO_PKG_VERSION"), "restart"],
    );
}

/// Where this page is answered to one request.
fn page(body: &'static str) -> String {
    use std::io::{Read as _, Write as _};
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        assert_ne!(stream.read(&mut request).unwrap(), 0);
        write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}").unwrap();
    });
    address
}

#[test]
fn addresses_that_others_reach_are_told() {
    let place = place();
    without_a_sidecar(&place, &[("LINESIDE_BIND", "0.0.0.0:0")])
        .expect("warn  proxies", &["0.0.0.0:0", "LINESIDE_TRUSTED_PROXIES"]);
    let named = [
        ("LINESIDE_BIND", "0.0.0.0:0"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.7"),
    ];
    assert!(without_a_sidecar(&place, &named).lines.is_empty());
    without_a_sidecar(&place, &[("LINESIDE_ADMIN_BIND", "[::]:0")])
        .expect("warn  admin", &["/metrics", "127.0.0.1"]);
}

#[test]
fn a_socket_at_another_host_needs_its_pages_named() {
    let place = place();
    let url = ("LINESIDE_URL", "wss://ws.example/lineside");
    without_a_sidecar(&place, &[url]).expect(
        "warn  origins",
        &["wss://ws.example", "LINESIDE_ALLOWED_ORIGINS", "403"],
    );
    let named = [url, ("LINESIDE_ALLOWED_ORIGINS", "https://app.example")];
    assert!(without_a_sidecar(&place, &named).lines.is_empty());
    without_a_sidecar(&place, &[("LINESIDE_URL", "https://ws.example")])
        .expect("fail  origins", &["wss://HOST/PATH"]);
}

#[test]
fn too_few_files_are_told() {
    let place = place();
    let check = place.command(&["check"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 300; exec \"$0\" check"])
        .arg(check.get_program())
        .env_clear()
        .envs(
            check
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(place.folder());
    let output = shell.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("open files"));
    let line = line.expect(&text);
    assert!(
        line.starts_with("warn") && line.contains("300") && line.contains("LimitNOFILE"),
        "{line}"
    );
}
