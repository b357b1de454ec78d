//! Messages about a link that cannot be opened. Each names the likeliest remedy first.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Uid, User};

/// Returns the name of a user, such as `user deploy`, or the user's id if the system has no name for it.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("user {}", user.name),
        Ok(None) | Err(_) => format!("user id {uid}"),
    }
}

/// Returns the name of this process's user.
#[must_use]
pub fn own_user_name() -> String {
    user_name(nix::unistd::geteuid().as_raw())
}

/// Returns the message for a link that could not be connected.
#[must_use]
pub fn unopened(path: &Path, errno: Errno) -> String {
    let (shown, reason) = (path.display(), errno.desc());
    match errno {
        Errno::EACCES => barred(path),
        Errno::EMFILE | Errno::ENFILE => format!(
            "cannot open a socket ({reason}): raise the limit of open files (`ulimit -n`), or close files that are not in use"
        ),
        _ => format!(
            "no sidecar listens at {shown} ({reason}): if Puma's plugin or a Procfile runs it, wait some seconds or look at their \
             output; otherwise start it with `bundle exec lineside`{}",
            other_tmp(path)
        ),
    }
}

/// Returns the further cause for a link that the gem has moved to `/tmp` because its path was too long. A service or a container
/// may have a `/tmp` of its own.
fn other_tmp(path: &Path) -> &'static str {
    let moved = format!("/tmp/lineside-{}", nix::unistd::geteuid());
    if path.parent() == Some(Path::new(&moved)) {
        ". If one runs, it may have another /tmp (PrivateTmp of systemd, or a container): set LINESIDE_LINK for both to a short path \
         elsewhere"
    } else {
        ""
    }
}

fn barred(path: &Path) -> String {
    let ours = own_user_name();
    // The socket itself cannot be seen if its folder is closed.
    let found = [Some(path), path.parent()].into_iter().flatten();
    let owner = found.filter_map(|it| std::fs::metadata(it).ok()).next();
    let theirs = owner.map_or_else(
        || "the user of the sidecar".to_owned(),
        |found| user_name(found.uid()),
    );
    format!(
        "{ours} may not open {}: run this process as {theirs}",
        path.display()
    )
}

/// Returns the message for a link on which another user's process listens.
#[must_use]
pub fn foreign(path: &Path, their_uid: u32) -> String {
    let (theirs, ours, shown) = (user_name(their_uid), own_user_name(), path.display());
    format!(
        "the sidecar at {shown} runs as {theirs}, and this process as {ours}, so nothing was sent: run this process as {theirs}, \
         or the sidecar as {ours}"
    )
}

#[cfg(test)]
mod tests;
