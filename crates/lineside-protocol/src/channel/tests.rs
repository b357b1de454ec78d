use super::*;

#[test]
fn names_of_every_sort_are_taken() {
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
fn what_is_no_name_says_why() {
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
fn only_the_two_prefixes_are_reserved() {
    assert!(is_reserved("user:1") && is_reserved("cable:x") && is_reserved("user:"));
    assert!(!is_reserved("users:1") && !is_reserved("User:1") && !is_reserved("news"));
}
