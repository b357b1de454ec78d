//! Ceiling of the sidecar's memory: what is refused, evicted and paused when memory is short. `tests/faults/memory.rs` attacks
//! a sidecar in a memory cgroup.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Request, frame, place, within};

/// Ceiling below the memory that any sidecar needs, in bytes.
const NONE: u64 = 1_000_000;

#[test]
fn sidecar_without_memory_refuses_browsers_serves_publishers_and_stops() {
    let mut sidecar = place().with("LINESIDE_MEMORY_MAX", NONE).start();
    let refused = sidecar.request().response();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("Retry-After").as_deref(), Some("5"));
    assert!(
        refused.body.contains("LINESIDE_MEMORY_MAX"),
        "{}",
        refused.body
    );
    assert_eq!(Request::get(sidecar.port, "/up").response().status, 200);
    let publisher = sidecar.publisher();
    for _ in 0..10 {
        publisher.enqueue("a", "x".repeat(60_000));
    }
    // A wait would release nothing, so these are acked, and evicted at once.
    publisher.flush();
    for stage in ["history", "connections"] {
        sidecar.logged(&["event=memory_short ", &format!("stage={stage}"), "remedy="]);
    }
    sidecar.signal(Signal::SIGTERM);
    assert_eq!(sidecar.ended().code(), Some(0));
    sidecar.logged(&["event=drained"]);
}

#[test]
fn history_is_evicted_first_and_its_cursors_are_lost() {
    const CEILING: u64 = 100 * 1024 * 1024;
    let sidecar = place()
        .with("LINESIDE_MEMORY_MAX", CEILING)
        .with("LINESIDE_PUBLIC_CHANNELS", "a,b:*")
        .with("LINESIDE_ADMIN_BIND", "127.0.0.1:0")
        .with("LINESIDE_HISTORY_CHANNEL_BYTES_MAX", CEILING)
        .start();
    let mut live = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    let publisher = sidecar.publisher();
    let start = publisher.publish("a", 0);
    live.expect_message("a", json!(0));
    publisher.publish("a", 1);
    live.expect_message("a", json!(1));
    let text = "x".repeat(60_000);
    for number in 0..CEILING / 100_000 {
        publisher.enqueue(&format!("b:{number}"), text.as_str());
        if number % 50 == 49 {
            publisher.flush();
        }
    }
    publisher.publish("a", 2);
    live.expect_message("a", json!(2));
    let late = sidecar.browser(json!({"subscribe": [{"channel": "a", "after": start}]}));
    assert_eq!(late.welcome["lost"], json!(["a"]));
    let listening = sidecar.logged(&["event=listening"]);
    let (_, admin) = listening.split_once("admin=127.0.0.1:").unwrap();
    let port = admin.split(' ').next().unwrap().parse().unwrap();
    let value = |name: &str| -> u64 {
        let metrics = Request::get(port, "/metrics").response().body;
        let line = metrics.lines().find_map(|it| it.strip_prefix(name));
        line.expect(name).trim().parse().unwrap()
    };
    assert_eq!(value("lineside_memory_limit_bytes "), CEILING);
    let history = value("lineside_memory_bytes{pool=\"history\"}");
    assert!(history > 30_000_000 && history <= CEILING / 2, "{history}");
    for pool in ["retained", "queues", "messages", "other"] {
        value(&format!("lineside_memory_bytes{{pool=\"{pool}\"}}"));
    }
    let mut raw = sidecar.raw_browser();
    raw.send(&frame(0x01, &[b'x'; 100_000]));
    within("the unfinished message is counted", || {
        let bytes = value("lineside_memory_bytes{pool=\"messages\"}");
        (bytes > 100_000).then_some(())
    });
}
