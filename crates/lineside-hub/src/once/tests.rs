use super::*;

fn land(once: &mut OnceIds, channel: &str, id: &str, position: u64, now_ms: u64) {
    once.land(&channel.into(), id.as_bytes(), Position(position), now_ms);
}

#[test]
fn id_is_scoped_to_its_channel() {
    let mut once = OnceIds::default();
    land(&mut once, "a", "id", 1, 0);
    assert_eq!(once.landing("a", b"id", 0), Some(Position(1)));
    assert_eq!(once.landing("b", b"id", 0), None);
    assert_eq!(
        once.landing("ai", b"d", 0),
        None,
        "channel and id are compared separately"
    );
    assert_eq!(once.landing("a", b"i", 0), None);
}

#[test]
fn id_expires_after_two_minutes() {
    let mut once = OnceIds::default();
    land(&mut once, "a", "id", 1, 1_000);
    assert_eq!(once.landing("a", b"id", 121_000), Some(Position(1)));
    assert_eq!(
        once.landing("a", b"id", 0),
        Some(Position(1)),
        "an earlier time does not expire the id"
    );
    assert_eq!(once.landing("a", b"id", 121_001), None);
    assert!(once.order.is_empty() && once.landed.is_empty());
}

#[test]
fn oldest_id_is_evicted_beyond_the_limit() {
    let mut once = OnceIds::default();
    for number in 0..=IDS_MAX {
        land(&mut once, "a", &number.to_string(), number as u64, 0);
    }
    assert_eq!(once.landing("a", b"0", 0), None);
    assert_eq!(once.landing("a", b"1", 0), Some(Position(1)));
    assert_eq!((once.order.len(), once.landed.len()), (IDS_MAX, IDS_MAX));
}

#[test]
fn id_that_lands_again_has_one_entry() {
    let mut once = OnceIds::default();
    land(&mut once, "a", "id", 1, 0);
    land(&mut once, "a", "id", 2, 0);
    assert_eq!(once.landing("a", b"id", 0), Some(Position(2)));
    assert_eq!(once.order.len(), 1);
}
