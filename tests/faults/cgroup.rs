//! Memory cgroup of one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{Place, within};

/// Mount point of the memory controller in cgroup v1.
const V1: &str = "/sys/fs/cgroup/memory";
/// Mount point of cgroup v2.
const V2: &str = "/sys/fs/cgroup";

/// Group with a limit of memory. Removed on drop, after the process in it has ended.
pub(crate) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes a group. `None` if this machine does not let the test make one.
    pub(crate) fn with_limit(bytes: u64) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lineside-faults-{}-{number}", std::process::id());
        let kinds = [(V1, "memory.limit_in_bytes"), (V2, "memory.max")];
        kinds.into_iter().find_map(|(mount, file)| {
            let group = Self {
                folder: Path::new(mount).join(&name),
            };
            fs::create_dir(&group.folder).ok()?;
            fs::write(group.folder.join(file), bytes.to_string()).ok()?;
            Some(group)
        })
    }

    /// Command of a sidecar that moves itself into the group before it starts.
    pub(crate) fn command(&self, place: &Place) -> Command {
        let procs = self.folder.join("cgroup.procs");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        place.command_under(&["/bin/sh", "-c", script, procs.to_str().unwrap()], &[])
    }

    /// Number of processes that the kernel killed in the group because it was out of memory.
    pub(crate) fn kills(&self) -> u64 {
        let files = ["memory.oom_control", "memory.events"];
        let texts = files.map(|file| fs::read_to_string(self.folder.join(file)));
        let texts = texts.into_iter().flatten().collect::<String>();
        let line = texts
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        line.expect(&texts).parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !self.folder.exists() {
            return;
        }
        let remove = || fs::remove_dir(&self.folder).ok();
        if std::thread::panicking() {
            let _kept = remove();
        } else {
            within("the memory cgroup is removed", remove);
        }
    }
}
