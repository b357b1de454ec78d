use proptest::prelude::*;

use super::*;

#[test]
fn names_of_every_kind_are_accepted() {
    for name in [
        "a",
        "orders:7",
        "user:42",
        "cable:books*",
        "☃ snow",
        "gid://app/Order/1",
        &"x".repeat(255),
    ] {
        assert_eq!(check(name), Ok(()), "{name:?}");
    }
    assert_eq!(check(&format!("cable:{}", "x".repeat(1024))), Ok(()));
}

#[test]
fn invalid_name_is_refused_with_the_broken_rule() {
    let long = "x".repeat(256);
    for (name, error) in [
        ("", NameError::Empty),
        ("user:", NameError::Empty),
        ("cable:", NameError::Empty),
        (
            long.as_str(),
            NameError::TooLong {
                bytes: 256,
                max: 255,
            },
        ),
        ("a\nb", NameError::Control),
        ("a\0", NameError::Control),
        ("a\u{85}", NameError::Control),
        ("cable:a\u{7f}", NameError::Control),
        ("news*", NameError::Star),
        ("user:*", NameError::Star),
    ] {
        assert_eq!(check(name), Err(error), "{name:?}");
    }
    let cable = format!("cable:{}", "x".repeat(1025));
    assert_eq!(
        check(&cable),
        Err(NameError::TooLong {
            bytes: 1025,
            max: 1024
        })
    );
}

#[test]
fn only_user_and_cable_prefixes_are_reserved() {
    assert!(is_reserved("user:1") && is_reserved("cable:x") && is_reserved("user:"));
    assert!(!is_reserved("users:1") && !is_reserved("User:1") && !is_reserved("news"));
    for name in ["user:1", "cable:x", "user:", "cable:a*"] {
        assert_eq!(check_shared(name), Err(NameError::Reserved), "{name:?}");
    }
    assert_eq!(check_shared("users:1"), Ok(()));
    assert_eq!(check_shared("a*"), Err(NameError::Star));
}

#[test]
fn user_id_is_accepted_up_to_250_bytes() {
    let long = "x".repeat(251);
    assert_eq!(check_user_id(&long[..250]), Ok(()));
    assert_eq!(
        check_user_id(&long),
        Err(NameError::TooLong {
            bytes: 251,
            max: 250
        })
    );
}

proptest! {
    #[test]
    fn user_id_and_user_channel_pass_the_same_rule(id in prop_oneof![any::<String>(), "[a:*\\n]{0,4}", ".{240,260}"]) {
        prop_assert_eq!(check_user_id(&id).is_ok(), check(&format!("user:{id}")).is_ok());
    }
}
