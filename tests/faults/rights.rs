//! Who may read what, while pages come and go and change hands.

use lineside_tests::random::Random;

use crate::browser::{Browser, Visitor};
use crate::load::Load;
use crate::proxy::End;
use crate::support::rounds;

/// Users and rooms to draw from; each visitor may read only a part.
const USERS: u64 = 6;
const ROOMS: u64 = 8;

/// Somebody with grants by chance: exact names, a prefix, or neither.
fn somebody(random: &mut Random) -> Visitor {
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
        load.open(somebody(&mut random));
    }
    load.all_connected();
    // Everything is published to, and most of it to nobody in particular.
    let users = (0..USERS).map(|user| format!("user:u{user}"));
    let rooms = (0..ROOMS).map(|room| format!("room:{room}"));
    let channels: Vec<_> = users.chain(rooms).collect();
    let plan = serde_json::json!({"threads": 2, "per_second": 120, "receipts": true, "channels": channels});
    load = load.publish_with(2, &plan);
    for change in 0..changes {
        match change % 4 {
            0 => load.web.end(End::Cut),
            _ => load.change_hands(random.between(0, 11), somebody(&mut random)),
        }
        load.publishes(random.between(1, 30));
    }
    let heard: u64 = load.browsers.iter().map(Browser::messages).sum();
    let settled = load.settle();
    assert!(heard > 0);
    settled.print(&format!(
        "S-11: {changes} pages changed hands or lost their line"
    ));
}
