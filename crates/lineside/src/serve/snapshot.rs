//! File beside the link with the snapshot of the hub: a planned stop writes it, and the next sidecar restores it.
//!
//! ```text
//! stop:   write <link>.state.new, fsync, rename to <link>.state, fsync the folder
//! start:  rename <link>.state to <link>.state.taken, fsync the folder, read; remove it when all listeners and shards run
//! ```
//!
//! Both happen while this process holds the link's lock: the stop after the last position was assigned, the start before
//! anything is served. So a snapshot is restored at most once, however a sidecar ends, and no epoch assigns a position twice.
//! A start that fails renames the snapshot back, because it has assigned no position. A damaged snapshot stays behind as
//! `.state.taken`, which no sidecar reads.

use std::fs::Permissions;
use std::io::{self, BufReader, BufWriter, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX, SavedAt};
use lineside_protocol::Epoch;
use lineside_publisher::remedy::{own_user_name, user_name};
use nix::fcntl::OFlag;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::link::folder::LinkFolder;
use crate::link::socket::{LinkListener, beside};
use crate::log::{Level, event};

/// Permission bits of the file. It holds what the app published.
const MODE: u32 = 0o600;

/// Deadline for writing a snapshot, in milliseconds: the largest one, 576 MiB by default, at 60 MB/s.
const WRITE_MS_MAX: u64 = 10_000;

/// Size of the file's buffer, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Consequence of a missing snapshot, for the log.
const NEW_EPOCH: &str = "the next start begins a new epoch: every resume is answered lost, and revocations are forgotten";

/// Paths of the file while it is written, complete and restored.
#[derive(Clone)]
pub(crate) struct Files {
    folder: LinkFolder,
    new: PathBuf,
    state: PathBuf,
    taken: PathBuf,
}

impl Files {
    /// Files beside the link, in the folder that its listener has checked.
    pub(crate) fn of(link: &LinkListener) -> Self {
        Self::beside(link.folder(), link.path())
    }

    fn beside(folder: &LinkFolder, link: &Path) -> Self {
        Self {
            folder: folder.clone(),
            new: beside(link, ".state.new"),
            state: beside(link, ".state"),
            taken: beside(link, ".state.taken"),
        }
    }
}

/// Snapshot from which this start has restored its hub, or none. Renamed back when dropped, for the next start.
#[must_use = "dropping it leaves the snapshot to the next start"]
pub(crate) struct RestoredSnapshot(Option<Files>);

impl RestoredSnapshot {
    /// Removes the snapshot. Call this before anything is served.
    pub(crate) fn consume(mut self) {
        if let Some(files) = self.0.take() {
            // No sidecar reads it if it stays.
            let _left = files.folder.remove(&files.taken);
        }
    }
}

impl Drop for RestoredSnapshot {
    fn drop(&mut self) {
        let Some(files) = &self.0 else {
            return;
        };
        let path = files.state.display();
        match files.folder.rename(&files.taken, &files.state) {
            Ok(()) => event!(Level::Info, "state_put_back", path),
            Err(error) => {
                event!(
                    Level::Error,
                    "state_not_put_back",
                    path,
                    error,
                    meaning = NEW_EPOCH
                );
            }
        }
    }
}

/// Restores the hub and its clock from the snapshot of a planned stop, or creates an empty hub of a new epoch. The caller
/// holds the link's lock, does not serve yet, and consumes the snapshot when it does.
///
/// # Errors
/// One line if a snapshot can be neither restored nor moved away, because a later start would restore it.
pub(crate) fn restore(
    files: &Files,
    history: HistoryLimits,
) -> Result<(Hub, Clock, RestoredSnapshot), String> {
    // Left over from a stop that was killed.
    let _none = files.folder.remove(&files.new);
    if move_aside(files)? {
        let began = Instant::now();
        match read(files, history) {
            Ok((hub, saved)) => {
                log_restored(&hub, began.elapsed());
                return Ok((
                    hub,
                    Clock::go_on(saved),
                    RestoredSnapshot(Some(files.clone())),
                ));
            }
            Err(reason) => log_refused(files, &reason),
        }
    }
    let epoch = new_epoch()?;
    let hub = Hub::new(epoch, history, PUBLISHERS_MAX);
    Ok((hub, Clock::start(), RestoredSnapshot(None)))
}

/// Moves away the snapshot of another sidecar that had the link for a while: this sidecar's journal went on meanwhile.
pub(crate) fn discard(files: &Files) {
    match move_aside(files) {
        Ok(false) => {}
        Ok(true) => log_refused(
            files,
            "another sidecar wrote it while this sidecar was running",
        ),
        Err(message) => event!(Level::Error, "state_not_discarded", message),
    }
}

