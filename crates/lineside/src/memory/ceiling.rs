//! Default ceiling: half of the memory that the cgroup or the machine gives the process.

use std::path::{Component, Path};

use super::kibibytes;

/// Ceiling where the system tells no amount of memory, in bytes.
const UNKNOWN_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Mount points of cgroup v2, alone or beside v1.
const V2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// Mount point of the memory controller of cgroup v1.
const V1: &str = "/sys/fs/cgroup/memory";

/// Default of `LINESIDE_MEMORY_MAX`, in bytes. The other half is for the app in the same container, the kernel's buffers of
/// the sockets, and the allocator.
pub(crate) fn default_bytes_max() -> usize {
    available_bytes().map_or(UNKNOWN_BYTES_MAX, |bytes| bytes / 2)
}

/// Memory that the cgroup or the machine gives the process, in bytes. `None` where the system does not tell.
pub(crate) fn available_bytes() -> Option<usize> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let machine = kibibytes(&read("/proc/meminfo"), "MemTotal:");
    let group = group_bytes_max(&read("/proc/self/cgroup"), Path::new("/"));
    machine.into_iter().chain(group).min()
}

/// Lowest limit of the cgroups in the text of `/proc/self/cgroup` (cgroups(7)) and of the groups above them.
pub(super) fn group_bytes_max(groups: &str, root: &Path) -> Option<usize> {
    let limits = groups.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        if controllers.is_empty() {
            let files = ["memory.max", "memory.high"];
            V2.iter()
                .filter_map(|at| lowest(root, at, path, &files))
                .min()
        } else if controllers.split(',').any(|it| it == "memory") {
            lowest(root, V1, path, &["memory.limit_in_bytes"])
        } else {
            None
        }
    });
    limits.min()
}

/// Lowest number in the files of a group and of the groups above it. In a container the path may be that of the host, of
/// which only the mount point exists.
fn lowest(root: &Path, mount: &str, group: &str, files: &[&str]) -> Option<usize> {
    let mount = root.join(mount.trim_start_matches('/'));
    let names = Path::new(group).components().filter_map(|it| match it {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut folders = vec![mount];
    for name in names {
        folders.extend(folders.last().map(|above| above.join(name)));
    }
    let paths = folders
        .iter()
        .flat_map(|it| files.iter().map(|file| it.join(file)));
    // Groups without a limit have `max` in v2, and a number beyond any machine's memory in v1.
    let limits = paths.filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.min()
}
