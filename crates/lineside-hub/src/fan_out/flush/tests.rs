use bytes::Bytes;

use super::super::DIRECT_SUBSCRIBERS_MAX;
use super::super::tests::{Fixture, want};
use super::*;

#[test]
fn direct_lane_is_written_before_bulk_with_the_earlier_items() {
    let mut fixture = Fixture::new(usize::MAX);
    let many = fixture.subscribers("board", 2 * SLICE_CONNECTIONS);
    let one = fixture.subscriber(&["board", "user:1"]);
    fixture.publish("board");
    fixture.publish("user:1");
    assert_eq!(fixture.flush_one(), Some((one, "1;2;".to_owned())));
    for id in many {
        assert_eq!(fixture.flush_one(), Some((id, "1;".to_owned())));
    }
    assert_eq!(fixture.flush_one(), None, "no connection is written twice");
}

#[test]
fn lanes_alternate_slices_while_both_wait() {
    let mut fixture = Fixture::new(usize::MAX);
    let many = fixture.subscribers("board", 2 * SLICE_CONNECTIONS);
    let own: Vec<_> = (0..2 * SLICE_CONNECTIONS)
        .map(|number| format!("user:{number}"))
        .collect();
    let few: Vec<_> = own
        .iter()
        .map(|channel| fixture.subscriber(&[channel]))
        .collect();
    fixture.publish("board");
    own.iter().for_each(|channel| fixture.publish(channel));
    let (first, second) = (..SLICE_CONNECTIONS, SLICE_CONNECTIONS..);
    for slice in [
        &few[first],
        &many[first],
        &few[second.clone()],
        &many[second],
    ] {
        for id in slice {
            assert_eq!(fixture.flush_one().map(|(id, _)| id), Some(*id));
        }
    }
    assert_eq!(fixture.flush_one(), None);
}

#[test]
fn pass_is_as_old_as_its_longest_waiting_connection() {
    let mut fixture = Fixture::new(usize::MAX);
    let board = fixture.subscribers("board", DIRECT_SUBSCRIBERS_MAX + 1);
    for count in 1..PASS_PUBLICATIONS_MAX {
        fixture.publish("board");
        assert_eq!(fixture.shard.offered_since_pass(), count - 1);
    }
    fixture.publish("empty");
    for _ in &board[1..] {
        fixture.flush_one();
        assert_eq!(
            fixture.shard.offered_since_pass(),
            PASS_PUBLICATIONS_MAX - 2
        );
    }
    // A connection with a partly written outbox keeps its time of queueing.
    let last = fixture.shard.next_flush().unwrap();
    fixture.shard.advance(last, 1);
    fixture.publish("board");
    assert_eq!(
        fixture.shard.offered_since_pass(),
        PASS_PUBLICATIONS_MAX - 1
    );
    assert_eq!(fixture.shard.next_flush(), Some(last));
    let rest = fixture.unsent(last).len();
    fixture.shard.advance(last, rest);
    assert_eq!(fixture.shard.offered_since_pass(), 0);
}

#[test]
fn rest_of_a_partial_write_comes_before_the_rest_of_the_bulk_lane() {
    let mut fixture = Fixture::new(usize::MAX);
    let board = fixture.subscribers("board", DIRECT_SUBSCRIBERS_MAX + 1);
    fixture.publish("board");
    assert_eq!(fixture.shard.next_flush(), Some(board[0]));
    fixture.shard.advance(board[0], 1);
    assert_eq!(fixture.flush_one(), Some((board[0], ";".to_owned())));
    assert_eq!(fixture.flush_one(), Some((board[1], "1;".to_owned())));
}

#[test]
fn connection_is_queued_once_per_lane() {
    let mut fixture = Fixture::new(usize::MAX);
    let id = fixture.subscriber(&["user:1"]);
    for _ in 0..3 {
        fixture.publish("user:1");
    }
    assert!(fixture.shard.has_flush());
    assert_eq!(fixture.flush_one(), Some((id, "1;2;3;".to_owned())));
    assert_eq!(fixture.shard.offered_since_pass(), 0);
    assert!(!fixture.shard.has_flush());
}

