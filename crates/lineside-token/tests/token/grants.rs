//! Channels that grants open.

use lineside_protocol::channel::{NAME_BYTES_MAX, NameError};
use lineside_token::Grant;
use proptest::prelude::*;

fn grant(text: &str) -> Grant {
    Grant::parse(text).expect("a grant")
}

#[test]
fn grant_opens_exactly_the_matching_channels() {
    for (text, opened, closed) in [
        (
            "news",
            &["news"][..],
            &["new", "newss", "News", "news:1", "news ", ""][..],
        ),
        (
            "chat:*",
            &["chat:", "chat:1", "chat:a:b"],
            &["chat", "chats:1", "Chat:1", " chat:1", "chat:*", "chat:\0"],
        ),
        ("a:b:*", &["a:b:c"], &["a:b", "a:c", "a:*"]),
        (
            "*",
            &["news", "chat:1", "..", "user", "cables:1"],
            &["", "*", "a*", "a\nb", "user:42", "cable:x", "user:"],
        ),
        ("us:*", &["us:er:42"], &["user:42"]),
        ("user:*", &[], &["user:42", "user:", "user:*", "news"]),
        ("user:42", &[], &["user:42"]),
        ("cable:*", &[], &["cable:x", "cable:*"]),
        // Cable streams may contain `*`, and are reserved.
        ("cable:a*b", &[], &["cable:a*b"]),
    ] {
        let grant = grant(text);
        assert_eq!(grant.as_str(), text);
        for channel in opened {
            assert!(grant.opens(channel), "{text:?} must open {channel:?}");
        }
        for channel in closed {
            assert!(!grant.opens(channel), "{text:?} must not open {channel:?}");
        }
    }
}

#[test]
fn similar_looking_names_are_different() {
    // Composed and decomposed é, Latin and Cyrillic a, a zero-width space.
    for (text, twin) in [
        ("caf\u{e9}", "cafe\u{301}"),
        ("a:*", "\u{430}:1"),
        ("news", "news\u{200b}"),
    ] {
        assert!(!grant(text).opens(twin), "{text:?} must not open {twin:?}");
    }
}

#[test]
fn invalid_grant_is_refused_with_the_broken_rule() {
    let long = "é".repeat(128);
    for (text, error) in [
        ("", NameError::Empty),
        ("u*", NameError::Star),
        ("user*", NameError::Star),
        ("**", NameError::Star),
        ("*:*", NameError::Star),
        ("a:**", NameError::Star),
        ("a*b", NameError::Star),
        ("*a", NameError::Star),
        ("a\u{7f}", NameError::Control),
        ("a\u{85}:*", NameError::Control),
        ("a\0", NameError::Control),
        (
            long.as_str(),
            NameError::TooLong {
                bytes: 256,
                max: NAME_BYTES_MAX,
            },
        ),
    ] {
        assert_eq!(Grant::parse(text), Err(error), "{text:?}");
    }
    assert!(grant("*").opens(&"x".repeat(255)));
    assert!(!grant("*").opens(&long));
    assert!(!grant("*").opens(&"x".repeat(10 * 1024)));
}

/// Grants: arbitrary texts, and every accepted form.
fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z:]{1,12}",
        "(user:|cable:|u|us|c|:)?[a-z0-9:]{0,4}:\\*",
        Just("*".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_grant_opens_a_reserved_name(text in texts(), prefix in "user:|cable:", rest in any::<String>()) {
        let channel = prefix + &rest;
        for text in [&text, &channel, &format!("{channel}:*"), "*", "user:*", "cable:*"] {
            if let Ok(grant) = Grant::parse(text) {
                prop_assert!(!grant.opens(&channel), "{text:?} opened {channel:?}");
            }
        }
    }

    #[test]
    fn prefix_opens_only_names_that_begin_with_it(stem in "[^*\\p{Cc}]{0,9}:", name in any::<String>()) {
        let grant = grant(&format!("{stem}*"));
        prop_assert!(!grant.opens(&name) || name.starts_with(&stem));
        let below = stem.clone() + &name;
        if grant.opens(&below) {
            prop_assert!(!below.starts_with("user:") && !below.starts_with("cable:"));
            prop_assert!(below.len() <= NAME_BYTES_MAX && !below.contains('*') && !below.chars().any(char::is_control));
        }
    }

    #[test]
    fn exact_name_opens_only_itself(text in "[^*\\p{Cc}]{1,20}", name in any::<String>()) {
        let reserved = text.starts_with("user:") || text.starts_with("cable:");
        let grant = grant(&text);
        prop_assert_eq!(grant.opens(&text), !reserved);
        prop_assert!(name == text || !grant.opens(&name));
    }
}
