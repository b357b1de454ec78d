use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::broker::tests::TestPublisher;
use crate::dialects;

/// Folder of one test, removed at its end, and a runtime as in `serve`.
struct Place {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("lineside-snapshot-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self { folder, runtime }
    }

    fn link(&self) -> PathBuf {
        self.folder.join("lineside.sock")
    }

    fn files(&self) -> Files {
        Files::beside(&LinkFolder::open(&self.folder).unwrap(), &self.link())
    }

    fn open(&self) -> LinkListener {
        self.runtime
            .block_on(async { LinkListener::open(&self.link()) })
            .unwrap()
    }

    /// Restores as a start that then serves.
    fn restore(&self) -> Result<(Hub, Clock), String> {
        let (hub, clock, snapshot) = restore(&self.files(), HistoryLimits::default())?;
        snapshot.consume();
        Ok((hub, clock))
    }

    fn save(&self, link: &LinkListener, broker: Broker) {
        let broker = Arc::new(broker);
        self.runtime.block_on(save(link, &broker, Clock::start()));
    }

    /// A folder with the snapshot of a planned stop, of the epoch `ours` at position 3.
    fn with_snapshot(name: &str) -> Self {
        let place = Self::new(name);
        place.save(&place.open(), broker_at(3));
        assert!(place.files().state.exists());
        place
    }

    /// Asserts that the snapshot is not restored, and is moved aside.
    #[track_caller]
    fn assert_refused(&self) {
        let (hub, _) = self.restore().unwrap();
        let cursor = hub.cursor();
        assert_ne!(cursor.epoch.as_str(), "ours");
        assert_eq!(cursor.position.0, 0);
        assert!(fs::symlink_metadata(&self.files().state).is_err());
        assert!(fs::symlink_metadata(&self.files().taken).is_ok());
        let (second, _) = self.restore().unwrap();
        assert_ne!(second.cursor().epoch, cursor.epoch);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// A broker of the epoch `ours`, whose newest entry has this position.
fn broker_at(position: u64) -> Broker {
    let epoch = Epoch::new("ours").unwrap();
    let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    let broker = Broker::new(hub, Vec::new(), dialects::encode);
    let mut publisher = TestPublisher::greet(&broker, 1);
    while broker.cursor().position.0 < position {
        publisher.publish(&broker, "news", "1", 0);
    }
    broker
}

#[test]
fn snapshot_is_private_to_this_user_and_restored_once() {
    let place = Place::with_snapshot("once");
    let files = place.files();
    assert_eq!(fs::metadata(&files.state).unwrap().mode() & 0o7777, 0o600);
    let (hub, _) = place.restore().unwrap();
    assert_eq!(hub.cursor().to_string(), "ours.3");
    for path in [&files.new, &files.state, &files.taken] {
        assert!(!path.exists(), "{}", path.display());
    }
    let (second, _) = place.restore().unwrap();
    assert_ne!(second.cursor().epoch.as_str(), "ours");
}

#[test]
fn start_that_fails_after_the_restore_leaves_the_snapshot_to_the_next() {
    let place = Place::with_snapshot("failed-start");
    let whole = fs::read(place.files().state).unwrap();
    for _ in 0..2 {
        let (hub, _, snapshot) = restore(&place.files(), HistoryLimits::default()).unwrap();
        assert_eq!(hub.cursor().to_string(), "ours.3");
        assert!(
            !place.files().state.exists(),
            "while the start is under way"
        );
        drop(snapshot);
        assert_eq!(fs::read(place.files().state).unwrap(), whole);
        assert!(!place.files().taken.exists());
    }
    let (hub, _) = place.restore().unwrap();
    assert_eq!(hub.cursor().to_string(), "ours.3");
}

#[test]
fn later_snapshot_replaces_an_earlier_one() {
    let place = Place::with_snapshot("later");
    place.save(&place.open(), broker_at(4));
    let (hub, _) = place.restore().unwrap();
    assert_eq!(hub.cursor().position.0, 4);
}

#[test]
fn damaged_snapshot_is_refused() {
    let place = Place::with_snapshot("damaged");
    let whole = fs::read(place.files().state).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&[][..], &whole[..whole.len() - 1], &changed] {
        fs::write(place.files().state, bytes).unwrap();
        fs::set_permissions(place.files().state, Permissions::from_mode(MODE)).unwrap();
        place.assert_refused();
    }
}

#[test]
fn snapshot_with_other_permissions_is_refused() {
    for mode in [0o640, 0o604, 0o666, 0o700, 0o4600] {
        let place = Place::with_snapshot(&format!("mode-{mode:o}"));
        fs::set_permissions(place.files().state, Permissions::from_mode(mode)).unwrap();
        place.assert_refused();
    }
}

#[test]
fn symbolic_link_folder_and_pipe_are_moved_aside_and_not_read() {
    let place = Place::with_snapshot("symlink");
    let elsewhere = place.folder.join("elsewhere");
    fs::rename(place.files().state, &elsewhere).unwrap();
    symlink(&elsewhere, place.files().state).unwrap();
    place.assert_refused();
    assert!(elsewhere.exists(), "the target of the link stays");

    let place = Place::new("folder");
    fs::create_dir(place.files().state).unwrap();
    place.assert_refused();

    let place = Place::new("pipe");
    mkfifo(&place.files().state, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    place.assert_refused();
}

#[test]
fn restore_fails_if_the_snapshot_cannot_be_moved_aside() {
    let place = Place::with_snapshot("in-the-way");
    fs::create_dir(place.files().taken).unwrap();
    let message = place.restore().unwrap_err();
    assert!(message.contains("remove both"), "{message}");
}

#[test]
fn incomplete_snapshot_of_a_killed_stop_is_removed() {
    let place = Place::new("half");
    fs::write(place.files().new, "half a snapshot").unwrap();
    place.restore().unwrap();
    assert!(!place.files().new.exists());
}

#[test]
fn failed_save_leaves_no_file() {
    let place = Place::new("unwritable");
    // Even root cannot create a file in the place of a folder.
    fs::create_dir(place.files().new).unwrap();
    place.save(&place.open(), broker_at(3));
    assert!(!place.files().state.exists());

    let place = Place::new("inconsistent");
    let epoch = Epoch::new("ours").unwrap();
    let hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    let broker = Broker::new(hub, Vec::new(), |_| panic!("a fault of the encoder"));
    let mut publisher = TestPublisher::greet(&broker, 1);
    let publish = || drop(publisher.publish(&broker, "news", "1", 0));
    catch_unwind(AssertUnwindSafe(publish)).unwrap_err();
    place.save(&place.open(), broker);
    assert!(!place.files().state.exists() && !place.files().new.exists());
}

#[test]
fn sidecar_that_lost_the_lock_of_the_link_saves_nothing() {
    let place = Place::new("lost");
    let link = place.open();
    assert!(link.is_held());
    let lock = beside(&place.link(), ".lock");
    fs::remove_file(&lock).unwrap();
    assert!(!link.is_held());
    place.save(&link, broker_at(3));
    assert!(!place.files().state.exists());

    // Another sidecar serves the link now.
    fs::remove_file(place.link()).unwrap();
    let other = place.open();
    assert!(other.is_held() && !link.is_held());
    place.save(&link, broker_at(3));
    assert!(!place.files().state.exists() && !place.files().new.exists());
}

#[test]
fn snapshot_of_another_sidecar_is_discarded() {
    let place = Place::with_snapshot("discarded");
    discard(&place.files());
    let (hub, _) = place.restore().unwrap();
    assert_ne!(hub.cursor().epoch.as_str(), "ours");
}