/// Saves the hub for the next sidecar. No position may be assigned from here on. If this fails, the log says so, and the
/// next sidecar begins a new epoch.
pub(crate) async fn save(link: &LinkListener, broker: &Arc<Broker>, clock: Clock) {
    let files = Files::of(link);
    let began = Instant::now();
    match write_and_rename(link, &files, broker, clock).await {
        Ok(bytes) => event!(
            Level::Info,
            "state_saved",
            bytes,
            ms = began.elapsed().as_millis()
        ),
        Err(error) => {
            let _none = files.folder.remove(&files.new);
            event!(
                Level::Error,
                "state_not_saved",
                path = files.state.display(),
                error,
                meaning = NEW_EPOCH
            );
        }
    }
}

async fn write_and_rename(
    link: &LinkListener,
    files: &Files,
    broker: &Arc<Broker>,
    clock: Clock,
) -> io::Result<u64> {
    let at = SavedAt {
        now_ms: clock.now_ms(),
        wall_ms: clock.wall_ms(),
    };
    // In a thread, because a disk may hang. The thread does not rename, so that no snapshot appears after the lock is gone.
    let writing = tokio::task::spawn_blocking({
        let (files, broker) = (files.clone(), Arc::clone(broker));
        move || write(&files, &broker, at)
    });
    let written = tokio::time::timeout(Duration::from_millis(WRITE_MS_MAX), writing).await;
    let bytes = written.map_err(|_| {
        let message = format!("it was not written within {WRITE_MS_MAX} ms");
        io::Error::new(ErrorKind::TimedOut, message)
    })???;
    if !link.is_held() {
        return Err(io::Error::other(
            "the lock of the link was removed, so another sidecar may be running",
        ));
    }
    files.folder.rename(&files.new, &files.state)?;
    if let Err(error) = files.folder.sync() {
        files.folder.remove(&files.state)?;
        return Err(error);
    }
    Ok(bytes)
}

fn write(files: &Files, broker: &Broker, at: SavedAt) -> io::Result<u64> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let file = files.folder.open_file(&files.new, flags)?;
    // The umask may have removed bits.
    file.set_permissions(Permissions::from_mode(MODE))?;
    let bytes = broker.save(at, BufWriter::with_capacity(BUFFER_BYTES, &file))?;
    file.sync_all()?;
    Ok(bytes)
}

/// Moves a snapshot to the path that no start reads. Returns false if there is none.
fn move_aside(files: &Files) -> Result<bool, String> {
    let moved = match files.folder.rename(&files.state, &files.taken) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        moved => moved.and_then(|()| files.folder.sync()),
    };
    moved.map(|()| true).map_err(|error| {
        format!(
            "the snapshot cannot be moved from {} to {}: {error}; remove both files",
            files.state.display(),
            files.taken.display()
        )
    })
}

fn read(files: &Files, history: HistoryLimits) -> Result<(Hub, SavedAt), String> {
    // Opening a pipe without a writer would block.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let file = files
        .folder
        .open_file(&files.taken, flags)
        .map_err(|error| format!("it cannot be opened: {error}"))?;
    let found = file
        .metadata()
        .map_err(|error| format!("its metadata cannot be read: {error}"))?;
    let own = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if found.uid() != own {
        return Err(format!(
            "it belongs to {}, not to {}",
            user_name(found.uid()),
            own_user_name()
        ));
    }
    if found.mode() & 0o7777 != MODE {
        let mode = found.mode() & 0o7777;
        return Err(format!("its mode is {mode:04o} instead of {MODE:04o}"));
    }
    let input = BufReader::with_capacity(BUFFER_BYTES, file);
    Hub::restore(input, history, PUBLISHERS_MAX).map_err(|error| error.to_string())
}

fn log_restored(hub: &Hub, took: Duration) {
    let cursor = hub.cursor();
    event!(Level::Info, "state_restored", cursor, ms = took.as_millis());
}

fn log_refused(files: &Files, reason: &str) {
    event!(
        Level::Error,
        "state_refused",
        reason,
        kept_as = files.taken.display(),
        meaning = "the snapshot is not used: every resume from before the stop is answered lost"
    );
}

fn new_epoch() -> Result<Epoch, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| format!("the system returned no random bytes: {error}"))?;
    Ok(Epoch::from_random(random))
}

#[cfg(test)]
mod tests;