#[test]
fn blocked_connection_is_written_after_unblock() {
    let mut fixture = Fixture::new(1_000);
    let id = fixture.subscriber(&["a"]);
    fixture.publish("a");
    assert_eq!(fixture.shard.next_flush(), Some(id));
    fixture.shard.advance(id, 1);
    fixture.shard.block(id);
    fixture.publish("a");
    assert_eq!(fixture.flush_one(), None);
    fixture.shard.unblock(id);
    assert_eq!(fixture.flush_one(), Some((id, ";2;".to_owned())));
    assert_eq!(fixture.shard.next_slow(), None);
}

#[test]
fn blocked_connection_over_the_limit_is_slow_and_no_other_is() {
    let mut fixture = Fixture::new(5);
    let blocked = fixture.subscriber(&["a"]);
    let reading = fixture.subscriber(&["a"]);
    fixture.publish("a");
    fixture.publish("a");
    assert!([blocked, reading].contains(&fixture.shard.next_flush().unwrap()));
    fixture.shard.advance(blocked, 1);
    fixture.shard.block(blocked);
    fixture.publish("a");
    assert_eq!(
        fixture.shard.next_slow(),
        None,
        "five bytes are within the limit"
    );
    fixture.publish("a");
    assert_eq!(fixture.shard.next_slow(), Some(blocked));
    fixture.shard.abandon(blocked);
    assert_eq!(fixture.unsent(blocked), ";", "the rest of a frame stays");
    fixture.publish("a");
    assert_eq!(
        fixture.unsent(blocked),
        ";",
        "a slow connection receives no more publications"
    );
    assert_eq!(fixture.unsent(reading), "1;2;3;4;5;");
    assert_eq!(
        fixture.shard.next_slow(),
        None,
        "a slow connection is returned once"
    );
    fixture
        .shard
        .push_frame(blocked, Bytes::from_static(b"why"));
    fixture.shard.unblock(blocked);
    fixture.flush_one();
    assert_eq!(fixture.flush_one(), Some((blocked, ";why".to_owned())));
}

/// Writes this many connections.
fn written(fixture: &mut Fixture, count: usize) -> Vec<ConnectionId> {
    (0..count).map(|_| fixture.flush_one().unwrap().0).collect()
}

#[test]
fn publications_wait_for_at_most_one_slice_of_replays() {
    let mut fixture = Fixture::new(usize::MAX);
    for _ in 0..3 * crate::SLICES_MAX {
        fixture.publish("history");
    }
    let board = fixture.subscribers("board", DIRECT_SUBSCRIBERS_MAX + 1);
    let resuming: Vec<_> = (0..2 * SLICE_REPLAYS)
        .map(|_| {
            let id = fixture.shard.open();
            let wants = vec![want("history", fixture.after(0))];
            let resumed = fixture.resume(id, wants).unwrap();
            fixture.shard.push_replay(id, resumed.replay);
            id
        })
        .collect();
    assert_eq!(
        written(&mut fixture, SLICE_REPLAYS),
        resuming[..SLICE_REPLAYS]
    );
    fixture.publish("board");
    assert_eq!(written(&mut fixture, board.len()), board);
    assert_eq!(
        written(&mut fixture, SLICE_REPLAYS),
        resuming[SLICE_REPLAYS..]
    );
    fixture.publish("history");
    while let Some((id, bytes)) = fixture.flush_one() {
        assert!(resuming.contains(&id) && !bytes.is_empty());
    }
    for id in resuming {
        assert!(!fixture.shard.outbox(id).unwrap().has_replay());
    }
}

#[test]
fn replay_does_not_make_a_connection_slow() {
    let mut fixture = Fixture::new(5);
    for _ in 0..10 {
        fixture.publish("a");
    }
    let id = fixture.shard.open();
    let wants = vec![want("a", fixture.after(0))];
    let resumed = fixture.resume(id, wants).unwrap();
    fixture.shard.push_replay(id, resumed.replay);
    fixture.shard.block(id);
    assert_eq!(fixture.shard.next_slow(), None);
    assert!(fixture.shard.outbox(id).unwrap().has_replay());
}
