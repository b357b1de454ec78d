use lineside_protocol::codes::{LINK_BAD_CHANNEL, LINK_TOO_LARGE, LinkCode};
use lineside_protocol::frame::Revoke;

use super::*;
use crate::rejection::Rejection;
use crate::validation::{Change, Proposal};

fn revocation(user: &str, session: Option<&str>, until_ms: u64) -> Arc<Revocation> {
    Arc::new(Revocation {
        user: user.to_owned(),
        session: session.map(str::to_owned),
        until_ms,
    })
}

/// Revocation of a revoke frame that arrives at time 1,000.
fn validate(sub: &[u8], sid: &[u8], revoked_ms: u64) -> Result<Arc<Revocation>, LinkCode> {
    let frame = Revoke {
        sequence: 1,
        wants_receipt: false,
        revoked_ms,
        sub: sub.to_vec().into(),
        sid: sid.to_vec().into(),
    };
    match Proposal::revoke(&frame, 1000, None).change {
        Change::Revoke(revocation) => Ok(revocation),
        Change::Reject(Rejection { code, message }) => {
            assert!(!message.contains('\n'), "{message}");
            Err(code)
        }
        change => panic!("{change:?}"),
    }
}

#[test]
fn tokens_issued_up_to_the_time_are_revoked() {
    let mut revocations = Revocations::default();
    assert!(!revocations.is_revoked("1", None, 0));
    revocations.add(revocation("1", None, 500), 0);
    assert!(revocations.is_revoked("1", None, 500));
    assert!(!revocations.is_revoked("1", None, 501));
    assert!(revocations.is_revoked("1", Some("phone"), 500));
    assert!(!revocations.is_revoked("2", None, 500));
}

#[test]
fn session_is_revoked_without_the_rest_of_the_user() {
    let mut revocations = Revocations::default();
    revocations.add(revocation("1", Some("phone"), 500), 0);
    assert!(revocations.is_revoked("1", Some("phone"), 500));
    for (user, session) in [("1", None), ("1", Some("tab")), ("2", Some("phone"))] {
        assert!(!revocations.is_revoked(user, session, 500));
    }
    // User ids hold no control character, so the first separator ends the user id. Sessions may hold the separator.
    revocations.add(revocation("1", Some("a\0b"), 500), 0);
    assert!(!revocations.is_revoked("1", Some("a"), 500));
}

#[test]
fn earlier_time_does_not_weaken_a_revocation() {
    let mut revocations = Revocations::new(1);
    for until_ms in [500, 400, 600, 100] {
        revocations.add(revocation("1", None, until_ms), 0);
    }
    assert!(revocations.is_revoked("1", None, 600));
    assert!(!revocations.is_revoked("1", None, 601));
}

#[test]
fn oldest_revocation_of_a_full_table_counts_for_all_users() {
    let mut revocations = Revocations::new(3);
    for (user, until_ms) in [("1", 500), ("2", 510), ("3", 520)] {
        revocations.add(revocation(user, None, until_ms), 0);
    }
    assert_eq!(revocations.all_users_ms(), None);
    for (user, until_ms, all_ms) in [("4", 530, 510), ("5", 540, 520), ("5", 550, 520)] {
        revocations.add(revocation(user, None, until_ms), 100);
        assert_eq!(revocations.all_users_ms(), Some(all_ms));
        assert_eq!(revocations.revoked.len(), 3);
    }
    for (user, until_ms) in [("1", 500), ("2", 510), ("3", 520), ("4", 530), ("5", 550)] {
        assert!(revocations.is_revoked(user, None, until_ms), "{user}");
    }
    assert!(revocations.is_revoked("6", Some("phone"), 520));
    assert!(!revocations.is_revoked("6", None, 521));
    revocations.expire(100 + REVOCATION_MS);
    assert!(revocations.is_revoked("6", None, 520));
    revocations.expire(101 + REVOCATION_MS);
    assert_eq!(revocations.all_users_ms(), None);
}

#[test]
fn many_revoked_sessions_of_a_user_become_all_of_its_sessions() {
    let mut revocations = Revocations::default();
    let session = |number: usize| format!("session {number}");
    for number in 0..REVOKED_SESSIONS_MAX {
        let one = revocation("1", Some(&session(number)), 500 + number as u64);
        assert_eq!(revocations.add(Arc::clone(&one), 0), one);
        // Again, and of another user with a similar id.
        revocations.add(one, 0);
        revocations.add(revocation("11", Some(&session(number)), 500), 0);
    }
    assert!(!revocations.is_revoked("1", None, 0));
    let last = revocation("1", Some("last"), 400);
    let newest_ms = 499 + REVOKED_SESSIONS_MAX as u64;
    assert_eq!(revocations.add(last, 0), revocation("1", None, newest_ms));
    assert!(revocations.is_revoked("1", None, newest_ms));
    assert!(revocations.is_revoked("1", Some("any other"), newest_ms));
    assert!(!revocations.is_revoked("1", None, newest_ms + 1));
    assert!(!revocations.is_revoked("11", None, 0));
    assert_eq!(revocations.revoked.len(), 1 + REVOKED_SESSIONS_MAX);
}

