use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;

/// A folder of its own for one test, removed at its end; what happens there happens inside a runtime, as in `serve`.
struct Place {
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("lineside-state-{name}-{}", std::process::id()));
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
        Files::beside(&self.link())
    }

    fn open(&self) -> Link {
        self.runtime
            .block_on(async { Link::open(&self.link()) })
            .unwrap()
    }

    fn take(&self) -> Result<(Hub, Clock), String> {
        take(&self.link(), HistoryLimits::default())
    }

    fn leave(&self, link: &Link, hub: Hub) {
        let hub = Arc::new(Mutex::new(hub));
        self.runtime.block_on(leave(link, &hub, Clock::start()));
    }

    /// A state of the epoch `ours`, as a stop leaves it.
    fn with_state(name: &str) -> Self {
        let place = Self::new(name);
        place.leave(&place.open(), hub());
        assert!(place.files().state.exists());
        place
    }

    /// Takes what is there, which must be no good, and must not stay in the way.
    #[track_caller]
    fn refused(&self) {
        let (hub, _) = self.take().unwrap();
        assert_ne!(hub.journal.epoch().as_str(), "ours");
        assert_eq!(hub.journal.newest().0, 0);
        assert!(fs::symlink_metadata(&self.files().state).is_err());
        assert!(fs::symlink_metadata(&self.files().taken).is_ok());
        let (second, _) = self.take().unwrap();
        assert_ne!(second.journal.epoch(), hub.journal.epoch());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// An epoch called `ours`, at position 3.
fn hub() -> Hub {
    let epoch = Epoch::new("ours").unwrap();
    let mut hub = Hub::new(epoch, HistoryLimits::default(), PUBLISHERS_MAX);
    while hub.journal.assign().0 < 3 {}
    hub
}

#[test]
fn a_state_is_for_this_user_alone_and_is_gone_on_from_once() {
    let place = Place::with_state("once");
    let files = place.files();
    assert_eq!(fs::metadata(&files.state).unwrap().mode() & 0o7777, 0o600);
    let (hub, _) = place.take().unwrap();
    assert_eq!(hub.journal.cursor().to_string(), "ours.3");
    for path in [&files.new, &files.state, &files.taken] {
        assert!(!path.exists(), "{}", path.display());
    }
    let (second, _) = place.take().unwrap();
    assert_ne!(second.journal.epoch().as_str(), "ours");
}

#[test]
fn a_later_state_takes_the_place_of_an_earlier_one() {
    let place = Place::with_state("later");
    let mut hub = hub();
    hub.journal.assign();
    place.leave(&place.open(), hub);
    let (hub, _) = place.take().unwrap();
    assert_eq!(hub.journal.newest().0, 4);
}

#[test]
fn a_state_that_is_cut_or_changed_is_refused() {
    let place = Place::with_state("damaged");
    let whole = fs::read(place.files().state).unwrap();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for bytes in [&[][..], &whole[..whole.len() - 1], &changed] {
        fs::write(place.files().state, bytes).unwrap();
        fs::set_permissions(place.files().state, Permissions::from_mode(MODE)).unwrap();
        place.refused();
    }
}

#[test]
fn a_state_that_others_may_read_is_refused() {
    for mode in [0o640, 0o604, 0o666, 0o700, 0o4600] {
        let place = Place::with_state(&format!("mode-{mode:o}"));
        fs::set_permissions(place.files().state, Permissions::from_mode(mode)).unwrap();
        place.refused();
    }
}

#[test]
fn what_is_no_file_of_ours_is_moved_aside_and_not_read() {
    let place = Place::with_state("symlink");
    let elsewhere = place.folder.join("elsewhere");
    fs::rename(place.files().state, &elsewhere).unwrap();
    symlink(&elsewhere, place.files().state).unwrap();
    place.refused();
    assert!(elsewhere.exists(), "what a link names stays");

    let place = Place::new("folder");
    fs::create_dir(place.files().state).unwrap();
    place.refused();

    let place = Place::new("pipe");
    mkfifo(&place.files().state, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    place.refused();
}

#[test]
fn what_cannot_be_moved_aside_keeps_a_sidecar_from_starting() {
    let place = Place::with_state("in-the-way");
    fs::create_dir(place.files().taken).unwrap();
    let message = place.take().unwrap_err();
    assert!(message.contains("remove both"), "{message}");
}

#[test]
fn what_a_killed_stop_had_written_so_far_is_removed() {
    let place = Place::new("half");
    fs::write(place.files().new, "half a state").unwrap();
    place.take().unwrap();
    assert!(!place.files().new.exists());
}

#[test]
fn a_stop_that_cannot_write_leaves_nothing() {
    let place = Place::new("unwritable");
    // Not even root writes a file where a folder is.
    fs::create_dir(place.files().new).unwrap();
    place.leave(&place.open(), hub());
    assert!(!place.files().state.exists());

    let place = Place::new("in-doubt");
    let hub = Arc::new(Mutex::new(hub()));
    let poisoned = std::thread::spawn({
        let hub = Arc::clone(&hub);
        move || {
            let _hub = hub.lock().unwrap();
            panic!("a fault of Lineside itself");
        }
    });
    poisoned.join().unwrap_err();
    let link = place.open();
    place.runtime.block_on(leave(&link, &hub, Clock::start()));
    assert!(!place.files().state.exists() && !place.files().new.exists());
}

#[test]
fn whoever_lost_the_links_lock_leaves_nothing() {
    let place = Place::new("lost");
    let link = place.open();
    assert!(link.is_held());
    let lock = beside(&place.link(), ".lock");
    fs::remove_file(&lock).unwrap();
    assert!(!link.is_held());
    place.leave(&link, hub());
    assert!(!place.files().state.exists());

    // Another sidecar serves there by now.
    fs::remove_file(place.link()).unwrap();
    let other = place.open();
    assert!(other.is_held() && !link.is_held());
    place.leave(&link, hub());
    assert!(!place.files().state.exists() && !place.files().new.exists());
}

#[test]
fn the_state_of_a_sidecar_that_had_the_link_for_a_while_is_discarded() {
    let place = Place::with_state("discarded");
    discard(&place.link());
    let (hub, _) = place.take().unwrap();
    assert_ne!(hub.journal.epoch().as_str(), "ours");
}
