//! Ownership of the link: one sidecar per path, no other user, and no foreign file touched.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, chown};
use serde_json::json;

use crate::support::{Place, place, publish, sidecar};

/// Starts a sidecar, which must fail; returns its one line of output.
#[track_caller]
fn refused(place: &Place) -> String {
    let mut sidecar = place.spawn();
    let status = sidecar.ended();
    let log = sidecar.log();
    assert_eq!(status.code(), Some(1), "{log:?}");
    let [line] = &log[..] else {
        panic!("expected one line, got {log:?}")
    };
    assert!(line.starts_with("lineside: "), "{line}");
    line.clone()
}

fn lock(place: &Place) -> std::path::PathBuf {
    format!("{}.lock", place.link().display()).into()
}

#[test]
fn second_sidecar_names_the_first_and_does_not_start() {
    let place = place();
    let mut first = place.start();
    let mut browser = first.subscriber();
    let line = refused(&place);
    assert!(
        line.contains(&format!("process {}, started by ", first.pid()))
            && line.contains("remove either"),
        "{line}"
    );
    assert!(line.contains(place.link().to_str().unwrap()), "{line}");
    assert!(first.is_running());
    place.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn of_sidecars_started_at_once_exactly_one_serves() {
    let place = place();
    let mut sidecars: Vec<_> = (0..4).map(|_| place.spawn()).collect();
    place.publisher().publish("a", 1);
    let mut serving = 0;
    for sidecar in &mut sidecars {
        let listens = crate::support::within("the sidecar listens or ends", || {
            if sidecar
                .log()
                .iter()
                .any(|line| line.contains("event=listening"))
            {
                return Some(true);
            }
            (!sidecar.is_running()).then_some(false)
        });
        serving += u32::from(listens);
    }
    assert_eq!(serving, 1);
}

#[test]
fn socket_of_another_process_is_not_replaced() {
    let place = place();
    std::fs::create_dir(place.folder().join("sockets")).unwrap();
    let other = UnixListener::bind(place.link()).unwrap();
    let before = std::fs::metadata(place.link()).unwrap().ino();
    let line = refused(&place);
    assert!(line.contains("LINESIDE_LINK"), "{line}");
    assert_eq!(std::fs::metadata(place.link()).unwrap().ino(), before);
    drop(other);
}

#[test]
fn file_or_symlink_at_the_path_of_the_link_is_not_touched() {
    let place = place();
    std::fs::create_dir(place.folder().join("sockets")).unwrap();
    std::fs::write(place.link(), "precious").unwrap();
    let line = refused(&place);
    assert!(line.contains("no socket"), "{line}");
    assert_eq!(std::fs::read_to_string(place.link()).unwrap(), "precious");

    std::fs::remove_file(place.link()).unwrap();
    let target = place.folder().join("target");
    std::fs::write(&target, "precious").unwrap();
    symlink(&target, place.link()).unwrap();
    refused(&place);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");

    // The lock file.
    std::fs::remove_file(place.link()).unwrap();
    std::fs::remove_file(lock(&place)).unwrap();
    symlink(&target, lock(&place)).unwrap();
    refused(&place);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn folder_writable_by_other_users_is_refused() {
    for bits in [0o777, 0o770, 0o702, 0o1777] {
        let place = place();
        let folder = place.folder().join("sockets");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(bits)).unwrap();
        let line = refused(&place);
        assert!(
            line.contains("LINESIDE_LINK") && !line.contains("chmod"),
            "{line}"
        );
        assert!(!place.link().exists());
    }
}

/// Runs a command as the user `nobody` (uid 65534).
const AS_NOBODY: [&str; 3] = ["setpriv", "--reuid=nobody", "--clear-groups"];

/// Whether the tests run as root and can become another user. The tests below pass without a check otherwise.
fn is_root() -> bool {
    let is_root = Uid::effective().is_root();
    if !is_root {
        println!("not tested: only root can become another user");
    }
    is_root
}

#[test]
fn publisher_of_another_user_is_refused_even_with_open_permissions() {
    if !is_root() {
        return;
    }
    let place = place();
    let sidecar = place.start();
    let mut browser = sidecar.subscriber();
    let open = |path: &Path, bits| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(bits)).unwrap();
    };
    open(&place.link(), 0o666);
    open(place.link().parent().unwrap(), 0o755);
    open(place.folder(), 0o755);
    let mut hello = Vec::new();
    lineside_protocol::frame::ToSidecar::Hello(crate::support::hello(1)).encode(&mut hello);
    hello.extend(publish(1, "a", "\"forged\""));
    // Sends standard input to the link and prints how many bytes it received. perl is part of every Debian.
    let script = r#"use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!"; connect(S, sockaddr_un($ARGV[0])) or die "connect: $!";
        $SIG{PIPE} = "IGNORE"; binmode STDIN; local $/; syswrite(S, <STDIN>); my $n = sysread(S, my $b, 100); print defined $n ? $n : 0;"#;
    let mut child = Command::new(AS_NOBODY[0])
        .args(&AS_NOBODY[1..])
        .args(["perl", "-e", script])
        .arg(place.link())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(&hello).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"0", "it received an answer");
    sidecar.logged(&["level=warn", "event=publisher_refused", "user nobody"]);
    place.publisher().publish("a", "genuine");
    browser.expect_message("a", json!("genuine"));
}

#[test]
fn command_of_another_user_names_the_user_and_the_remedy() {
    if !is_root() {
        return;
    }
    let place = place();
    let _sidecar = place.start();
    for folder in [place.link().parent().unwrap(), place.folder()] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let output = place.command_under(&AS_NOBODY, &["tail"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(
        error,
        format!(
            "lineside: user nobody may not open {}: run this process as user root\n",
            place.link().display()
        )
    );
}

#[test]
fn folder_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let place = place();
    let folder = place.folder().join("sockets");
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(Uid::from_raw(65_534)), None).unwrap();
    let line = refused(&place);
    assert!(
        line.contains("belongs to user nobody") && line.contains("run the sidecar as user nobody"),
        "{line}"
    );
    assert!(!line.contains("chmod"), "{line}");
}

#[test]
fn folder_of_the_default_link_is_made_for_this_user_with_a_login_mask_of_002() {
    let place = place();
    let under = ["sh", "-c", "umask 002; exec \"$@\"", "sh"];
    let mut command = place.command_under(&under, &["serve"]);
    let _sidecar = place.start_from(command.env_remove("LINESIDE_LINK"));
    let mode = |path: &str| {
        let found = std::fs::metadata(place.folder().join(path)).unwrap();
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode("tmp"), 0o775);
    assert_eq!(mode("tmp/lineside"), 0o700);
    assert_eq!(mode("tmp/lineside/development.sock"), 0o600);
}

#[test]
fn default_link_is_below_the_working_directory_and_names_the_environment() {
    let sidecar = sidecar();
    let place = sidecar.place();
    let mut command = place.command(&["publish", "a", "1"]);
    command
        .env_remove("LINESIDE_LINK")
        .env("RAILS_ENV", "staging")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        line.contains(
            place
                .folder()
                .join("tmp/lineside/staging.sock")
                .to_str()
                .unwrap()
        ),
        "{line}"
    );
}
