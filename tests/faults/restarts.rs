//! Planned restarts under load: the epoch stays, and nothing is lost.

use crate::load::Load;
use crate::support::rounds;

#[test]
fn planned_restarts_lose_repeat_and_reorder_nothing() {
    let restarts = rounds(60, 1_000);
    let mut load = Load::start("restarts")
        .browse(12)
        .publish(3, 240)
        .delay_acks();
    let epoch = load.browsers[0].epoch();
    for _ in 0..restarts {
        load.await_messages(3);
        // The sidecar keeps 256 receipts of a publisher for retransmitted frames.
        load.await_receipts(100);
        load.restart();
        load.await_connected();
    }
    assert_eq!(load.browsers[0].epoch(), epoch, "the epoch stays the same");
    let each: Vec<_> = load.browsers.iter().map(|page| page.resumes().0).collect();
    let report = load.settle();
    report.assert_nothing_lost();
    assert!(
        each.iter().all(|recovered| *recovered >= restarts),
        "each page is recovered after each restart: {each:?}"
    );
    assert_eq!(
        report.total("dropped_aged") + report.total("dropped_full"),
        0
    );
    assert!(
        report.total("resent") > 0,
        "some acks arrive after the stop, and their frames are deduplicated"
    );
    report.print(&format!("R-15: {restarts} planned restarts"));
}
