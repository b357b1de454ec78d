//! A sidecar that is killed under load, in memory mode: nothing is silent.

use crate::load::Load;
use crate::proxy::Ways;
use crate::support::rounds;

#[test]
fn killed_sidecar_reports_lost_and_unacked_publications_are_resent() {
    let kills = rounds(60, 1_000);
    let mut load = Load::start("kills").browse(12).publish(3, 240).late_acks();
    for kill in 0..kills {
        if kill == kills / 2 {
            // From here on a kill may take what was acked.
            load.link.set(Ways::default());
        }
        load.flows(3);
        if kill % 2 == 0 {
            // It has received what it never read.
            load.suspend(10);
        }
        load.kill();
        load.all_connected();
    }
    let (whole, _) = load.resumes();
    let each: Vec<_> = load.browsers.iter().map(|page| page.resumes().1).collect();
    let settled = load.settle();
    assert!(
        each.iter().all(|lost| *lost == kills),
        "each page is told once a kill, and by nothing else: {each:?}"
    );
    assert_eq!(whole, 0, "no cursor of a killed sidecar resumes whole");
    assert_eq!(
        settled.total("dropped_aged") + settled.total("dropped_full"),
        0
    );
    assert!(
        settled.total("resent") > 0 && settled.counts.repeated > 0,
        "some kill came before an ack, and some between delivery and ack"
    );
    settled.print(&format!(
        "R-01 R-02: {kills} kills, {} times a page never heard what a kill took",
        settled.unheard
    ));
}
