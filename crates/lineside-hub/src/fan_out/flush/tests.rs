use bytes::Bytes;

use super::super::tests::Fixture;
use super::super::{DIRECT_SUBSCRIBERS_MAX, Resume, Want};
use super::*;

#[test]
fn a_message_to_one_goes_ahead_of_a_message_to_many_with_what_was_owed_before_it() {
    let mut fixture = Fixture::new(usize::MAX);
    let many = fixture.subscribers("board", 2 * SLICE_CONNECTIONS);
    let one = fixture.subscriber(&["board", "user:1"]);
    fixture.publish("board");
    fixture.publish("user:1");
    assert_eq!(fixture.flush_one(), Some((one, "1;2;".to_owned())));
    for id in many {
        assert_eq!(fixture.flush_one(), Some((id, "1;".to_owned())));
    }
    assert_eq!(fixture.flush_one(), None, "nobody is written twice");
}

#[test]
fn while_both_wait_each_lane_gets_every_other_slice() {
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
fn the_pass_is_as_old_as_its_longest_waiting_connection() {
    let mut fixture = Fixture::new(usize::MAX);
    let board = fixture.subscribers("board", DIRECT_SUBSCRIBERS_MAX + 1);
    for count in 1..PASS_PUBLICATIONS_MAX {
        fixture.publish("board");
        assert_eq!(fixture.shard.offered_since_pass(), count - 1);
    }
    fixture.publish("nobody's");
    for _ in &board[1..] {
        fixture.flush_one();
        assert_eq!(
            fixture.shard.offered_since_pass(),
            PASS_PUBLICATIONS_MAX - 2
        );
    }
    // What one write does not take keeps its place in the pass.
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
fn what_one_write_does_not_take_is_written_before_the_rest_of_the_bulk() {
    let mut fixture = Fixture::new(usize::MAX);
    let board = fixture.subscribers("board", DIRECT_SUBSCRIBERS_MAX + 1);
    fixture.publish("board");
    assert_eq!(fixture.shard.next_flush(), Some(board[0]));
    fixture.shard.advance(board[0], 1);
    assert_eq!(fixture.flush_one(), Some((board[0], ";".to_owned())));
    assert_eq!(fixture.flush_one(), Some((board[1], "1;".to_owned())));
}

#[test]
fn a_connection_stands_in_a_lane_once_however_much_it_is_offered() {
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
fn a_blocked_connection_is_written_only_when_unblocked() {
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
fn slow_is_who_is_blocked_with_too_much_owed_and_nobody_else() {
    let mut fixture = Fixture::new(5);
    let blocked = fixture.subscriber(&["a"]);
    let reading = fixture.subscriber(&["a"]);
    fixture.publish("a");
    fixture.publish("a");
    assert!([blocked, reading].contains(&fixture.shard.next_flush().unwrap()));
    fixture.shard.advance(blocked, 1);
    fixture.shard.block(blocked);
    fixture.publish("a");
    assert_eq!(fixture.shard.next_slow(), None, "five bytes are owed");
    fixture.publish("a");
    assert_eq!(fixture.shard.next_slow(), Some(blocked));
    fixture.shard.abandon(blocked);
    assert_eq!(fixture.unsent(blocked), ";", "the rest of a frame stays");
    fixture.publish("a");
    assert_eq!(fixture.unsent(blocked), ";", "nothing more is offered");
    assert_eq!(fixture.unsent(reading), "1;2;3;4;5;");
    assert_eq!(fixture.shard.next_slow(), None, "slow is said once");
    fixture
        .shard
        .push_frame(blocked, Bytes::from_static(b"why"));
    fixture.shard.unblock(blocked);
    fixture.flush_one();
    assert_eq!(fixture.flush_one(), Some((blocked, ";why".to_owned())));
}

#[test]
fn a_replay_makes_nobody_slow() {
    let mut fixture = Fixture::new(5);
    for _ in 0..10 {
        fixture.publish("a");
    }
    let id = fixture.shard.open();
    let wants = vec![Want {
        channel: "a".into(),
        after: fixture.after(0),
    }];
    let Resume::Ready(resumed) = fixture.shard.resume(id, &fixture.journal, wants) else {
        panic!()
    };
    fixture.shard.push_replay(id, resumed.replay);
    fixture.shard.block(id);
    assert_eq!(fixture.shard.next_slow(), None);
    assert!(fixture.shard.outbox(id).unwrap().has_replay());
}
