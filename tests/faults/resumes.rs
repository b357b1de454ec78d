//! Pages that lose their connection and resume: whole, or told that they are not.

use lineside_tests::random::Random;

use crate::load::Load;
use crate::proxy::End;
use crate::support::{place, rounds, within};

#[test]
fn resume_replays_the_whole_gap_or_reports_lost() {
    /// Of each channel; gaps are up to twice that.
    const HISTORY: u64 = 12;
    let gaps = rounds(100, 400);
    let narrow = place().with("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX", HISTORY);
    let mut load = Load::start_in("gaps", narrow).browse(8).publish(2, 900);
    let channels = u64::try_from(load.channels().len()).unwrap();
    let mut random = Random::new(gaps);
    for _ in 0..gaps {
        load.all_connected();
        let before = load.welcomes();
        load.web.refuse(true);
        load.web.end(*random.pick(&[End::Cut, End::Reset]).unwrap());
        load.publishes(random.between(0, 2 * HISTORY * channels));
        load.web.refuse(false);
        load.all_came_back(&before);
    }
    let settled = load.settle();
    assert!(
        settled.counts.recovered > 0 && settled.counts.lost > 0,
        "both ways to resume were taken: {:?}",
        settled.counts
    );
    settled.print(&format!("R-03: {gaps} gaps of 8 pages"));
}

#[test]
fn switch_from_replay_to_live_has_no_gap_and_no_overlap() {
    let cuts = rounds(200, 2_000);
    let load = Load::start("seams").browse(10).publish(3, 900);
    let mut random = Random::new(cuts);
    for _ in 0..cuts {
        let before = load.welcomes();
        // Some in the middle of a replay, some before their welcome.
        load.web.end(*random.pick(&[End::Cut, End::Reset]).unwrap());
        load.publishes(random.between(0, 60));
        if !random.percent(25) {
            load.all_came_back(&before);
        }
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!("R-04: {cuts} cuts of 10 pages"));
}

#[test]
fn page_resumes_only_after_cursors_that_it_received() {
    // Connections that are cut behind any byte of what they say: half an envelope, half a welcome.
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
        within("a page comes back", || {
            (load.web.accepted() > before).then_some(())
        });
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!("R-21: {cuts} cuts behind any byte, of 6 pages"));
}
