//! Listener of the link, with the lock that makes this process its only sidecar.
//!
//! The lock is on the file `<link>.lock`. Only the process that holds it may remove a socket that no process listens on, and
//! read or write the snapshot ([`crate::serve`]). A socket with a listener, a socket of another user and a file that is not a
//! socket are never removed.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interprocess::local_socket::tokio::Listener;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use lineside_publisher::remedy::{own_user_name, user_name};
use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::EXCHANGE_MS_MAX;
use super::folder::LinkFolder;
use crate::listener::ACCEPT_PAUSE_MS;
use crate::log::{Level, event};

/// Size of a frame up to its kind, in bytes.
const KIND_BYTES: usize = 5;

/// Listener of the link. Removes its socket when dropped, unless another file has replaced it.
#[derive(Debug)]
pub(crate) struct LinkListener {
    path: PathBuf,
    folder: LinkFolder,
    listener: Listener,
    identity: (u64, u64),
    lock: File,
}

impl LinkListener {
    /// Acquires the lock and listens. Must be called inside the runtime.
    ///
    /// # Errors
    /// One line with the path, the reason and the remedy.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let fail = |what: &str, error: io::Error| {
            format!("cannot {what} the link {}: {error}", path.display())
        };
        let folder = LinkFolder::make(path.parent().unwrap_or(Path::new("/")))?;
        let lock = acquire_lock(&folder, path)?;
        remove_stale_socket(&folder, path)?;
        let name = path
            .to_fs_name::<GenericFilePath>()
            .map_err(|error| fail("name", error))?;
        let options = ListenerOptions::new()
            .name(name)
            .mode(0o600)
            .reclaim_name(false);
        let listener = options
            .create_tokio()
            .map_err(|error| fail("listen on", error))?;
        let identity = identity(path).map_err(|error| fail("find", error))?;
        let found = folder.stat(path).map_err(|error| fail("find", error))?;
        if found.st_ino != identity.1 {
            let replaced = io::Error::other("its folder was replaced meanwhile");
            return Err(fail("find", replaced));
        }
        Ok(Self {
            path: path.to_owned(),
            folder,
            listener,
            identity,
            lock,
        })
    }

    /// Path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Folder of the socket, the lock and the snapshot.
    pub(crate) fn folder(&self) -> &LinkFolder {
        &self.folder
    }

    /// Returns whether the socket was removed or replaced, for example by `rails tmp:clear`.
    pub(crate) fn is_lost(&self) -> bool {
        identity(&self.path).map_or(true, |identity| identity != self.identity)
    }

    /// Returns whether this process still holds the lock. If the file of the lock was removed, another sidecar may have
    /// created and locked its own.
    pub(crate) fn is_held(&self) -> bool {
        let held = self.lock.metadata().map(|lock| (lock.dev(), lock.ino()));
        let found = identity(&beside(&self.path, ".lock"));
        // Locks again after a failed reopen has unlocked. Changes nothing while the lock is held.
        let is_locked = self.lock.try_lock().is_ok();
        is_locked && held.is_ok_and(|held| found.is_ok_and(|found| found == held))
    }

    /// Acquires the lock again after its file was removed, for example by a cleaner of `/tmp`.
    ///
    /// # Errors
    /// Returns an error in one line if another sidecar has the lock.
    pub(crate) fn renew_lock(&mut self) -> Result<(), String> {
        self.lock = acquire_lock(&self.folder, &self.path)?;
        Ok(())
    }

    /// Listens again after the socket was lost. Open links stay open.
    ///
    /// # Errors
    /// As [`open`](Self::open). The listener is unchanged then.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        let unlocked = self.lock.unlock();
        let opened = unlocked
            .map_err(|error| error.to_string())
            .and_then(|()| Self::open(&self.path));
        match opened {
            Ok(link) => {
                // The new file may have the inode number of the removed one. Without this, dropping the old listener would
                // remove the new socket.
                self.identity = (0, 0);
                *self = link;
                Ok(())
            }
            Err(message) => {
                // If another sidecar has the lock by now, the message says so.
                let _held = self.lock.try_lock();
                Err(message)
            }
        }
    }

    /// Returns the next link of a process of the sidecar's own user. Logs and closes links of other users.
    pub(crate) async fn accept(&self) -> UnixStream {
        let Listener::UdSocket(listener) = &self.listener;
        let own = nix::unistd::geteuid().as_raw();
        loop {
            let stream = match listener.inner().accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    event!(Level::Error, "accept_failed", error);
                    tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                    continue;
                }
            };
            let peer = stream.peer_cred().ok().map(|peer| peer.uid());
            if peer == Some(own) {
                return stream;
            }
            let user = peer.map_or_else(|| "an unknown user".to_owned(), user_name);
            let message = format!(
                "a process of {user} was refused, because this sidecar runs as {}: run both as one user",
                own_user_name()
            );
            event!(Level::Warn, "publisher_refused", message);
        }
    }
}

