use crate::fan_out::tests::{Fixture, want};

/// Puts a publication of this size into the outbox of every subscriber of `channel`.
fn publish(fixture: &mut Fixture, channel: &str, bytes: usize) {
    let place = (fixture.journal.newest().next(), 0);
    let body = vec![b'x'; bytes];
    let publication = fixture.journal.append(channel, place, |_| body.into());
    fixture.shard.dispatch(&publication);
}

#[test]
fn largest_backlogs_are_those_of_blocked_connections() {
    let mut fixture = Fixture::new(usize::MAX);
    let large = fixture.subscriber(&["all", "large"]);
    let half = fixture.subscriber(&["all"]);
    let reading = fixture.subscriber(&["all", "large"]);
    let small = fixture.subscriber(&["small"]);
    for id in [large, half, small] {
        fixture.shard.block(id);
    }
    publish(&mut fixture, "all", 100_000);
    publish(&mut fixture, "small", 10_000);
    assert_eq!(fixture.shard.largest_backlogs(), [large, half]);
    publish(&mut fixture, "large", 200_000);
    assert_eq!(fixture.shard.largest_backlogs(), [large]);
    fixture.shard.block(reading);
    assert_eq!(fixture.shard.largest_backlogs(), [large, reading]);
    fixture.shard.abandon(large);
    fixture.shard.close(reading);
    assert_eq!(fixture.shard.largest_backlogs(), [half]);
    fixture.shard.close(half);
    assert_eq!(
        fixture.shard.largest_backlogs(),
        [],
        "the rest is too small"
    );
}

#[test]
fn replay_belongs_to_the_backlog_until_it_is_sent() {
    let mut fixture = Fixture::new(usize::MAX);
    for _ in 0..100 {
        publish(&mut fixture, "a", 1_000);
    }
    let id = fixture.shard.open();
    let wants = vec![want("a", fixture.after(0))];
    let resumed = fixture.resume(id, wants).unwrap();
    fixture.shard.push_replay(id, resumed.replay);
    assert!(fixture.shard.held_bytes() > 0);
    assert_eq!(fixture.shard.largest_backlogs(), [], "it is not blocked");
    fixture.shard.block(id);
    // Those staged for the next write are not counted.
    let held = 36 * (1_000 + 400) + fixture.shard.held_bytes();
    let backlog = fixture.shard.outbox(id).unwrap().backlog_bytes();
    assert!(backlog.abs_diff(held) < 2_000, "{backlog} {held}");
    fixture.shard.unblock(id);
    while fixture.flush_one().is_some() {}
    assert_eq!(fixture.shard.held_bytes(), 0);
}
