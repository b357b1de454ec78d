//! `lineside check`: it reports each known mistake with its remedy, and nothing else.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use lineside_protocol::codes::LINK_UNKNOWN_KIND;
use lineside_protocol::frame::{Description, DescriptionReply, Fault};
use lineside_token::Keys;

use crate::support::{Place, Sidecar, place};

/// Result of a check: the exit status, the lines that warn or fail, and those about points that were skipped.
#[derive(Debug)]
struct Findings {
    status: i32,
    lines: Vec<String>,
    skipped: Vec<String>,
}

fn check(command: &mut Command) -> Findings {
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    assert!(lines.len() > 1, "{text}");
    for line in &lines {
        let level = ["ok    ", "warn  ", "fail  ", "skip  "];
        assert!(level.iter().any(|it| line.starts_with(it)), "{line}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    lines.retain(|line| !line.starts_with("ok"));
    let (skipped, lines): (Vec<_>, _) = lines.into_iter().partition(|it| it.starts_with("skip"));
    let faults = lines.iter().filter(|line| line.starts_with("fail"));
    let status = output.status.code().unwrap();
    assert_eq!(status == 1, faults.count() > 0, "{text}");
    Findings {
        status,
        lines,
        skipped,
    }
}

impl Findings {
    /// Expects exactly one finding, with this start and these words.
    #[track_caller]
    fn expect(&self, start: &str, words: &[&str]) {
        let [line] = &self.lines[..] else {
            panic!("expected one finding, {start}; found {:#?}", self.lines)
        };
        assert!(line.starts_with(start), "{line}");
        for word in words {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(self.status, i32::from(start.starts_with("fail")));
    }
}

/// Checks these settings while no sidecar runs; removes the finding about the absent sidecar.
fn check_without_sidecar(place: &Place, changes: &[(&str, &str)]) -> Findings {
    let mut command = place.command(&["check"]);
    let mut found = check(command.envs(changes.iter().copied()));
    let before = found.lines.len();
    found.lines.retain(|line| {
        !(line.starts_with("fail  sidecar: ") && line.contains("bundle exec lineside"))
    });
    assert_eq!(found.lines.len() + 1, before, "the absent sidecar");
    found.status = i32::from(found.lines.iter().any(|line| line.starts_with("fail")));
    found
}

/// Checks these settings while the sidecar runs with its own.
fn check_beside(sidecar: &Sidecar, changes: &[(&str, &str)]) -> Findings {
    let bind = format!("127.0.0.1:{}", sidecar.port);
    let mut command = sidecar.place().command(&["check"]);
    check(
        command
            .env("LINESIDE_BIND", bind)
            .envs(changes.iter().copied()),
    )
}

#[test]
fn valid_settings_have_no_findings() {
    let sidecar = place().start();
    let found = check_beside(&sidecar, &[]);
    assert_eq!((found.status, found.lines), (0, vec![]));
    let [file, cable] = &found.skipped[..] else {
        panic!("{:#?}", found.skipped)
    };
    assert_eq!(file, "skip  secret file: LINESIDE_SECRET_FILE is not set");
    assert!(
        cable.starts_with("skip  cable by route: ") && cable.contains("LINESIDE_TURBO_KEYS"),
        "{cable}"
    );
    let none = check_without_sidecar(&place(), &[]);
    assert_eq!((none.status, none.lines), (0, vec![]));
}

#[test]
fn weak_missing_and_readable_secrets_are_reported_without_their_value() {
    let place = place();
    let (secret, short) = ("LINESIDE_SECRET", "much-too-short");
    check_without_sidecar(&place, &[(secret, "")])
        .expect("fail  secret", &["LINESIDE_SECRET", "bundle exec lineside"]);
    let found = check_without_sidecar(&place, &[(secret, short)]);
    found.expect("fail  secret", &["14 bytes", "32"]);
    assert!(!found.lines[0].contains(short));
    let file = place.folder().join("secret");
    std::fs::write(&file, crate::support::SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let in_file = [(secret, ""), ("LINESIDE_SECRET_FILE", file)];
    check_without_sidecar(&place, &in_file).expect("warn  secret file", &[file, "chmod 600"]);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(check_without_sidecar(&place, &in_file).lines.is_empty());
    std::fs::remove_file(file).unwrap();
    check_without_sidecar(&place, &in_file).expect("fail  secret", &[file]);
}

#[test]
fn invalid_setting_is_reported_with_a_valid_form() {
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
    // A missing secret hides no other finding.
    let mut command = place.command(&["check"]);
    let found = check(command.env("LINESIDE_SECRET", "").env("LINESIDE_PATH", "x"));
    assert_eq!(found.lines.len(), 2, "{:?}", found.lines);
    check_without_sidecar(&place, &[("LINESIDE_ORIGINS", "https://a.example")])
        .expect("warn  settings", &["LINESIDE_ORIGINS", "spelling"]);
}

#[test]
fn unsafe_or_unsuitable_link_path_is_reported() {
    let place = place();
    let folder = place.link().parent().unwrap().to_owned();
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    check_without_sidecar(&place, &[]).expect("fail  link folder", &["folder of its own"]);
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(check_without_sidecar(&place, &[]).lines.is_empty());
    let release = place.folder().join("releases/20261122203000/tmp/l.sock");
    let release = format!("unix:{}", release.display());
    check_without_sidecar(&place, &[("LINESIDE_LINK", &release)])
        .expect("warn  link path", &["one release", "LINESIDE_LINK"]);
    let file = place.folder().join("file");
    std::fs::write(&file, "").unwrap();
    let below = format!("unix:{}/below/l.sock", file.display());
    check_without_sidecar(&place, &[("LINESIDE_LINK", &below)])
        .expect("fail  link folder", &["cannot be made", "LINESIDE_LINK"]);
}

#[test]
fn port_in_use_is_reported() {
    let place = place();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["LINESIDE_BIND", "LINESIDE_ADMIN_BIND"] {
        check_without_sidecar(&place, &[(setting, &address)])
            .expect("fail  port", &[&address, setting, "another address"]);
    }
}

#[test]
fn settings_that_differ_from_the_running_sidecar_are_reported() {
    let sidecar = place().with("LINESIDE_ADMIN_BIND", "127.0.0.1:0").start();
    check_beside(
        &sidecar,
        &[("LINESIDE_SECRET", "another secret of these tests: 98765")],
    )
    .expect("fail  key", &["another secret", "LINESIDE_SECRET"]);
    check_beside(&sidecar, &[("LINESIDE_PATH", "/cable")])
        .expect("fail  sidecar path", &["/cable", "/lineside"]);
    let other = "127.0.0.1:9";
    check_beside(&sidecar, &[("LINESIDE_BIND", other)]).expect(
        "warn  port",
        &[other, &format!("127.0.0.1:{}", sidecar.port)],
    );
    check_beside(&sidecar, &[("LINESIDE_ADMIN_BIND", other)])
        .expect("warn  port", &[other, "LINESIDE_ADMIN_BIND"]);
    let none = check_beside(&sidecar, &[("LINESIDE_BIND", "none")]);
    assert!(none.lines.is_empty(), "{:?}", none.lines);
}

#[test]
fn action_cable_by_route_is_described_and_differences_are_reported() {
    let with_keys = place().with("LINESIDE_TURBO_KEYS", "aw==");
    let sidecar = with_keys.start();
    let found = check_beside(&sidecar, &[]);
    assert_eq!((found.status, found.skipped.len()), (0, 1), "{found:?}");
    check_beside(&sidecar, &[("LINESIDE_CABLE_PATH", "/ws")])
        .expect("fail  cable by route", &["/cable", "/ws"]);
    check_beside(&sidecar, &[("LINESIDE_CABLE_IDENTITY", "optional")])
        .expect("fail  cable by route", &["required", "optional"]);
    let hidden = with_keys.clone_elsewhere().with("LINESIDE_BIND", "none");
    let hidden = hidden.spawn();
    hidden.logged(&["event=listening"]);
    let found = check(&mut hidden.place().command(&["check"]));
    let skipped = found
        .skipped
        .iter()
        .any(|line| line.contains("through the app"));
    assert!(found.status == 0 && skipped, "{found:?}");
}

#[test]
fn listener_that_does_not_run_is_reported() {
    let sidecar = place().with("LINESIDE_BIND", "none").spawn();
    sidecar.logged(&["event=listening"]);
    let mut command = sidecar.place().command(&["check"]);
    check(command.env("LINESIDE_BIND", "")).expect(
        "warn  port",
        &["does not listen at 127.0.0.1:8090", "LINESIDE_BIND"],
    );
}

#[test]
fn secret_in_a_pipe_is_compared_with_the_sidecars() {
    let sidecar = place().start();
    let place = sidecar.place();
    let pipe = "printf %s \"$SECRET\" | LINESIDE_SECRET_FD=0 exec \"$0\" check";
    let check_with = |secret: &str| {
        let mut command = place.command_under(&["sh", "-c", pipe], &[]);
        command
            .env("SECRET", secret)
            .env("PATH", "/usr/bin:/bin")
            .env_remove("LINESIDE_SECRET");
        check(&mut command)
    };
    assert_eq!(check_with(crate::support::SECRET).status, 0);
    check_with("another secret of these tests: 98765").expect("fail  key", &["another secret"]);
    let none = check(place.command(&["check"]).env("LINESIDE_SECRET", ""));
    none.expect("fail  secret", &["LINESIDE_SECRET"]);
    let key = none
        .skipped
        .iter()
        .find(|line| line.starts_with("skip  key: there is no secret"));
    assert!(key.is_some(), "{:?}", none.skipped);
}

#[test]
fn check_writes_nothing_to_the_sidecars_log() {
    let sidecar = place().with("LINESIDE_LOG_LEVEL", "debug").start();
    sidecar.publisher().publish("a", 1);
    sidecar.logged(&["event=publisher_unlinked"]);
    let before = sidecar.log();
    assert_eq!(check_beside(&sidecar, &[]).status, 0);
    sidecar.publisher().publish("a", 2);
    // The check had link 2.
    sidecar.logged(&["event=publisher_linked", "link=3"]);
    let log = sidecar.log();
    let [line, ..] = &log[before.len()..] else {
        panic!("{log:?}")
    };
    assert!(line.contains("event=publisher_linked"), "{line}");
    assert!(!log.iter().any(|line| line.contains("check[")), "{log:?}");
}

#[test]
fn running_sidecar_of_another_version_is_reported() {
    let place = place();
    let reply = DescriptionReply::Described(Description {
        version: "0.0.9".into(),
        bind: "127.0.0.1:1".into(),
        admin: "none".into(),
        path: "/lineside".into(),
        cable_path: "/cable".into(),
        cable_identity: "required".into(),
        turbo_keys: 0,
        fingerprints: vec![Keys::parse(crate::support::SECRET).unwrap().fingerprint()],
    });
    answer_once(&place, &reply);
    check(&mut place.command(&["check"])).expect(
        "warn  version",
        &["0.0.9", env!("CARGO_PKG_VERSION"), "restart"],
    );
    // A sidecar from before this request.
    let older = DescriptionReply::Fault(Fault {
        code: LINK_UNKNOWN_KIND.number,
        message: "a frame of the unknown kind 18".into(),
    });
    answer_once(&place, &older);
    let found = check(&mut place.command(&["check"]));
    found.expect("fail  sidecar", &["restart it with this version"]);
    assert!(found.skipped.contains(
        &"skip  key, version, sidecar path, cable by route: no sidecar answers".to_owned()
    ));
}

/// Listens on the link and answers one frame.
fn answer_once(place: &Place, reply: &DescriptionReply) {
    use std::io::{Read as _, Write as _};
    let link = place.link();
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::fs::set_permissions(
        link.parent().unwrap(),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    if link.exists() {
        std::fs::remove_file(&link).unwrap();
    }
    let listener = std::os::unix::net::UnixListener::bind(&link).unwrap();
    let mut bytes = Vec::new();
    reply.encode(&mut bytes);
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_ne!(stream.read(&mut [0; 64]).unwrap(), 0);
        stream.write_all(&bytes).unwrap();
    });
}

#[test]
fn addresses_reachable_from_other_hosts_are_reported() {
    let place = place();
    check_without_sidecar(&place, &[("LINESIDE_BIND", "0.0.0.0:0")])
        .expect("warn  proxies", &["0.0.0.0:0", "LINESIDE_TRUSTED_PROXIES"]);
    let named = [
        ("LINESIDE_BIND", "0.0.0.0:0"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.7"),
    ];
    assert!(check_without_sidecar(&place, &named).lines.is_empty());
    check_without_sidecar(&place, &[("LINESIDE_ADMIN_BIND", "[::]:0")])
        .expect("warn  admin", &["/metrics", "127.0.0.1"]);
}

#[test]
fn url_on_another_host_without_allowed_origins_is_reported() {
    let place = place();
    let url = ("LINESIDE_URL", "wss://ws.example/lineside");
    check_without_sidecar(&place, &[url]).expect(
        "warn  origins",
        &["wss://ws.example", "LINESIDE_ALLOWED_ORIGINS", "403"],
    );
    let named = [url, ("LINESIDE_ALLOWED_ORIGINS", "https://app.example")];
    assert!(check_without_sidecar(&place, &named).lines.is_empty());
    check_without_sidecar(&place, &[("LINESIDE_URL", "https://ws.example")])
        .expect("fail  origins", &["wss://HOST/PATH"]);
}

#[test]
fn memory_ceiling_that_does_not_fit_is_reported() {
    let place = place();
    for (changes, words) in [
        (
            &[("LINESIDE_MEMORY_MAX", "1099511627776000")][..],
            ["LINESIDE_MEMORY_MAX", "has"],
        ),
        (
            &[("LINESIDE_MEMORY_MAX", "33554432")],
            ["33554432", "67108864"],
        ),
        (
            &[
                ("LINESIDE_MEMORY_MAX", "104857600"),
                ("LINESIDE_HISTORY_BYTES_MAX", "60000000"),
            ],
            [
                "LINESIDE_HISTORY_BYTES_MAX is 60000000",
                "room for 52428800",
            ],
        ),
        (
            &[
                ("LINESIDE_MEMORY_MAX", "104857600"),
                ("LINESIDE_OUTBOX_BYTES_MAX", "60000000"),
            ],
            ["LINESIDE_OUTBOX_BYTES_MAX is 60000000", "room for 26214400"],
        ),
    ] {
        check_without_sidecar(&place, changes).expect("warn  memory", &words);
    }
    let fitting = [("LINESIDE_MEMORY_MAX", "67108864")];
    assert!(check_without_sidecar(&place, &fitting).lines.is_empty());
}

#[test]
fn low_limit_of_open_files_is_reported() {
    let script = "ulimit -n 300; exec \"$0\" check";
    let place = place();
    let mut command = place.command_under(&["sh", "-c", script], &[]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("open files"));
    let line = line.expect(&text);
    assert!(
        line.starts_with("warn") && line.contains("300") && line.contains("LimitNOFILE"),
        "{line}"
    );
}
