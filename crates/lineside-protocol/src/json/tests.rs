use super::*;

#[test]
fn depth_counts_open_brackets_outside_strings() {
    for (json, levels) in [
        ("1", 0),
        ("\"[[\"", 0),
        ("\"\\\"[[\"", 0),
        ("[]", 1),
        ("[[],[[]],{}]", 3),
        ("{\"a\":{\"[\":[1]}}", 3),
    ] {
        assert_eq!(nesting_levels(json.as_bytes()), levels, "{json}");
    }
}
