//! Files, folders and limits of this machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};

use super::{Finding, Found, fail, warn};
use crate::link::socket::check_folder;
use crate::serve::DESCRIPTORS_RESERVED;
use crate::settings::{SECRET_FILE, Settings, Source};

/// Connections below which a limit of open files is worth a word: a small site has more at noon.
const CONNECTIONS_FEW: u64 = 1000;

/// Permission bits by which others could read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// A secret that other users of the machine can read.
pub(super) fn secret_file(source: &impl Source) -> Found {
    let path = source.get(SECRET_FILE).map_err(Finding::Fail)?;
    let Some(path) = path else { return Ok(()) };
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() && found.mode() & READABLE_BY_OTHERS != 0 => {
            warn(format!("others may read {path}; run `chmod 600 {path}`"))
        }
        // That it cannot be read, the secret itself says.
        _ => Ok(()),
    }
}

/// Another user's folder, or one that others may write to.
pub(super) fn link_folder(settings: &Settings) -> Found {
    let folder = settings.link.parent().unwrap_or(Path::new("/"));
    if folder.exists() {
        return check_folder(folder).map_err(Finding::Fail);
    }
    let nearest = folder.ancestors().find(|it| it.exists());
    let nearest = nearest.unwrap_or(Path::new("/"));
    let may_write = access(nearest, AccessFlags::W_OK).map_err(Errno::desc);
    let may_make = if nearest.is_dir() {
        may_write
    } else {
        Err(Errno::ENOTDIR.desc())
    };
    may_make.or_else(|reason| {
        fail(format!(
            "the link's folder {} is not there and cannot be made in {} ({reason}); make it for this user, or set \
             LINESIDE_LINK",
            folder.display(),
            nearest.display(),
        ))
    })
}

/// A link that each release of the app would look for elsewhere.
pub(super) fn link_place(settings: &Settings) -> Found {
    let mut folders = settings.link.components().peekable();
    while let Some(folder) = folders.next() {
        let release = folders.peek().and_then(|it| it.as_os_str().to_str());
        let is_numbered =
            release.is_some_and(|it| it.len() > 1 && it.bytes().all(|byte| byte.is_ascii_digit()));
        if folder.as_os_str() == "releases" && is_numbered {
            return warn(format!(
                "the link {} belongs to one release, and the next looks elsewhere; set LINESIDE_LINK to a folder that all share",
                settings.link.display()
            ));
        }
    }
    Ok(())
}

/// Fewer descriptors than the connections need.
pub(super) fn open_files(settings: &Settings) -> Found {
    // Where there is no limit to be read there is none to be raised.
    let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    let room = most.saturating_sub(DESCRIPTORS_RESERVED);
    if room < CONNECTIONS_FEW.min(settings.limits.connections_max as u64) {
        return warn(format!(
            "{most} files may be open, which is room for {room} browsers; raise it (ulimit -n, LimitNOFILE)"
        ));
    }
    Ok(())
}
