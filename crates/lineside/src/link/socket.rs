//! The link's Unix socket: who may own it, who may speak on it.
//!
//! Beside the socket lies `<link>.lock`. Whoever holds its lock is the live sidecar; only the holder may remove a socket
//! that nobody answers on, and only the holder writes or reads what a sidecar leaves to the next ([`crate::state`]). A socket that answers, one of another user, and anything that is no socket are never touched.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener, Stream};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use nix::libc::O_NOFOLLOW;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::EXCHANGE_MS_MAX;

/// Permission bits by which others could write into a folder.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The bytes of a frame up to its kind.
const KIND_BYTES: usize = 5;

/// The listening end of the link. Removes its socket when dropped, if it is still its own.
#[derive(Debug)]
pub(crate) struct LinkListener {
    path: PathBuf,
    listener: Listener,
    identity: (u64, u64),
    lock: File,
}

impl LinkListener {
    /// Takes the path over and listens. Must be called inside the runtime.
    ///
    /// # Errors
    /// One sentence that names the path, what stands in the way, and the remedy.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let fail = |what: &str, error: io::Error| {
            format!("cannot {what} the link {}: {error}", path.display())
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| fail("make the folder of", error))?;
        check_folder(folder)?;
        let lock = take_lock(path)?;
        remove_stale(path)?;
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
        Ok(Self {
            path: path.to_owned(),
            listener,
            identity,
            lock,
        })
    }

    /// Where publishers look for it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the socket is no longer where publishers look for it: `rails tmp:clear` removes it, for one.
    pub(crate) fn is_lost(&self) -> bool {
        identity(&self.path).map_or(true, |identity| identity != self.identity)
    }

    /// Whether this process still holds the lock that makes it the link's one sidecar: somebody may have removed the lock,
    /// and another sidecar made its own.
    pub(crate) fn is_held(&self) -> bool {
        let held = self.lock.metadata().map(|lock| (lock.dev(), lock.ino()));
        let found = identity(&beside(&self.path, ".lock"));
        // Locked again where a failed reopening let go of it; no change where it is held.
        let is_locked = self.lock.try_lock().is_ok();
        is_locked && held.is_ok_and(|held| found.is_ok_and(|found| found == held))
    }

    /// Listens again where the socket was lost. Publishers that are linked stay so.
    ///
    /// # Errors
    /// As [`open`](Self::open); nothing has changed then.
    pub(crate) fn reopen(&mut self) -> Result<(), String> {
        let unlocked = self.lock.unlock();
        let opened = unlocked
            .map_err(|error| error.to_string())
            .and_then(|()| Self::open(&self.path));
        match opened {
            Ok(link) => {
                // The number of the file that is gone may be the new one's: it must not be removed as ours.
                self.identity = (0, 0);
                *self = link;
                Ok(())
            }
            Err(message) => {
                // Should a successor hold it by now, the message has said so.
                let _held = self.lock.try_lock();
                Err(message)
            }
        }
    }

    /// The next publisher of this user; one of another user is turned away and named in the error.
    pub(crate) async fn accept(&self) -> Result<Stream, String> {
        let stream = self
            .listener
            .accept()
            .await
            .map_err(|error| format!("accepting a publisher failed: {error}"))?;
        let peer = stream.peer_creds().ok().and_then(|peer| peer.euid());
        let own = nix::unistd::geteuid().as_raw();
        match peer {
            Some(peer) if peer == own => Ok(stream),
            _ => {
                let who = peer.map_or_else(
                    || "an unknown user".to_owned(),
                    |peer| format!("the user id {peer}"),
                );
                Err(format!(
                    "a publisher of {who} was turned away: this sidecar runs as the user id {own}"
                ))
            }
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

/// What lies beside the link under its name and a suffix.
pub(crate) fn beside(link: &Path, suffix: &str) -> PathBuf {
    let mut path = link.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Device and inode: which file stands at the path, whatever it is called.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

pub(crate) fn check_folder(folder: &Path) -> Result<(), String> {
    let shown = folder.display();
    let found = std::fs::metadata(folder)
        .map_err(|error| format!("the link's folder {shown} cannot be read: {error}"))?;
    let own = nix::unistd::geteuid().as_raw();
    if found.uid() != own {
        return Err(format!(
            "the link's folder {shown} belongs to the user id {}, not to {own}; set LINESIDE_LINK to a folder of your own",
            found.uid()
        ));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return Err(format!(
            "others may write into the link's folder {shown}; run `chmod go-w {shown}`"
        ));
    }
    Ok(())
}

/// What a link is for: the kind of its first frame. It is looked at without taking it, because a read that does not ask for
/// descriptors closes the ones that come with its bytes. `None` when it does not come.
pub(crate) async fn first_kind(link: &Stream) -> Option<u8> {
    let Stream::UdSocket(unix) = link;
    let deadline = Duration::from_millis(EXCHANGE_MS_MAX);
    let looked = tokio::time::timeout(deadline, look_at_kind(unix.inner())).await;
    looked.ok()?.ok()?
}

async fn look_at_kind(link: &UnixStream) -> io::Result<Option<u8>> {
    loop {
        let ready = link.ready(Interest::READABLE).await?;
        let mut front = [0; KIND_BYTES];
        let looked = link.try_io(Interest::READABLE, || {
            let (count, _) = recv(link, &mut front, RecvFlags::PEEK)?;
            if count < KIND_BYTES && !ready.is_read_closed() {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match looked {
            Ok(count) => return Ok((count == KIND_BYTES).then_some(front[KIND_BYTES - 1])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn take_lock(path: &Path) -> Result<File, String> {
    let lock_path = beside(path, ".lock");
    let shown = lock_path.display();
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(O_NOFOLLOW);
    let mut lock = options
        .open(&lock_path)
        .map_err(|error| format!("the lock {shown} cannot be opened: {error}"))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is a courtesy; the refusal stands without.
            let _unread = io::Read::by_ref(&mut lock)
                .take(20)
                .read_to_string(&mut holder);
            return Err(format!(
                "another sidecar (process {}) serves {}; stop it, or set LINESIDE_LINK to another path",
                holder.trim(),
                path.display()
            ));
        }
        Err(TryLockError::Error(error)) => {
            return Err(format!("the lock {shown} cannot be taken: {error}"));
        }
    }
    let written = lock
        .set_len(0)
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
    written.map_err(|error| format!("the lock {shown} cannot be written: {error}"))?;
    Ok(lock)
}

/// Removes a socket that a dead sidecar left. The caller holds the lock.
fn remove_stale(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("the link {shown} cannot be read: {error}")),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        return Err(format!(
            "{shown} is there and is no socket; remove it, or set LINESIDE_LINK to another path"
        ));
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(format!(
            "{shown} belongs to the user id {}; set LINESIDE_LINK to another path",
            found.uid()
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => std::fs::remove_file(path)
            .map_err(|error| format!("the stale socket {shown} cannot be removed: {error}")),
        Err(error) => Err(format!("{shown} cannot be probed: {error}")),
        Ok(_) => Err(format!(
            "something that is no sidecar listens at {shown}; set LINESIDE_LINK to another path"
        )),
    }
}

#[cfg(test)]
mod tests;
