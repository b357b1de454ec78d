mod stage;

use bytes::Bytes;
use lineside_protocol::Position;
use lineside_protocol::codes;
use lineside_protocol::frame::ToPublisher;
use tokio::sync::oneshot;

use self::stage::{Publisher, Stage};
use super::{LOOK_MS, READ_BYTES, REASON_MS_MAX, TURN_BYTES_MAX};
use crate::broker::tests::TestPublisher;

/// Number of turns after which something counts as not happening.
const TURNS: usize = 1_000;

#[test]
fn full_inbox_of_another_shard_stops_reads_and_nothing_is_lost() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[1].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    let full = stage.landed();
    link.publish(1, false);
    stage.links.readable(link.number, false);
    for _ in 0..TURNS {
        assert!(stage.wait(10));
    }
    assert_eq!(stage.landed(), full);
    // It is told positions, and acked nothing.
    let answers = link.answers();
    assert!(
        answers.iter().all(|it| matches!(it, ToPublisher::Moved(_))),
        "{answers:?}"
    );
    // It looks again by itself.
    stage.inboxes[1].take(1);
    assert!(stage.wait(10) && stage.wait(10));
    assert_eq!(stage.landed(), full + 1);
}

#[test]
fn hello_is_answered_without_room_for_publications() {
    let mut stage = Stage::new();
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[1].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    stage.open(1, 7);
}

#[test]
fn full_inbox_of_the_own_shard_does_not_stop_reads() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let mut other = TestPublisher::greet(&stage.broker, 8);
    while stage.inboxes[0].has_room() {
        other.publish(&stage.broker, "news", "1", 0);
    }
    stage.inboxes[1].take(usize::MAX);
    let full = stage.landed();
    link.publish(1, false);
    stage.read(&link);
    assert_eq!(stage.landed(), full + 1);
}

#[test]
fn links_are_read_again_once_the_shard_has_dispatched_what_they_brought() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let begun = link.fill();
    stage.links.readable(link.number, false);
    let mut dispatched = Position(0);
    while stage.landed() < begun {
        stage.links.turn(stage.now, dispatched);
        let landed = stage.landed();
        assert!(landed > dispatched.0);
        for behind in dispatched.0..landed {
            stage.links.turn(stage.now, Position(behind));
        }
        assert_eq!(stage.landed(), landed);
        dispatched = Position(landed);
    }
    assert_eq!(stage.landed(), begun);
}

#[test]
fn turn_reads_a_limited_size_and_takes_links_in_rotation() {
    let mut stage = Stage::new();
    let mut flooding = [(1, 11), (2, 12), (3, 13)].map(|(number, id)| stage.open(number, id));
    let mut calm = stage.open(4, 20);
    for link in &mut flooding {
        link.fill();
        stage.links.readable(link.number, false);
    }
    calm.publish(1, true);
    stage.links.readable(calm.number, false);
    let publications = (TURN_BYTES_MAX + READ_BYTES).div_ceil(1_000) as u64;
    stage.turn();
    assert!((1..=publications).contains(&stage.landed()));
    stage.turn();
    assert!(matches!(
        calm.answers()[..],
        [ToPublisher::Receipt(_), ToPublisher::Ack(_)]
    ));
}

#[test]
fn quiet_link_is_acked_and_others_are_told_within_50_ms() {
    let mut stage = Stage::new();
    let (mut busy, mut idle) = (stage.open(1, 7), stage.open(2, 8));
    busy.publish(1, false);
    stage.read(&busy);
    let published_ms = stage.now.ms;
    assert_eq!((busy.answers(), idle.answers()), (vec![], vec![]));
    assert!(stage.wait(LOOK_MS));
    assert!(matches!(
        busy.answers()[..],
        [ToPublisher::Ack(ack)] if (ack.sequence, ack.position) == (1, Position(1))
    ));
    while stage.wait(50) {}
    assert!(stage.now.ms <= published_ms + 50);
    assert!(matches!(
        idle.answers()[..],
        [ToPublisher::Moved(moved)] if moved.position == Position(1)
    ));
    // Both are up to date, so nothing wakes the shard.
    assert_eq!(stage.links.due_ms(), u64::MAX);
}

#[test]
fn links_are_told_positions_that_other_shards_landed() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    TestPublisher::greet(&stage.broker, 8).publish(&stage.broker, "news", "1", 0);
    stage.turn();
    while stage.wait(50) {}
    assert!(matches!(link.answers()[..], [ToPublisher::Moved(moved)] if moved.position.0 == 1));
}

/// Publishes without reading answers, until the sidecar reads the link no more.
fn publish_without_reading(stage: &mut Stage, link: &mut Publisher) {
    while stage.links.next_blocked().is_none() {
        link.publish(1, true);
        stage.read(link);
    }
    let landed = stage.landed();
    link.publish(1, true);
    stage.read(link);
    assert_eq!(stage.landed(), landed);
}

