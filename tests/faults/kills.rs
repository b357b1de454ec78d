//! Kills of the sidecar under load, in memory mode.

use crate::load::Load;
use crate::proxy::Directions;
use crate::support::rounds;

#[test]
fn killed_sidecar_reports_lost_and_unacked_publications_are_resent() {
    let kills = rounds(60, 1_000);
    let mut load = Load::start("kills").browse(12).publish(3, 240).delay_acks();
    for kill in 0..kills {
        if kill == kills / 2 {
            // Acks are no longer delayed: a kill may now take acked publications.
            load.link.set(Directions::default());
        }
        load.await_messages(3);
        if kill % 2 == 0 {
            // Leaves bytes unread in its sockets.
            load.suspend(10);
        }
        load.kill_and_start();
        load.await_connected();
    }
    let (whole, _) = load.resumes();
    let each: Vec<_> = load.browsers.iter().map(|page| page.resumes().1).collect();
    let report = load.settle();
    assert!(
        each.iter().all(|lost| *lost == kills),
        "each page is told `lost` once per kill: {each:?}"
    );
    assert_eq!(whole, 0, "no cursor of a killed sidecar is recovered");
    assert_eq!(
        report.total("dropped_aged") + report.total("dropped_full"),
        0
    );
    assert!(
        report.total("resent") > 0 && report.counts.repeated > 0,
        "some kills came before an ack, and some between delivery and ack"
    );
    report.print(&format!(
        "R-01 R-02: {kills} kills, {} publications not delivered to a page because of a kill",
        report.undelivered
    ));
}
