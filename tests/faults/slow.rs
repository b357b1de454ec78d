//! Slow pages.

use serde_json::json;

use crate::load::Load;
use crate::proxy::{Direction, Directions};
use crate::support::{rounds, within};

/// Default limits of one page's outbox and of one channel's history, in KiB.
const OUTBOX_KIB_MAX: u64 = 1024;
const HISTORY_KIB_MAX: u64 = 1024;
/// Allowance for other growth, in KiB: allocator slack, stacks of new threads.
const REST_KIB_MAX: u64 = 16 * 1024;

#[test]
fn slow_page_is_disconnected_without_delaying_others_and_resumes() {
    const SLOW: usize = 4;
    let mut load = Load::start("slow").browse(8);
    let channels = u64::try_from(load.channels().len()).unwrap();
    let before_kib = load.resident_kib();
    // More bytes per second than the kernel's buffers of one connection hold.
    let plan = json!({"threads": 1, "per_second": 150, "receipts": true, "padding_bytes": 40_000});
    load = load.publish_with(1, &plan);
    for _ in 0..rounds(1, 10) {
        let cut = |load: &Load| {
            let log = load.sidecar().log();
            log.iter()
                .filter(|line| line.contains("reason=slow"))
                .count()
        };
        let before = cut(&load);
        let welcomes: u64 = load.welcomes().iter().sum();
        let lines = load.web.live();
        lines.iter().take(SLOW).for_each(|line| {
            line.set(Directions {
                up: Direction::default(),
                down: Direction {
                    blackhole: true,
                    ..Direction::default()
                },
            });
        });
        // The other pages receive messages meanwhile.
        within("the slow pages are disconnected", || {
            (cut(&load) >= before + SLOW).then_some(())
        });
        let grown_kib = load.resident_kib().saturating_sub(before_kib);
        let slow = u64::try_from(SLOW).unwrap();
        let bound_kib = slow * OUTBOX_KIB_MAX + channels * HISTORY_KIB_MAX + REST_KIB_MAX;
        assert!(
            grown_kib <= bound_kib,
            "memory grew by {grown_kib} KiB, the limit is {bound_kib} KiB"
        );
        println!("R-18: memory grew by {grown_kib} KiB, the limit is {bound_kib} KiB");
        lines
            .iter()
            .for_each(|line| line.set(Directions::default()));
        within("the slow pages reconnect", || {
            let now: u64 = load.welcomes().iter().sum();
            (now >= welcomes + slow).then_some(())
        });
        load.await_messages(3);
    }
    // Missed messages may be older than the history; then the page receives `lost`.
    let report = load.settle();
    report.print("R-18: 4 of 8 pages do not read");
}