#[test]
fn revocation_of_all_sessions_removes_the_older_ones_of_single_sessions() {
    let mut revocations = Revocations::default();
    revocations.add(revocation("1", Some("old"), 500), 0);
    revocations.add(revocation("1", Some("new"), 501), 0);
    revocations.add(revocation("1", None, 500), 0);
    assert_eq!(revocations.revoked.len(), 2);
    assert!(revocations.is_revoked("1", Some("new"), 501));
    assert!(!revocations.is_revoked("1", Some("old"), 501));
}

#[test]
fn user_or_session_that_no_token_can_hold_is_rejected() {
    assert_eq!(validate(b"1", b"", 7), Ok(revocation("1", None, 7)));
    assert_eq!(
        validate(b"1", b"phone", 7),
        Ok(revocation("1", Some("phone"), 7))
    );
    let long = [b'x'; 251];
    for sub in [&b""[..], b"\xff", b"a*", b"a\nb", &long] {
        assert_eq!(validate(sub, b"", 7), Err(LINK_BAD_CHANNEL));
    }
    assert_eq!(validate(b"1", b"\xff", 7), Err(LINK_BAD_CHANNEL));
    assert_eq!(validate(b"1", &[b'x'; 256], 7), Err(LINK_TOO_LARGE));
    assert!(validate(b"1", &[b'x'; 255], 7).is_ok());
}

#[test]
fn revocation_time_is_limited_to_the_latest_issue_time() {
    assert_eq!(validate(b"1", b"", 1001), Ok(revocation("1", None, 1000)));
    assert_eq!(
        validate(b"1", b"", u64::MAX),
        Ok(revocation("1", None, 1000))
    );
}

#[test]
fn revocation_lives_by_the_monotonic_clock() {
    let mut revocations = Revocations::default();
    revocations.add(revocation("1", None, 500), 1_000);
    revocations.note_wall(u64::MAX);
    revocations.expire(1_000 + REVOCATION_MS);
    assert!(revocations.is_revoked("1", None, 500));
    revocations.expire(1_001 + REVOCATION_MS);
    assert!(!revocations.is_revoked("1", None, 500));
}

#[test]
fn newest_reading_counts_until_a_clock_that_was_set_back_has_caught_up() {
    const WALL_MS: u64 = 1_800_000_000_000;
    let mut revocations = Revocations::default();
    revocations.note_wall(WALL_MS);
    assert_eq!(revocations.set_back_from_ms(WALL_MS), None);
    for back_ms in [1, 2_000, SET_BACK_MS_MAX] {
        revocations.note_wall(WALL_MS - back_ms);
        let from_ms = Some(WALL_MS + READING_MS);
        assert_eq!(revocations.set_back_from_ms(WALL_MS - back_ms), from_ms);
        assert_eq!(revocations.set_back_from_ms(WALL_MS - 1), from_ms);
        assert_eq!(revocations.set_back_from_ms(WALL_MS), None);
    }
    // A reading that is further ahead was wrong.
    let far_ms = WALL_MS - SET_BACK_MS_MAX - 1;
    assert_eq!(revocations.set_back_from_ms(far_ms), None);
    revocations.note_wall(far_ms);
    assert_eq!(
        revocations.set_back_from_ms(far_ms - 1),
        Some(far_ms + READING_MS)
    );
}

/// Compares the table with a list of all revocations, in seeded runs with few users, sessions and times.
#[test]
fn table_agrees_with_a_list_of_all_revocations() {
    for seed in 0..500 {
        let mut state: u64 = seed;
        let mut below = |count: u64| {
            // Linear congruential generator with the constants of MMIX (Knuth). Its high bits have the longest period.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % count
        };
        const SESSIONS: [Option<&str>; 3] = [None, Some("a"), Some("b")];
        let mut revocations = Revocations::default();
        let mut all: Vec<Arc<Revocation>> = Vec::new();
        let mut now_ms = REVOCATION_MS;
        for _ in 0..100 {
            now_ms += below(3) * (REVOCATION_MS / 4);
            let (user, session) = (
                below(3).to_string(),
                SESSIONS[usize::try_from(below(3)).unwrap()],
            );
            let at_ms = now_ms - below(10);
            match below(3) {
                0 => {
                    let it = revocation(&user, session, at_ms);
                    revocations.add(Arc::clone(&it), now_ms);
                    all.push(it);
                }
                1 => revocations.expire(now_ms),
                _ => {
                    let revoked = all
                        .iter()
                        .any(|it| it.user == user && it.covers(session, at_ms));
                    assert_eq!(
                        revocations.is_revoked(&user, session, at_ms),
                        revoked,
                        "seed {seed}"
                    );
                }
            }
            assert_eq!(revocations.revoked.len(), revocations.order.len());
        }
    }
}
