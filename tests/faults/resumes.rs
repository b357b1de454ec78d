//! Pages that lose their connection and resume.

use lineside_tests::random::Random;

use crate::load::Load;
use crate::proxy::End;
use crate::support::{place, rounds, within};

#[test]
fn resume_replays_the_whole_gap_or_reports_lost() {
    /// History of each channel, in publications. Gaps are up to twice that.
    const HISTORY: u64 = 12;
    let gaps = rounds(100, 400);
    let narrow = place().with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", HISTORY);
    let mut load = Load::start_in("gaps", narrow).browse(8).publish(2, 900);
    let channels = u64::try_from(load.channels().len()).unwrap();
    let mut random = Random::new(gaps);
    for _ in 0..gaps {
        load.await_connected();
        let before = load.welcomes();
        load.web.refuse(true);
        load.web.end(*random.pick(&[End::Cut, End::Reset]).unwrap());
        load.await_calls(random.between(0, 2 * HISTORY * channels));
        load.web.refuse(false);
        load.await_reconnects(&before);
    }
    let report = load.settle();
    assert!(
        report.counts.recovered > 0 && report.counts.lost > 0,
        "some channels are recovered and some lost: {:?}",
        report.counts
    );
    report.print(&format!("R-03: {gaps} gaps of 8 pages"));
}

#[test]
fn switch_from_replay_to_live_has_no_gap_and_no_overlap() {
    let cuts = rounds(200, 2_000);
    let load = Load::start("seams").browse(10).publish(3, 900);
    let mut random = Random::new(cuts);
    for _ in 0..cuts {
        let before = load.welcomes();
        // Some cuts are within a replay, some before the welcome.
        load.web.end(*random.pick(&[End::Cut, End::Reset]).unwrap());
        load.await_calls(random.between(0, 60));
        if !random.percent(25) {
            load.await_reconnects(&before);
        }
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!("R-04: {cuts} cuts of 10 pages"));
}

#[test]
fn page_resumes_only_after_cursors_that_it_received() {
    // Connections are cut after any byte the page receives, within an envelope or a welcome.
    const FIRST: u64 = 6;
    let cuts = rounds(200, 2_000);
    let load = Load::start("cursors").browse(FIRST).publish(2, 300);
    let mut random = Random::new(cuts);
    for _ in 0..cuts {
        let before = load.web.accepted();
        load.web.cut_next_after(0, random.between(200, 6_000));
        if before == FIRST {
            load.web.end(End::Cut);
        }
        within("a page reconnects", || {
            (load.web.accepted() > before).then_some(())
        });
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!("R-21: {cuts} cuts after any byte, of 6 pages"));
}
