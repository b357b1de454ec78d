//! Planned restarts under load: the same epoch goes on, and nobody loses anything.

use crate::load::Load;
use crate::support::rounds;

#[test]
fn planned_restarts_lose_repeat_and_reorder_nothing() {
    let restarts = rounds(60, 1_000);
    let mut load = Load::start("restarts")
        .browse(12)
        .publish(3, 240)
        .late_acks();
    let epoch = load.browsers[0].epoch();
    for _ in 0..restarts {
        load.flows(3);
        // The sidecar keeps 256 answers of a process for when their frames come again.
        load.answered(100);
        load.restart();
        load.all_connected();
    }
    assert_eq!(load.browsers[0].epoch(), epoch, "the epoch goes on");
    let each: Vec<_> = load.browsers.iter().map(|page| page.resumes().0).collect();
    let settled = load.settle();
    settled.nothing_lost();
    assert!(
        each.iter().all(|recovered| *recovered >= restarts),
        "each page resumes whole after each restart: {each:?}"
    );
    assert_eq!(
        settled.total("dropped_aged") + settled.total("dropped_full"),
        0
    );
    assert!(
        settled.total("resent") > 0,
        "some acks did not arrive before the stop, and the successor knew what it had"
    );
    settled.print(&format!("R-15: {restarts} planned restarts"));
}
