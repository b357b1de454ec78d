//! The file by which a planned stop hands the hub to its successor, beside the link.
//!
//! ```text
//! stop:   write <link>.state.new, fsync, rename to <link>.state, fsync the folder
//! start:  rename <link>.state to <link>.state.taken, fsync the folder, read, remove
//! ```
//!
//! Both happen while this process holds the link's lock: the stop when no position is given away any more, the start before
//! anybody is served. So one state is gone on from once at most, however a sidecar ends, and no epoch gives a position
//! away twice. What is no good stays behind as `.state.taken`, which nobody reads.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX, SavedAt};
use lineside_protocol::Epoch;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use crate::clock::Clock;
use crate::link::socket::{Link, beside};
use crate::log::{Level, event};

/// Permission bits of a state: it holds what the app published.
const MODE: u32 = 0o600;

/// How long a state may take to be written, in milliseconds: the largest one, 512 MiB by default, on a disk of 50 MB/s.
const WRITE_MS_MAX: u64 = 10_000;

/// Bytes that go to the file, and come from it, at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What it means that there is no state.
const NEW_EPOCH: &str =
    "the next start begins a new epoch: every page is told lost, and sign-outs are forgotten";

/// The names that a state has in its life.
#[derive(Clone)]
struct Files {
    new: PathBuf,
    state: PathBuf,
    taken: PathBuf,
}

impl Files {
    fn beside(link: &Path) -> Self {
        Self {
            new: beside(link, ".state.new"),
            state: beside(link, ".state"),
            taken: beside(link, ".state.taken"),
        }
    }

    /// Makes renames in the folder outlast a loss of power.
    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.state.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }
}

/// The hub to begin with, and the clock that its times are of: the predecessor's if that stopped as planned, otherwise an
/// empty one of a new epoch. The caller holds the link's lock and serves nobody yet.
///
/// # Errors
/// One line, when a state can be neither taken nor moved out of the way: a later start would go on from it.
pub(crate) fn take(link: &Path, history: HistoryLimits) -> Result<(Hub, Clock), String> {
    let files = Files::beside(link);
    // Whatever a stop that was killed had written so far.
    let _none = fs::remove_file(&files.new);
    if move_aside(&files)? {
        let began = Instant::now();
        match read(&files, history) {
            Ok((hub, saved)) => {
                // If it stays, it is merely in the way of nobody.
                let _left = fs::remove_file(&files.taken);
                tell_restored(&hub, began.elapsed());
                return Ok((hub, Clock::go_on(saved)));
            }
            Err(reason) => tell_refused(&files, &reason),
        }
    }
    let epoch = new_epoch()?;
    let hub = Hub::new(epoch, history, PUBLISHERS_MAX);
    Ok((hub, Clock::start()))
}

/// Removes the state of another sidecar, which had the link for a while and has ended: this one's went on meanwhile.
pub(crate) fn discard(link: &Path) {
    let files = Files::beside(link);
    match move_aside(&files) {
        Ok(false) => {}
        Ok(true) => tell_refused(&files, "another sidecar left it while this one served"),
        Err(message) => event(
            Level::Error,
            "state_not_discarded",
            &[("message", &message)],
        ),
    }
}

/// Leaves the hub to the successor. No position may be given away from before this on. It always ends; when the state
/// cannot be written there is none, and the log says so.
pub(crate) async fn leave(link: &Link, hub: &Arc<Mutex<Hub>>, clock: Clock) {
    let files = Files::beside(link.path());
    let began = Instant::now();
    match write_and_rename(link, &files, hub, clock).await {
        Ok(bytes) => event(
            Level::Info,
            "state_saved",
            &[("bytes", &bytes), ("ms", &began.elapsed().as_millis())],
        ),
        Err(error) => {
            let _none = fs::remove_file(&files.new);
            event(
                Level::Error,
                "state_not_saved",
                &[
                    ("path", &files.state.display()),
                    ("error", &error),
                    ("meaning", &NEW_EPOCH),
                ],
            );
        }
    }
}

