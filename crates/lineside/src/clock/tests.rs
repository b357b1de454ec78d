use super::*;

#[test]
fn clock_continues_the_clock_of_the_previous_sidecar() {
    let wall_ms = Clock::start().wall_ms();
    let now_ms = Clock::go_on(SavedAt {
        now_ms: 5_000,
        wall_ms,
    })
    .now_ms();
    assert!((5_000..=5_000 + AWAY_MS_MAX).contains(&now_ms), "{now_ms}");
}

#[test]
fn time_between_two_sidecars_is_between_zero_and_the_limit() {
    assert_eq!(away_ms(1_000, 1_250), 250);
    assert_eq!(away_ms(1_000, 0), 0, "the wall clock went back");
    let year_ms = 365 * 24 * 3_600 * 1_000;
    assert_eq!(away_ms(0, year_ms), AWAY_MS_MAX);
    let saved = SavedAt {
        now_ms: 5_000,
        wall_ms: u64::MAX,
    };
    assert!(Clock::go_on(saved).now_ms() >= 5_000);
}
