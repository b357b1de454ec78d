//! Pages that do not read.

use serde_json::json;

use crate::load::Load;
use crate::proxy::{Way, Ways};
use crate::support::{rounds, within};

/// What the sidecar may hold for one page, and for one channel's history, by default: 1 MiB each.
const OUTBOX_KIB_MAX: u64 = 1024;
const HISTORY_KIB_MAX: u64 = 1024;
/// What else may grow while the run goes on: the allocator's slack, threads that ran for the first time.
const REST_KIB_MAX: u64 = 16 * 1024;

#[test]
fn slow_page_is_disconnected_without_delaying_others_and_resumes() {
    const SLOW: usize = 4;
    let mut load = Load::start("slow").browse(8);
    let channels = u64::try_from(load.channels().len()).unwrap();
    let before_kib = load.resident_kib();
    // More a second than the kernel's buffers of one connection hold.
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
            line.set(Ways {
                up: Way::default(),
                down: Way {
                    blackhole: true,
                    ..Way::default()
                },
            });
        });
        // The others go on meanwhile.
        within("the slow ones are cut", || {
            (cut(&load) >= before + SLOW).then_some(())
        });
        let grown_kib = load.resident_kib().saturating_sub(before_kib);
        let slow = u64::try_from(SLOW).unwrap();
        let bound_kib = slow * OUTBOX_KIB_MAX + channels * HISTORY_KIB_MAX + REST_KIB_MAX;
        assert!(grown_kib <= bound_kib, "{grown_kib} of {bound_kib} KiB");
        println!("R-18: grown by {grown_kib} KiB, of {bound_kib} that are bounded");
        lines.iter().for_each(|line| line.set(Ways::default()));
        within("the slow ones come back", || {
            let now: u64 = load.welcomes().iter().sum();
            (now >= welcomes + slow).then_some(())
        });
        load.flows(3);
    }
    // What they missed meanwhile may be older than the history: then they are told.
    let settled = load.settle();
    settled.print("R-18: 4 of 8 pages do not read");
}
