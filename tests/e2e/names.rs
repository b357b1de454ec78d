//! Channel names: `lineside-protocol` and `lineside-token`, which do not depend on each other, apply the same rule.

use lineside_protocol::channel;
use lineside_token::{ChannelDraft, ConnectionDraft, Grant, Keys, sign_channel, sign_connection};
use proptest::prelude::*;

use crate::support::{SECRET, check_property};

fn keys() -> Keys {
    Keys::parse(SECRET).unwrap()
}

fn opens_as_shared(name: &str) -> bool {
    let draft = ChannelDraft {
        channel: name.into(),
        sub: None,
        ttl_s: 60,
    };
    sign_channel(draft, &keys(), 0).is_ok()
}

fn opens_as_user(sub: &str) -> bool {
    let draft = ConnectionDraft {
        sub: Some(sub.into()),
        ttl_s: 60,
        ..ConnectionDraft::default()
    };
    sign_connection(draft, &keys(), 0).is_ok()
}

/// Checks that both crates decide alike about one text.
fn check_agreement(text: &str) -> Result<(), TestCaseError> {
    let is_shared = channel::check(text).is_ok() && !channel::is_reserved(text);
    prop_assert_eq!(
        opens_as_shared(text),
        is_shared,
        "{:?} as a shared channel",
        text
    );
    let own = channel::check(&format!("user:{text}")).is_ok();
    prop_assert_eq!(opens_as_user(text), own, "{:?} as a user's id", text);
    let everything = Grant::parse("*").unwrap();
    prop_assert_eq!(
        everything.opens(text),
        is_shared,
        "{:?} under a grant of everything",
        text
    );
    Ok(())
}

#[test]
fn both_crates_agree_on_edge_cases_of_channel_names() {
    let of_bytes = |count: usize| "x".repeat(count);
    let texts = [
        String::new(),
        " ".into(),
        "a".into(),
        "*".into(),
        "a*".into(),
        "a:*".into(),
        "user".into(),
        "user:".into(),
        "user:1".into(),
        "USER:1".into(),
        "user:user:1".into(),
        " user:1".into(),
        "cable".into(),
        "cable:".into(),
        "cable:x".into(),
        "a\0".into(),
        "a\n".into(),
        "\u{7f}".into(),
        "\u{80}".into(),
        "\u{9f}".into(),
        "\u{a0}".into(),
        "\u{ad}".into(),
        "\u{200b}".into(),
        "\u{202e}".into(),
        "\u{2028}".into(),
        "\u{feff}".into(),
        "\u{fffd}".into(),
        "\u{10ffff}".into(),
        "é".into(),
        "e\u{301}".into(),
        "..".into(),
        "a/b?c#d".into(),
        of_bytes(249),
        of_bytes(250),
        of_bytes(251),
        of_bytes(254),
        of_bytes(255),
        of_bytes(256),
        of_bytes(1024),
        of_bytes(1025),
        "é".repeat(127),
        "é".repeat(128),
        format!("cable:{}", of_bytes(300)),
        format!("user:{}", of_bytes(250)),
        format!("user:{}", of_bytes(251)),
    ];
    for text in texts {
        check_agreement(&text).unwrap();
    }
}

#[test]
fn both_crates_agree_on_random_channel_names() {
    let part = prop_oneof![
        Just("user:".to_owned()),
        Just("cable:".into()),
        Just("*".into()),
        Just(":".into()),
        ".{0,6}",
        "\\PC{0,90}"
    ];
    let texts = prop_oneof![
        any::<String>(),
        prop::collection::vec(part, 0..5).prop_map(|parts| parts.concat())
    ];
    check_property(11, 2_000, &texts, |text| check_agreement(&text));
}
