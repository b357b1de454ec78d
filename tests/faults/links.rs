//! Cut links between publishers and the sidecar, and killed publishers: each publication is published once, in order.

use lineside_tests::random::Random;
use serde_json::json;

use crate::load::Load;
use crate::proxy::{Direction, Directions, End};
use crate::support::{place, rounds, within};

#[test]
fn link_cut_after_any_byte_publishes_once_and_in_order() {
    let cuts = rounds(200, 1_000);
    let load = Load::start("links").browse(6).publish(3, 600);
    let mut random = Random::new(cuts);
    load.link.cut_next_after(1, 1);
    load.link.end(End::Cut);
    for _ in 0..cuts {
        let before = load.link.accepted();
        // Cuts a hello, a frame or an ack, in the direction that reaches its byte first.
        let up = random.between(1, 12_000);
        let down = if random.percent(50) {
            0
        } else {
            random.between(1, 2_500)
        };
        load.link.cut_next_after(up, down);
        within("a publisher reconnects", || {
            (load.link.accepted() > before).then_some(())
        });
    }
    let report = load.settle();
    report.assert_nothing_lost();
    assert!(report.total("resent") > 0, "{:?}", report.statuses);
    report.print(&format!("R-12: {cuts} links cut after any byte"));
}

#[test]
fn pages_receive_the_same_order_while_connections_are_cut() {
    let cuts = rounds(100, 1_000);
    let load = Load::start("order").browse(10).publish(4, 600);
    let mut random = Random::new(cuts);
    for _ in 0..cuts {
        let ends = [&load.web, &load.link];
        random.pick(&ends).unwrap().end(End::Cut);
        load.await_calls(random.between(1, 60));
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!(
        "R-13: 4 processes of 3 threads, 10 pages, {cuts} cuts of all links or all pages"
    ));
}

#[test]
fn retry_with_once_ids_after_a_killed_publisher_publishes_once() {
    let kills = rounds(10, 100);
    let mut load = Load::start("retries").browse(4);
    for kill in 0..kills {
        let plan = json!({"threads": 2, "per_second": 400, "receipts": true, "once": format!("job{kill}")});
        load.start_publishing(&format!("first{kill}"), plan.clone());
        load.await_calls(60 + kill % 7);
        load.publishing.pop().unwrap().kill();
        // Retries all calls of the first, and makes more.
        let mut again = plan;
        again["calls"] = json!(100);
        load.start_publishing(&format!("second{kill}"), again);
        load.publishing.last().unwrap().await_done();
    }
    let report = load.settle();
    assert_eq!(report.counts.lost, 0);
    report.print(&format!(
        "R-12 once: {kills} publishers killed and their calls retried"
    ));
}

#[test]
fn publish_returns_at_once_and_counts_every_declined_call() {
    const CALLS: u64 = 3_000;
    // Room for a few hundred of the calls, so that it is full while no frame is acked.
    let plan = json!({"threads": 4, "calls": CALLS, "receipts": true, "spool_bytes_max": 40_000});
    for fault in ["stopped", "absent", "trickling"] {
        let mut load = Load::start("spool").browse(3);
        match fault {
            "stopped" => load.suspend(0),
            "absent" => load.kill(),
            _ => load.link.set(Directions::both(Direction {
                bytes_per_second: 20,
                ..Direction::default()
            })),
        }
        load = load.publish_with(1, &plan);
        // All calls return while the link is blocked.
        load.publishing[0].await_done();
        let declined = load.publishing[0].declined();
        assert!(declined > 0, "{fault}: no call was declined");
        match fault {
            "stopped" => load.resume(),
            "absent" => load.start_sidecar(),
            _ => {}
        }
        load.await_connected();
        let report = load.settle();
        assert_eq!(report.total("dropped_full"), declined, "{fault}");
        assert_eq!(report.total("accepted") + declined, 4 * CALLS, "{fault}");
        assert_eq!(report.total("acked"), report.total("accepted"), "{fault}");
        if fault != "absent" {
            report.assert_nothing_lost();
        }
        report.print(&format!("R-14: sidecar {fault}, {declined} calls declined"));
    }
}

#[test]
fn threads_that_share_a_cut_link_lose_no_publication() {
    let cuts = rounds(30, 300);
    let load = Load::start_in("threads", place()).browse(4).publish_with(
        2,
        &json!({"threads": 16, "per_second": 20, "receipts": true}),
    );
    for _ in 0..cuts {
        load.await_calls(40);
        load.link.end(End::Cut);
    }
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!("R-17: 2 processes of 16 threads, {cuts} cuts"));
}
