use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

/// Folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("lineside-link-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn link(&self) -> PathBuf {
        self.0.join("deep/lineside.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Calls `LinkListener::open` inside a runtime, as `serve` does.
fn open(path: &Path) -> Result<LinkListener, String> {
    runtime().block_on(async { LinkListener::open(path) })
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn socket_and_folder_are_private_to_this_user_and_the_socket_is_removed() {
    let folder = Folder::new("modes");
    let link = open(&folder.link()).unwrap();
    assert_eq!(
        (mode(&folder.link()), mode(folder.link().parent().unwrap())),
        (0o600, 0o700)
    );
    assert_eq!(mode(&folder.0.join("deep/lineside.sock.lock")), 0o600);
    drop(link);
    assert!(!folder.link().exists());
}

#[test]
fn link_of_a_live_sidecar_is_refused() {
    let folder = Folder::new("live");
    let live = open(&folder.link()).unwrap();
    let error = open(&folder.link()).unwrap_err();
    assert!(
        error.contains(&std::process::id().to_string())
            && error.contains("one is enough for an app"),
        "{error}"
    );
    assert!(UnixStream::connect(folder.link()).is_ok());
    drop(live);
    assert!(open(&folder.link()).is_ok());
}

#[test]
fn socket_of_a_dead_sidecar_is_replaced() {
    let folder = Folder::new("stale");
    std::fs::create_dir(folder.0.join("deep")).unwrap();
    drop(UnixListener::bind(folder.link()).unwrap());
    assert!(folder.link().exists());
    let _link = open(&folder.link()).unwrap();
    assert!(UnixStream::connect(folder.link()).is_ok());
}

#[test]
fn foreign_socket_and_file_are_not_removed() {
    let folder = Folder::new("foreign");
    std::fs::create_dir(folder.0.join("deep")).unwrap();
    let other = UnixListener::bind(folder.link()).unwrap();
    assert!(open(&folder.link()).unwrap_err().contains("no sidecar"));
    drop(other);
    std::fs::remove_file(folder.link()).unwrap();
    std::fs::write(folder.link(), "precious").unwrap();
    assert!(open(&folder.link()).unwrap_err().contains("no socket"));
    assert_eq!(std::fs::read_to_string(folder.link()).unwrap(), "precious");
}

#[test]
fn socket_of_a_successor_is_not_removed() {
    let folder = Folder::new("successor");
    let first = open(&folder.link()).unwrap();
    std::fs::remove_file(folder.link()).unwrap();
    let _other = UnixListener::bind(folder.link()).unwrap();
    drop(first);
    assert!(folder.link().exists());
}

#[test]
fn folder_that_others_may_write_to_is_refused() {
    let folder = Folder::new("open");
    std::fs::create_dir(folder.0.join("deep")).unwrap();
    std::fs::set_permissions(
        folder.0.join("deep"),
        std::fs::Permissions::from_mode(0o777),
    )
    .unwrap();
    let error = open(&folder.link()).unwrap_err();
    let own = folder.0.join("deep/lineside/link.sock");
    assert!(
        error.contains(own.to_str().unwrap()) && !error.contains("chmod"),
        "{error}"
    );
    assert!(open(&own).is_ok());
}

#[test]
fn lock_that_is_a_symbolic_link_is_refused() {
    let folder = Folder::new("symlink");
    std::fs::create_dir(folder.0.join("deep")).unwrap();
    std::fs::write(folder.0.join("target"), "precious").unwrap();
    std::os::unix::fs::symlink(
        folder.0.join("target"),
        folder.0.join("deep/lineside.sock.lock"),
    )
    .unwrap();
    assert!(open(&folder.link()).unwrap_err().contains("lock"));
    assert_eq!(
        std::fs::read_to_string(folder.0.join("target")).unwrap(),
        "precious"
    );
}

#[test]
fn removed_socket_is_reopened() {
    let folder = Folder::new("lost");
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut link = LinkListener::open(&folder.link()).unwrap();
    assert!(!link.is_lost());
    for and_lock in [false, true] {
        std::fs::remove_file(folder.link()).unwrap();
        if and_lock {
            std::fs::remove_file(folder.0.join("deep/lineside.sock.lock")).unwrap();
        }
        assert!(link.is_lost());
        link.reopen().unwrap();
        assert!(!link.is_lost());
        assert!(UnixStream::connect(folder.link()).is_ok());
        assert!(
            open(&folder.link())
                .unwrap_err()
                .contains("another sidecar")
        );
    }
}

#[test]
fn file_in_the_place_of_a_lost_socket_is_not_removed() {
    let folder = Folder::new("taken");
    let runtime = runtime();
    let _inside = runtime.enter();
    let mut link = LinkListener::open(&folder.link()).unwrap();
    std::fs::remove_file(folder.link()).unwrap();
    std::fs::write(folder.link(), "precious").unwrap();
    assert!(link.is_lost() && link.reopen().unwrap_err().contains("no socket"));
    drop(link);
    assert_eq!(std::fs::read_to_string(folder.link()).unwrap(), "precious");
}

#[test]
fn removed_lock_is_acquired_again() {
    let folder = Folder::new("lock");
    let mut link = open(&folder.link()).unwrap();
    std::fs::remove_file(folder.0.join("deep/lineside.sock.lock")).unwrap();
    assert!(!link.is_held());
    link.renew_lock().unwrap();
    assert!(link.is_held());
    assert!(
        open(&folder.link())
            .unwrap_err()
            .contains("another sidecar")
    );
}