#[test]
fn publisher_that_reads_late_is_acked_and_told_the_newest_position() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    TestPublisher::greet(&stage.broker, 8).publish(&stage.broker, "news", "1", 0);
    while stage.wait(1_000) {}
    let mut answers = Vec::new();
    for _ in 0..TURNS {
        answers.extend(link.answers());
        stage.links.writable(link.number, stage.now);
        stage.wait(1_000);
    }
    let acked = answers.iter().rev().find_map(|answer| match answer {
        ToPublisher::Ack(ack) => Some(ack.sequence),
        _ => None,
    });
    assert_eq!(acked, Some(link.sequence));
    let told = answers.iter().rev().find_map(|answer| match answer {
        ToPublisher::Ack(ack) => Some(ack.position),
        ToPublisher::Moved(moved) => Some(moved.position),
        _ => None,
    });
    assert_eq!(told, Some(stage.broker.newest()));
}

#[test]
fn publisher_that_reads_no_answers_does_not_delay_a_stop() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    let landed = stage.landed();
    stage.links.stop(stage.now);
    assert!(stage.served.is_closed());
    assert!(link.is_ended());
    assert_eq!(stage.landed(), landed);
}

#[test]
fn stop_ends_present_and_future_links_with_the_reason() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    link.publish(1, false);
    stage.read(&link);
    assert!(!stage.served.is_closed());
    stage.links.stop(stage.now);
    let answers = link.answers();
    assert!(matches!(
        answers[..],
        [ToPublisher::Ack(ack), ToPublisher::Fault(_)] if ack.sequence == 1
    ));
    assert!(link.is_ended());
    stage.connect(2).assert_ended(codes::LINK_DRAIN);
    assert!(stage.served.is_closed());
}

#[test]
fn replaced_link_ends_with_the_reason_and_another_shards_link_with_nothing() {
    let mut stage = Stage::new();
    let mut older = stage.open(1, 7);
    let mut newer = stage.open(2, 7);
    for inbox in &stage.inboxes {
        assert_eq!(inbox.take(1).replaced_links, [1]);
    }
    stage.links.replace(1, stage.now);
    older.assert_ended(codes::LINK_REPLACED);
    stage.links.replace(100, stage.now);
    newer.publish(1, true);
    stage.read(&newer);
    assert_eq!(newer.answers().len(), 2);
}

#[test]
fn link_without_a_hello_ends_after_5_s() {
    let mut stage = Stage::new();
    let mut silent = stage.connect(1);
    assert!(!stage.wait(4_999));
    assert!(stage.wait(5_000));
    silent.assert_ended(codes::LINK_BAD_FRAME);
}

#[test]
fn publisher_that_does_not_read_the_reason_is_closed_a_second_later() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    publish_without_reading(&mut stage, &mut link);
    stage.links.replace(1, stage.now);
    assert!(stage.served.is_closed());
    assert!(!link.is_ended());
    stage.now.ms += REASON_MS_MAX;
    stage.turn();
    assert!(link.is_ended());
}

#[test]
fn publisher_that_closes_ends_its_link_after_its_last_publication() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    link.publish(1, false);
    link.socket.shutdown(std::net::Shutdown::Write).unwrap();
    // One event reports both.
    stage.links.readable(link.number, true);
    stage.turn();
    stage.turn();
    assert_eq!(stage.landed(), 1);
    assert!(stage.served.is_closed());
    assert!(matches!(link.answers()[..], [ToPublisher::Ack(_)]));
    assert!(link.is_ended());
}

#[test]
fn publications_that_a_publisher_sent_before_it_was_killed_land() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    let count = link.fill();
    drop(link.socket);
    stage.links.readable(link.number, true);
    while stage.wait(TURNS as u64) {}
    assert_eq!(stage.landed(), count);
    assert_eq!(
        link.ended.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    );
}

#[test]
fn shard_sleeps_once_its_last_link_has_ended() {
    let mut stage = Stage::new();
    let link = stage.open(1, 7);
    drop(link.socket);
    stage.links.readable(link.number, true);
    stage.turn();
    stage.turn();
    assert_eq!(stage.links.due_ms(), u64::MAX);

    let link = stage.open(2, 8);
    stage.links.readable(link.number, false);
    stage.links.stop(stage.now);
    stage.turn();
    assert_eq!(stage.links.due_ms(), u64::MAX);
}

#[test]
fn panic_ends_one_link_alone() {
    let mut stage = Stage::encoding(|it| {
        assert!(it.payload.len() < 2, "a fault of the encoder");
        Bytes::copy_from_slice(it.payload)
    });
    let (mut faulty, mut other) = (stage.open(1, 7), stage.open(2, 8));
    faulty.publish(2, false);
    stage.read(&faulty);
    assert!(faulty.is_ended());
    other.publish(1, true);
    stage.read(&other);
    assert_eq!(other.answers().len(), 2);
}

#[test]
fn links_of_a_closed_broker_ack_nothing() {
    let mut stage = Stage::new();
    let mut link = stage.open(1, 7);
    stage.broker.close();
    link.publish(1, true);
    stage.read(&link);
    while stage.wait(1_000) {}
    assert_eq!(stage.landed(), 0);
    assert_eq!(link.answers(), []);
}
