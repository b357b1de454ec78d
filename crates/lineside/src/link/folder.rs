//! Folder of the link. It is opened once, so that the lock and the snapshot are in the folder that was checked, also if another
//! user replaces a part of its path meanwhile.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lineside_publisher::remedy::{own_user_name, user_name};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat, renameat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

/// Permission bits with which other users may write into a folder.
const WRITABLE_BY_OTHERS: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// Maximum number of symbolic links from the path to the folder, as in the kernel.
const SYMBOLIC_LINKS_MAX: usize = 40;

/// An open folder that belongs to this user, and into which no other user may write.
#[derive(Clone, Debug)]
pub(crate) struct LinkFolder(Arc<OwnedFd>);

impl LinkFolder {
    /// Opens the folder, and makes it for this user alone if it is missing. Its parents are made with the usual mode.
    ///
    /// # Errors
    /// Returns an error with the reason and the remedy, in one line.
    pub(crate) fn make(folder: &Path) -> Result<Self, String> {
        let shown = folder.display();
        make(folder)
            .map_err(|error| format!("the link's folder {shown} cannot be made: {error}"))?;
        Self::open(folder)
    }

    /// Opens and checks an existing folder.
    ///
    /// # Errors
    /// As [`make`](Self::make).
    pub(crate) fn open(folder: &Path) -> Result<Self, String> {
        let shown = folder.display();
        let opened = open_folder(folder)?;
        let found = fstat(&opened).map_err(|errno| unreadable(folder, errno))?;
        let own = nix::unistd::geteuid().as_raw();
        if found.st_uid != own {
            let (owner, ours) = (user_name(found.st_uid), own_user_name());
            let remedy = if found.st_uid == 0 {
                "set LINESIDE_LINK to a path in a folder of its own".to_owned()
            } else {
                format!(
                    "run the sidecar as {owner}, or set LINESIDE_LINK to a path in a folder of its own"
                )
            };
            return Err(format!(
                "the link's folder {shown} belongs to {owner}, and the sidecar runs as {ours}; {remedy}"
            ));
        }
        if Mode::from_bits_truncate(found.st_mode).intersects(WRITABLE_BY_OTHERS) {
            return Err(format!(
                "others may write into the link's folder {shown}; set LINESIDE_LINK to a path in a folder of its own, such as \
                 unix:{}/lineside/link.sock, which the sidecar makes",
                shown.to_string().trim_end_matches('/')
            ));
        }
        Ok(Self(Arc::new(opened)))
    }

    /// Opens a file of this folder, and follows no symbolic link. A new file is for this user alone.
    pub(crate) fn open_file(&self, file: &Path, flags: OFlag) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        Ok(openat(&*self.0, name(file)?, flags, mode)?.into())
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(&*self.0, name(from)?, &*self.0, name(to)?)?)
    }

    pub(crate) fn remove(&self, file: &Path) -> io::Result<()> {
        Ok(unlinkat(&*self.0, name(file)?, UnlinkatFlags::NoRemoveDir)?)
    }

    /// Returns the metadata of a file of this folder, or of a symbolic link itself.
    pub(crate) fn stat(&self, file: &Path) -> io::Result<FileStat> {
        Ok(fstatat(
            &*self.0,
            name(file)?,
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?)
    }

    /// Syncs the folder, so that renames survive a power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(fsync(&*self.0)?)
    }
}

/// Returns the name of the file in the folder.
fn name(file: &Path) -> io::Result<&OsStr> {
    file.file_name()
        .ok_or_else(|| ErrorKind::InvalidInput.into())
}

fn make(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Opens a folder. Follows symbolic links of this user and of root, as of a deploy, and refuses those of others.
fn open_folder(folder: &Path) -> Result<OwnedFd, String> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut path: PathBuf = folder.to_owned();
    for _ in 0..SYMBOLIC_LINKS_MAX {
        let errno = match open(&path, flags, Mode::empty()) {
            Ok(opened) => return Ok(opened),
            Err(errno) => errno,
        };
        let found = std::fs::symlink_metadata(&path).map_err(|error| unreadable(folder, error))?;
        if !found.is_symlink() {
            return Err(unreadable(folder, errno));
        }
        if ![0, nix::unistd::geteuid().as_raw()].contains(&found.uid()) {
            return Err(format!(
                "the link's folder {} is a symbolic link of {}; set LINESIDE_LINK to a path in a folder of its own",
                folder.display(),
                user_name(found.uid())
            ));
        }
        let target = std::fs::read_link(&path).map_err(|error| unreadable(folder, error))?;
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(unreadable(folder, Errno::ELOOP))
}

fn unreadable(folder: &Path, error: impl std::fmt::Display) -> String {
    format!(
        "the link's folder {} cannot be read: {error}",
        folder.display()
    )
}

#[cfg(test)]
mod tests;
