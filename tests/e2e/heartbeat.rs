//! Heartbeats, and the connection slots of closed or silent clients.

use serde_json::json;

use crate::support::{Received, Sidecar, place, within};

/// Waits until the sidecar accepts another connection.
fn wait_for_free_slot(sidecar: &Sidecar) {
    within("a connection is accepted", || {
        let (_, response) = sidecar.request().send();
        (response.status == 101).then_some(())
    });
}

#[test]
fn silent_connection_is_closed_and_answering_one_is_kept() {
    let sidecar = place()
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .with("LINESIDE_PUBLIC_CHANNELS", "a")
        .start();
    // Answers no ping.
    let mut silent = sidecar.raw_browser().connect(json!({}));
    // Answers WebSocket pings, as every browser does, but no application pings.
    let mut browser = sidecar.browser(json!({"subscribe": [{"channel": "a"}]}));
    std::thread::scope(|scope| {
        let closed = scope.spawn(|| silent.read_to_end());
        let mut pings = 0;
        while !closed.is_finished() {
            match browser.receive() {
                Received::Envelope(envelope) => assert_eq!(envelope["type"], "ping"),
                Received::Ping => pings += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(pings > 1);
        let (code, texts) = closed.join().unwrap();
        assert_eq!(code, Some(4102));
        let disconnect = texts.last().unwrap();
        assert_eq!(disconnect["reason"], "heartbeat");
        assert!(disconnect["after_ms"].is_u64());
    });
    sidecar.publisher().publish("a", 1);
    browser.expect_message("a", json!(1));
}

#[test]
fn dropped_connection_releases_its_slot() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 1).start();
    for _ in 0..20 {
        wait_for_free_slot(&sidecar);
    }
}

#[test]
fn heartbeat_time_out_releases_the_connection_slot() {
    let sidecar = place()
        .with("LINESIDE_CONNECTIONS_MAX", 1)
        .with("LINESIDE_HEARTBEAT_SECONDS", 1)
        .start();
    let _silent = sidecar.raw_browser().connect(json!({}));
    let line = sidecar.logged(&["event=connection_ended"]);
    assert!(line.contains("reason=heartbeat"), "{line}");
    wait_for_free_slot(&sidecar);
}
