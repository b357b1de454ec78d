use lineside_protocol::Position;

use super::*;

fn publication(channel: &str, body: &'static str) -> Arc<Publication> {
    let body = Bytes::from_static(body.as_bytes());
    Arc::new(Publication {
        position: Position(1),
        channel: channel.into(),
        body,
        at_ms: 0,
    })
}

/// All that one write would take.
fn next_write(outbox: &Outbox) -> String {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = outbox.slices(&mut slices);
    let bytes = slices[..count]
        .iter()
        .flat_map(|slice| slice.to_vec())
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// A frame, a publication, a replay of two, and a publication behind it.
fn mixed() -> Outbox {
    let mut outbox = Outbox::default();
    outbox.push_frame(Bytes::from_static(b"frame,"));
    outbox.push_publication(&publication("a", "one,"));
    outbox.push_replay(vec![publication("a", "two,"), publication("b", "three,")]);
    outbox.push_publication(&publication("b", "four"));
    outbox
}

#[test]
fn everything_leaves_in_order_however_it_is_cut() {
    let all = "frame,one,two,three,four";
    for first in 0..=all.len() {
        for second in first..=all.len() {
            let mut outbox = mixed();
            outbox.advance(first);
            assert_eq!(next_write(&outbox), all[first..]);
            outbox.advance(second - first);
            assert_eq!(next_write(&outbox), all[second..]);
            assert_eq!(outbox.is_empty(), second == all.len());
            outbox.advance(all.len() - second);
            assert!(outbox.is_empty() && outbox.bytes() == 0 && !outbox.has_replay());
        }
    }
}

#[test]
fn bytes_count_what_is_unwritten_without_replays_and_what_waits_behind_them() {
    let mut outbox = mixed();
    for written in 0..24_usize {
        assert_eq!(
            outbox.bytes(),
            10_usize.saturating_sub(written),
            "after {written} bytes"
        );
        assert!(outbox.has_replay());
        outbox.advance(1);
    }
}

#[test]
fn a_write_is_bounded_in_frames_and_bytes() {
    let mut outbox = Outbox::default();
    for _ in 0..=SLICES_MAX {
        outbox.push_publication(&publication("a", "x"));
    }
    assert_eq!(next_write(&outbox).len(), SLICES_MAX);

    let mut outbox = Outbox::default();
    for _ in 0..3 {
        outbox.push_frame(vec![b'x'; WRITE_BYTES_MAX - 1].into());
    }
    assert_eq!(next_write(&outbox).len(), 2 * (WRITE_BYTES_MAX - 1));
}

#[test]
fn what_is_forgotten_of_a_channel_is_all_but_a_frame_that_is_begun() {
    let mut outbox = mixed();
    outbox.forget("a");
    assert_eq!(next_write(&outbox), "frame,three,four");
    assert_eq!(outbox.bytes(), 6);

    let mut begun = mixed();
    begun.advance(7);
    begun.forget("a");
    assert_eq!(next_write(&begun), "ne,three,four");
    assert_eq!(begun.bytes(), 3);

    let mut begun_replay = mixed();
    begun_replay.advance(15);
    begun_replay.forget("b");
    assert_eq!(next_write(&begun_replay), "hree,");
    begun_replay.advance(5);
    assert!(begun_replay.is_empty() && begun_replay.bytes() == 0);

    let mut begun_frame = mixed();
    begun_frame.advance(1);
    begun_frame.forget("a");
    begun_frame.forget("b");
    assert_eq!(next_write(&begun_frame), "rame,");
}

#[test]
fn what_is_abandoned_is_all_but_a_frame_that_is_begun() {
    for (written, rest) in [
        (0, ""),
        (1, "rame,"),
        (7, "ne,"),
        (11, "wo,"),
        (14, ""),
        (15, "hree,"),
        (21, "our"),
    ] {
        let mut outbox = mixed();
        outbox.advance(written);
        outbox.abandon();
        assert_eq!(next_write(&outbox), rest, "after {written} bytes");
        outbox.push_frame(Bytes::from_static(b"why"));
        assert_eq!(next_write(&outbox), format!("{rest}why"));
        outbox.advance(rest.len() + 3);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}

#[test]
fn a_drained_outbox_gives_its_room_back() {
    let mut outbox = Outbox::default();
    assert_eq!(outbox.items.capacity(), 0);
    for _ in 0..1_000 {
        outbox.push_publication(&publication("a", "x"));
    }
    outbox.advance(1_000);
    assert!(outbox.items.capacity() <= ITEMS_KEPT);
    assert_eq!(size_of::<Item>(), 16);
}

#[test]
fn what_waits_behind_a_replay_has_an_end() {
    let mut outbox = Outbox::default();
    let large = vec![b'x'; BEHIND_BYTES_MAX / 2];
    let large = Arc::new(Publication {
        position: Position(1),
        channel: "a".into(),
        body: large.into(),
        at_ms: 0,
    });
    outbox.push_replay(vec![publication("a", "old")]);
    outbox.push_frame(Bytes::from_static(b"caught up"));
    outbox.push_publication(&large);
    outbox.push_publication(&large);
    assert_eq!(outbox.bytes(), 9, "the frame alone");
    outbox.push_publication(&publication("a", "live"));
    assert_eq!(outbox.bytes(), 13, "beyond the limit it is counted");
    outbox.advance(3 + 9 + BEHIND_BYTES_MAX);
    assert!(!outbox.has_replay());
    assert_eq!((next_write(&outbox).as_str(), outbox.bytes()), ("live", 4));
    outbox.advance(4);
    outbox.push_publication(&publication("a", "live"));
    assert_eq!(
        outbox.bytes(),
        4,
        "with no replay under way it is counted at once"
    );
    outbox.push_replay(vec![publication("a", "old")]);
    outbox.push_publication(&large);
    assert_eq!(
        outbox.bytes(),
        4,
        "behind the next replay there is room again"
    );
}

#[test]
fn a_write_that_goes_on_with_a_publication_does_not_begin_with_one() {
    let mut outbox = Outbox::default();
    outbox.push_publication(&publication("a", "one"));
    assert_eq!(outbox.begins_with_ms(), Some(0));
    outbox.advance(1);
    assert_eq!(outbox.begins_with_ms(), None);
}
