//! Checks of files, folders and limits of this machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use lineside_hub::Memory;
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{AccessFlags, access};

use super::{CheckResult, Finding, fail, skip, warn};
use crate::descriptors::{CONNECTIONS_FEW, DESCRIPTORS_RESERVED};
use crate::link::folder::LinkFolder;
use crate::memory::{BYTES_FEW, available_bytes};
use crate::settings::{SECRET_FILE, Settings, Source};

/// Permission bits by which others could read a file.
const READABLE_BY_OTHERS: u32 = 0o044;

/// Finds a secret file that other users of the machine can read.
pub(super) fn secret_file(source: &impl Source) -> CheckResult {
    let path = source.get(SECRET_FILE).map_err(Finding::Fail)?;
    let Some(path) = path else {
        return skip(format!("{SECRET_FILE} is not set"));
    };
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() && found.mode() & READABLE_BY_OTHERS != 0 => {
            warn(format!("others may read {path}; run `chmod 600 {path}`"))
        }
        Ok(_) => Ok(()),
        // The check of the secret reports a file that cannot be read.
        Err(error) => skip(format!("{path} cannot be read: {error}")),
    }
}

/// Finds a folder of the link that belongs to another user, that others can write to, or that cannot be created.
pub(super) fn link_folder(settings: &Settings) -> CheckResult {
    let folder = settings.link.parent().unwrap_or(Path::new("/"));
    if folder.exists() {
        return LinkFolder::open(folder).map(drop).map_err(Finding::Fail);
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
            "the link's folder {} does not exist and cannot be made in {} ({reason}); make it for this user, or set \
             LINESIDE_LINK to another path",
            folder.display(),
            nearest.display(),
        ))
    })
}

/// Finds a link inside the folder of one release of the app, where the next release would not look for it.
pub(super) fn link_path(settings: &Settings) -> CheckResult {
    let mut folders = settings.link.components().peekable();
    while let Some(folder) = folders.next() {
        let release = folders.peek().and_then(|it| it.as_os_str().to_str());
        let is_numbered =
            release.is_some_and(|it| it.len() > 1 && it.bytes().all(|byte| byte.is_ascii_digit()));
        if folder.as_os_str() == "releases" && is_numbered {
            return warn(format!(
                "the link {} is in the folder of one release, and the next release will not find it; set LINESIDE_LINK to a path that \
                 all releases share",
                settings.link.display()
            ));
        }
    }
    Ok(())
}

/// Finds a limit of open files that is lower than the connections need.
pub(super) fn open_files(settings: &Settings) -> CheckResult {
    let most = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) => most,
        Err(error) => return skip(format!("the limit cannot be read: {}", error.desc())),
    };
    let room = most.saturating_sub(DESCRIPTORS_RESERVED);
    let needed = CONNECTIONS_FEW.min(settings.limits.connections_max);
    if room < needed as u64 {
        return warn(format!(
            "the limit of open files is {most}, enough for {room} browsers; raise it (ulimit -n, LimitNOFILE)"
        ));
    }
    Ok(())
}

/// Finds a ceiling of memory above the memory of the cgroup or the machine, or too low for the other limits.
pub(super) fn memory(settings: &Settings, source: &impl Source) -> CheckResult {
    let most = settings.memory_max;
    if let Some(available) = available_bytes().filter(|it| *it < most) {
        return warn(format!(
            "LINESIDE_MEMORY_MAX is {most}, but the cgroup or the machine has {available} bytes; lower it, and leave room for the \
             kernel's buffers"
        ));
    }
    if most < BYTES_FEW {
        return warn(format!(
            "the ceiling of memory is {most} bytes, too little for a useful history; give the process more memory, or set \
             LINESIDE_MEMORY_MAX to {BYTES_FEW} or more"
        ));
    }
    let history = source.get("LINESIDE_HISTORY_BYTES_MAX").ok().flatten();
    let history: usize = history.and_then(|it| it.parse().ok()).unwrap_or(0);
    for (name, value, share) in [
        (
            "LINESIDE_HISTORY_BYTES_MAX",
            history,
            Memory::history_bytes_max(most),
        ),
        (
            "LINESIDE_OUTBOX_BYTES_MAX",
            settings.limits.outbox_bytes_max,
            Memory::backlogs_bytes_max(most),
        ),
    ] {
        if value > share {
            return warn(format!(
                "{name} is {value}, but the ceiling of memory has room for {share}; lower it, or raise LINESIDE_MEMORY_MAX"
            ));
        }
    }
    Ok(())
}
