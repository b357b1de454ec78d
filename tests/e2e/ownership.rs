//! Who may own the link, and who may speak on it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, chown};
use serde_json::json;

use crate::support::{Place, place, publish, sidecar};

/// A sidecar that must not start here; gives its one line.
#[track_caller]
fn refused(place: &Place) -> String {
    let mut sidecar = place.spawn();
    let status = sidecar.ended();
    let log = sidecar.log();
    assert_eq!(status.code(), Some(1), "{log:?}");
    let [line] = &log[..] else {
        panic!("one line, and not {log:?}")
    };
    assert!(line.starts_with("lineside: "), "{line}");
    line.clone()
}

fn lock(place: &Place) -> std::path::PathBuf {
    format!("{}.lock", place.link().display()).into()
}

#[test]
fn a_second_sidecar_says_who_is_there_and_the_first_goes_on() {
    let place = place();
    let mut first = place.start();
    let mut browser = first.subscriber();
    let line = refused(&place);
    assert!(
        line.contains(&first.pid().to_string()) && line.contains("LINESIDE_LINK"),
        "{line}"
    );
    assert!(line.contains(place.link().to_str().unwrap()), "{line}");
    assert!(first.is_running());
    place.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn of_many_that_start_at_once_one_serves() {
    let place = place();
    let mut sidecars: Vec<_> = (0..4).map(|_| place.spawn()).collect();
    place.publisher().publish("a", 1);
    let mut serving = 0;
    for sidecar in &mut sidecars {
        let listens = crate::support::within("it listens or ends", || {
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
fn a_socket_that_somebody_else_answers_on_is_never_touched() {
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
fn a_file_or_a_link_in_the_way_is_never_touched() {
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

    // Nor is a lock that leads elsewhere.
    std::fs::remove_file(place.link()).unwrap();
    std::fs::remove_file(lock(&place)).unwrap();
    symlink(&target, lock(&place)).unwrap();
    refused(&place);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
}

#[test]
fn a_folder_that_others_may_write_into_is_refused() {
    for bits in [0o777, 0o770, 0o702, 0o1777] {
        let place = place();
        let folder = place.folder().join("sockets");
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(bits)).unwrap();
        let line = refused(&place);
        assert!(line.contains("chmod"), "{line}");
        assert!(!place.link().exists());
    }
}

/// Runs as nobody, where the tests run as root; elsewhere there is no other user to be had.
fn as_nobody() -> Option<Command> {
    if !Uid::effective().is_root() {
        println!("only root can become another user: not tested");
        return None;
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=nobody", "--clear-groups"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Some(command)
}

#[test]
fn a_publisher_of_another_user_is_turned_away_even_when_the_files_let_it_in() {
    let Some(mut nobody) = as_nobody() else {
        return;
    };
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
    // perl is part of every Debian; it says what it was answered, in bytes.
    let script = r#"use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die "socket: $!"; connect(S, sockaddr_un($ARGV[0])) or die "connect: $!";
        $SIG{PIPE} = "IGNORE"; binmode STDIN; local $/; syswrite(S, <STDIN>); my $n = sysread(S, my $b, 100); print defined $n ? $n : 0;"#;
    nobody.args(["perl", "-e", script]).arg(place.link());
    let mut child = nobody.spawn().unwrap();
    use std::io::Write as _;
    child.stdin.take().unwrap().write_all(&hello).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"0", "nothing is said to it");
    sidecar.logged(&["level=warn", "event=publisher_refused", "65534"]);
    place.publisher().publish("a", "genuine");
    browser.expect_message("a", json!("genuine"));
}

#[test]
fn a_command_of_another_user_is_told_to_run_as_the_sidecars() {
    let Some(mut nobody) = as_nobody() else {
        return;
    };
    let place = place();
    let _sidecar = place.start();
    for folder in [place.link().parent().unwrap(), place.folder()] {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let tail = place.command(&["tail"]);
    nobody.arg(tail.get_program()).args(tail.get_args());
    nobody.envs(
        tail.get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let output = nobody.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert_eq!(
        said,
        format!(
            "lineside: user 65534, as whom this process runs, may not open {}: run it as the same user as the sidecar\n",
            place.link().display()
        )
    );
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if as_nobody().is_none() {
        return;
    }
    let place = place();
    let folder = place.folder().join("sockets");
    std::fs::create_dir(&folder).unwrap();
    chown(&folder, Some(Uid::from_raw(65_534)), None).unwrap();
    let line = refused(&place);
    assert!(line.contains("65534"), "{line}");
}

#[test]
fn the_default_link_lies_below_the_working_directory() {
    let sidecar = sidecar();
    let place = sidecar.place();
    let mut command = place.command(&["publish", "a", "1"]);
    command
        .env_remove("LINESIDE_LINK")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        line.contains(
            place
                .folder()
                .join("tmp/sockets/lineside.sock")
                .to_str()
                .unwrap()
        ),
        "{line}"
    );
}