impl Drop for LinkListener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // The successor removes it if this fails.
            let _left = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns the path of the link with a suffix.
pub(crate) fn beside(link: &Path, suffix: &str) -> PathBuf {
    let mut path = link.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Returns device and inode of the file at the path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Returns the kind of a link's first frame, or `None` if it does not arrive in time. The bytes stay in the socket: reading
/// them here would close the file descriptors that come with them.
pub(crate) async fn first_kind(link: &UnixStream) -> Option<u8> {
    let deadline = Duration::from_millis(EXCHANGE_MS_MAX);
    let peeked = tokio::time::timeout(deadline, peek_kind(link)).await;
    peeked.ok()?.ok()?
}

async fn peek_kind(link: &UnixStream) -> io::Result<Option<u8>> {
    loop {
        let ready = link.ready(Interest::READABLE).await?;
        let mut front = [0; KIND_BYTES];
        let peeked = link.try_io(Interest::READABLE, || {
            let (count, _) = recv(link, &mut front, RecvFlags::PEEK)?;
            if count < KIND_BYTES && !ready.is_read_closed() {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match peeked {
            Ok(count) => return Ok((count == KIND_BYTES).then_some(front[KIND_BYTES - 1])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn acquire_lock(folder: &LinkFolder, path: &Path) -> Result<File, String> {
    let lock_path = beside(path, ".lock");
    let shown = lock_path.display();
    let mut lock = folder
        .open_file(&lock_path, OFlag::O_RDWR | OFlag::O_CREAT)
        .map_err(|error| format!("the lock {shown} cannot be opened: {error}"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The error names no process if the file cannot be read.
            let _unread = io::Read::by_ref(&mut lock)
                .take(20)
                .read_to_string(&mut holder);
            return Err(format!(
                "another sidecar (process {}{}) serves {} already: one is enough for an app; if Puma's plugin and a Procfile both start \
                 one, remove either, otherwise stop that process",
                holder.trim(),
                started_by(holder.trim()),
                path.display()
            ));
        }
        Err(TryLockError::Error(error)) => {
            return Err(format!("the lock {shown} cannot be acquired: {error}"));
        }
    }
    let written = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(|error| format!("the lock {shown} cannot be written: {error}"))?;
    Ok(lock)
}

/// Returns the name of the process that started another, for a message. Empty if it cannot be read.
fn started_by(process: &str) -> String {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let status = read(format!("/proc/{process}/status"));
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    let name = parent.map(|parent| read(format!("/proc/{}/comm", parent.trim())));
    match name.as_deref().map(str::trim) {
        None | Some("") => String::new(),
        Some(name) => format!(", started by {name}"),
    }
}

/// Removes a socket that no process listens on. The caller holds the lock.
fn remove_stale_socket(folder: &LinkFolder, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = match folder.stat(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the link {shown} cannot be read: {error}")),
        Ok(found) => found,
    };
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
        return Err(format!(
            "{shown} exists and is no socket; remove it, or set LINESIDE_LINK to another path"
        ));
    }
    if found.st_uid != nix::unistd::geteuid().as_raw() {
        return Err(format!(
            "{shown} belongs to {owner}, and the sidecar runs as {}: run it as {owner}, or remove the file",
            own_user_name(),
            owner = user_name(found.st_uid)
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => folder
            .remove(path)
            .map_err(|error| format!("the stale socket {shown} cannot be removed: {error}")),
        Err(error) => Err(format!(
            "cannot find out whether a process listens at {shown}: {error}"
        )),
        Ok(_) => Err(format!(
            "a process that is no sidecar listens at {shown}; set LINESIDE_LINK to another path"
        )),
    }
}

#[cfg(test)]
mod tests;
