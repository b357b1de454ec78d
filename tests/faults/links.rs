//! Links between publishers and the sidecar that fail, and publishers that are killed: everything lands once, in order.

use lineside_tests::random::Random;
use serde_json::json;

use crate::load::Load;
use crate::proxy::{End, Way, Ways};
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
        // Within the hello, within a frame, within an ack: whichever way reaches its byte first.
        let up = random.between(1, 12_000);
        let down = if random.percent(50) {
            0
        } else {
            random.between(1, 2_500)
        };
        load.link.cut_next_after(up, down);
        within("a publisher comes back", || {
            (load.link.accepted() > before).then_some(())
        });
    }
    let settled = load.settle();
    settled.nothing_lost();
    assert!(settled.total("resent") > 0, "{:?}", settled.statuses);
    settled.print(&format!("R-12: {cuts} links cut behind any byte"));
}

#[test]
fn pages_receive_the_same_order_while_connections_are_cut() {
    let cuts = rounds(100, 1_000);
    let load = Load::start("order").browse(10).publish(4, 600);
    let mut random = Random::new(cuts);
    for _ in 0..cuts {
        let ends = [&load.web, &load.link];
        random.pick(&ends).unwrap().end(End::Cut);
        load.publishes(random.between(1, 60));
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!(
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
        load.publishes(60 + kill % 7);
        load.publishing.pop().unwrap().kill();
        // Whatever the first had tried, and more.
        let mut again = plan;
        again["calls"] = json!(100);
        load.start_publishing(&format!("second{kill}"), again);
        load.publishing.last().unwrap().done();
    }
    let settled = load.settle();
    assert_eq!(settled.counts.lost, 0);
    settled.print(&format!(
        "R-12 once: {kills} publishers killed and tried again"
    ));
}

#[test]
fn publish_returns_at_once_and_counts_every_declined_call() {
    const CALLS: u64 = 3_000;
    // A few hundred of the calls below; so that it is full while nobody takes anything.
    let plan = json!({"threads": 4, "calls": CALLS, "receipts": true, "spool_bytes_max": 40_000});
    for fault in ["stopped", "absent", "trickling"] {
        let mut load = Load::start("spool").browse(3);
        match fault {
            "stopped" => load.suspend(0),
            "absent" => load.leave(),
            _ => load.link.set(Ways::both(Way {
                bytes_per_second: 20,
                ..Way::default()
            })),
        }
        load = load.publish_with(1, &plan);
        // All its calls return while nothing can get through.
        load.publishing[0].done();
        let declined = load.publishing[0].declined();
        assert!(declined > 0, "{fault}: the spool was full");
        match fault {
            "stopped" => load.wake(),
            "absent" => load.come_again(),
            _ => {}
        }
        load.all_connected();
        let settled = load.settle();
        assert_eq!(settled.total("dropped_full"), declined, "{fault}");
        assert_eq!(settled.total("accepted") + declined, 4 * CALLS, "{fault}");
        assert_eq!(settled.total("acked"), settled.total("accepted"), "{fault}");
        if fault != "absent" {
            settled.nothing_lost();
        }
        settled.print(&format!("R-14: sidecar {fault}, {declined} calls declined"));
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
        load.publishes(40);
        load.link.end(End::Cut);
    }
    let settled = load.settle();
    settled.nothing_lost();
    settled.print(&format!("R-17: 2 processes of 16 threads, {cuts} cuts"));
}