async fn write_and_rename(
    link: &Link,
    files: &Files,
    hub: &Arc<Mutex<Hub>>,
    clock: Clock,
) -> io::Result<u64> {
    let at = SavedAt {
        now_ms: clock.now_ms(),
        wall_ms: clock.wall_ms(),
    };
    // Of its own thread, since a disk may hang. That thread never renames: a state must not appear after the lock is gone.
    let writing = tokio::task::spawn_blocking({
        let (files, hub) = (files.clone(), Arc::clone(hub));
        move || write(&files, &hub, at)
    });
    let written = tokio::time::timeout(Duration::from_millis(WRITE_MS_MAX), writing).await;
    let bytes = written.map_err(|_| {
        let message = format!("it was not written within {WRITE_MS_MAX} ms");
        io::Error::new(ErrorKind::TimedOut, message)
    })???;
    if !link.is_held() {
        return Err(io::Error::other(
            "the link's lock is gone, and another sidecar may serve there",
        ));
    }
    fs::rename(&files.new, &files.state)?;
    if let Err(error) = files.sync_folder() {
        fs::remove_file(&files.state)?;
        return Err(error);
    }
    Ok(bytes)
}

fn write(files: &Files, hub: &Mutex<Hub>, at: SavedAt) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(MODE)
        .custom_flags(O_NOFOLLOW);
    let file = options.open(&files.new)?;
    // Whatever the process's umask took away.
    file.set_permissions(Permissions::from_mode(MODE))?;
    let hub = hub
        .lock()
        .map_err(|_| io::Error::other("a fault of Lineside itself left the hub in doubt"))?;
    let bytes = hub.save(at, BufWriter::with_capacity(BUFFER_BYTES, &file))?;
    file.sync_all()?;
    Ok(bytes)
}

/// Moves a state to where no start looks for one; false when there is none.
fn move_aside(files: &Files) -> Result<bool, String> {
    let moved = match fs::rename(&files.state, &files.taken) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        moved => moved.and_then(|()| files.sync_folder()),
    };
    moved.map(|()| true).map_err(|error| {
        format!(
            "what the last sidecar left cannot be moved from {} to {}: {error}; remove both",
            files.state.display(),
            files.taken.display()
        )
    })
}

fn read(files: &Files, history: HistoryLimits) -> Result<(Hub, SavedAt), String> {
    let mut options = OpenOptions::new();
    // A pipe without a writer would keep us waiting.
    options.read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    let file = options
        .open(&files.taken)
        .map_err(|error| format!("it cannot be opened: {error}"))?;
    let found = file
        .metadata()
        .map_err(|error| format!("it cannot be looked at: {error}"))?;
    let own = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    if found.uid() != own {
        return Err(format!(
            "it belongs to the user id {}, not to {own}",
            found.uid()
        ));
    }
    if found.mode() & 0o7777 != MODE {
        let mode = found.mode() & 0o7777;
        return Err(format!("its mode is {mode:04o}, and not {MODE:04o}"));
    }
    let input = BufReader::with_capacity(BUFFER_BYTES, file);
    Hub::restore(input, history, PUBLISHERS_MAX).map_err(|error| error.to_string())
}

fn tell_restored(hub: &Hub, took: Duration) {
    let cursor = hub.journal.cursor();
    event(
        Level::Info,
        "state_restored",
        &[("cursor", &cursor), ("ms", &took.as_millis())],
    );
}

fn tell_refused(files: &Files, reason: &str) {
    event(
        Level::Error,
        "state_refused",
        &[
            ("reason", &reason),
            ("kept_as", &files.taken.display()),
            (
                "meaning",
                &"it is not gone on from: a page that stood there is told lost",
            ),
        ],
    );
}

fn new_epoch() -> Result<Epoch, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(Epoch::from_random(random))
}

#[cfg(test)]
mod tests;
