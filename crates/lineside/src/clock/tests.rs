use super::*;

#[test]
fn a_clock_goes_on_from_where_its_predecessor_stood() {
    let wall_ms = Clock::start().wall_ms();
    let now_ms = Clock::go_on(SavedAt {
        now_ms: 5_000,
        wall_ms,
    })
    .now_ms();
    assert!((5_000..=5_000 + AWAY_MS_MAX).contains(&now_ms), "{now_ms}");
}

#[test]
fn a_step_of_the_wall_clock_ages_nothing_by_more_than_the_limit_and_makes_nothing_younger() {
    assert_eq!(away_ms(1_000, 1_250), 250);
    assert_eq!(away_ms(1_000, 0), 0, "it went back");
    let year_ms = 365 * 24 * 3_600 * 1_000;
    assert_eq!(away_ms(0, year_ms), AWAY_MS_MAX);
    let saved = SavedAt {
        now_ms: 5_000,
        wall_ms: u64::MAX,
    };
    assert!(Clock::go_on(saved).now_ms() >= 5_000);
}
