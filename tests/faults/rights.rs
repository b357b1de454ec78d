//! Grants, while pages reconnect and change users.

use lineside_tests::random::Random;

use crate::browser::{Browser, Visitor};
use crate::load::Load;
use crate::proxy::End;
use crate::support::rounds;

/// Number of users and rooms. Each visitor may read only some.
const USERS: u64 = 6;
const ROOMS: u64 = 8;

/// Returns a visitor with random grants: exact names, a prefix, or neither.
fn random_visitor(random: &mut Random) -> Visitor {
    let mut draw = |count: u64| {
        let rooms = (0..count).map(|_| random.between(0, ROOMS - 1));
        let mut rooms: Vec<_> = rooms.map(|room| format!("room:{room}")).collect();
        rooms.sort();
        rooms.dedup();
        rooms
    };
    let channels = draw(2);
    let subscribe = draw(1);
    Visitor {
        user: format!("u{}", random.between(0, USERS - 1)),
        allow: if random.percent(33) {
            vec!["room:*".into()]
        } else {
            subscribe.clone()
        },
        channels,
        subscribe,
    }
}

#[test]
fn page_receives_only_channels_that_it_may_read() {
    let changes = rounds(300, 2_000);
    let mut random = Random::new(changes);
    let mut load = Load::start("rights");
    for _ in 0..12 {
        load.open(random_visitor(&mut random));
    }
    load.await_connected();
    // Publishes to all channels, also to those that no page reads.
    let users = (0..USERS).map(|user| format!("user:u{user}"));
    let rooms = (0..ROOMS).map(|room| format!("room:{room}"));
    let channels: Vec<_> = users.chain(rooms).collect();
    let plan = serde_json::json!({"threads": 2, "per_second": 120, "receipts": true, "channels": channels});
    load = load.publish_with(2, &plan);
    for change in 0..changes {
        match change % 4 {
            0 => load.web.end(End::Cut),
            _ => load.switch_user(random.between(0, 11), random_visitor(&mut random)),
        }
        load.await_calls(random.between(1, 30));
    }
    let received: u64 = load.browsers.iter().map(Browser::messages).sum();
    let report = load.settle();
    assert!(received > 0);
    report.print(&format!("S-11: {changes} changes of user or cuts"));
}
