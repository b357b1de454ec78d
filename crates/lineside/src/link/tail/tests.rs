use super::*;

#[test]
fn times_do_not_go_back_when_the_clocks_are_read_a_millisecond_apart() {
    let mut wall = WallTimes {
        clock: Clock::start(),
        ahead_ms: 1_000,
    };
    for (ms, wall_ms) in [(5, 1_005), (6, 1_007), (7, 1_006), (8, 1_008)] {
        assert_eq!(wall.of(ms, Now { ms, wall_ms }), 1_000 + ms);
    }
    // A step of the wall clock.
    let now = Now {
        ms: 9,
        wall_ms: 509,
    };
    assert_eq!(wall.of(9, now), 509);
    assert_eq!(wall.of(8, now), 508);
}
