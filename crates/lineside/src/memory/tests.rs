use std::path::Path;

use super::ceiling::group_bytes_max;
use super::*;

/// Writes files below a new root.
fn root(files: &[(&str, &str)]) -> TempRoot {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("lineside-memory-{}-{number}", std::process::id());
    let root = TempRoot(std::env::temp_dir().join(name));
    for (path, text) in files {
        let path = root.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

struct TempRoot(std::path::PathBuf);

impl Drop for TempRoot {
    fn drop(&mut self) {
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn ceiling_is_the_lowest_limit_of_the_group_and_those_above() {
    let at = |root: &TempRoot, groups| group_bytes_max(groups, &root.0);
    let v2 = root(&[
        ("sys/fs/cgroup/app.slice/memory.max", "max\n"),
        ("sys/fs/cgroup/app.slice/memory.high", "400\n"),
        (
            "sys/fs/cgroup/app.slice/lineside.service/memory.max",
            "500\n",
        ),
    ]);
    assert_eq!(at(&v2, "0::/app.slice/lineside.service\n"), Some(400));
    assert_eq!(at(&v2, "0::/other\n"), None);
    let v1 = root(&[
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
        (
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes",
            "300\n",
        ),
    ]);
    let groups = "5:devices:/docker/1\n4:cpu,memory:/docker/1\n0::/\n";
    assert_eq!(at(&v1, groups), Some(300));
    let container = root(&[("sys/fs/cgroup/memory/memory.limit_in_bytes", "200\n")]);
    assert_eq!(at(&container, groups), Some(200));
    assert_eq!(group_bytes_max("", Path::new("/nowhere")), None);
}

#[test]
fn memory_that_the_allocator_keeps_does_not_count() {
    let mut estimate = Estimate::default();
    assert_eq!(estimate.other(10, (0, 0)), 10);
    assert_eq!(estimate.other(110, (100, 100)), 10, "a pool has grown");
    assert_eq!(
        estimate.other(130, (100, 100)),
        30,
        "something else has grown"
    );
    assert_eq!(
        estimate.other(130, (40, 40)),
        30,
        "the allocator keeps what a pool released"
    );
    assert_eq!(estimate.other(130, (90, 90)), 30, "and uses it again");
    assert_eq!(estimate.other(131, (40, 40)), 31);
    assert_eq!(
        estimate.other(60, (40, 40)),
        20,
        "the allocator returned it"
    );
}

#[test]
fn growth_of_pools_during_a_measurement_is_not_counted_twice() {
    let mut estimate = Estimate::default();
    assert_eq!(estimate.other(10, (0, 0)), 10);
    for step in 1..10 {
        // Resident memory is read before the pools have grown.
        let counted = 100 * step;
        assert_eq!(
            estimate.other(10 + counted, (counted - 100, counted)),
            10,
            "{step}"
        );
    }
}

#[test]
fn memory_of_a_peak_is_assumed_free_while_memory_is_almost_short() {
    let mut estimate = Estimate::default();
    let (resident, bytes_max) = (60_000_000, 64_000_000);
    assert_eq!(estimate.other(resident, (0, 0)), resident);
    for _ in 0..1000 {
        estimate.other(resident, (0, 0));
        estimate.assume_free(bytes_max);
    }
    let other = estimate.other(resident, (0, 0));
    assert!(other < resident / 2, "{other}");
    let pools = 10_000_000;
    let used = estimate.other(resident, (pools, pools)) + pools;
    assert_eq!(used, other + pools, "the pools use what is free");
}

#[test]
fn growth_refutes_that_memory_is_free() {
    let mut estimate = Estimate::default();
    let (resident, bytes_max) = (60_000_000, 64_000_000);
    estimate.other(resident, (0, 0));
    for _ in 0..100 {
        estimate.other(resident, (0, 0));
        estimate.assume_free(bytes_max);
    }
    let other = estimate.other(resident, (0, 0));
    // Pools explain the growth, but would have used free memory first.
    let pools = 1_000_000;
    let now = estimate.other(resident + pools, (pools, pools));
    assert_eq!(now, other + pools);
    let all = estimate.other(2 * resident, (pools, pools));
    assert_eq!(all + pools, 2 * resident, "nothing was free");
    estimate.other(2 * resident, (pools, pools));
    assert_eq!(estimate.assume_free(bytes_max), all, "beyond the ceiling");
}

#[test]
fn peak_that_is_over_leaves_room_for_history() {
    let memory = Memory::default();
    memory.limit(100_000_000);
    let mut monitor = Monitor::default();
    monitor.note(&memory, 96_000_000, (0, 0));
    assert!(memory.is_short(Stage::Publishers));
    let mut history = 0;
    for _ in 0..1000 {
        // The allocator keeps the memory of the peak, and the history uses it.
        history += 10_000;
        memory.set(Pool::Publications, history);
        monitor.note(&memory, 96_000_000, (history, history));
    }
    assert!(!memory.is_short(Stage::History), "{memory:?}");
}
