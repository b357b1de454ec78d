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

#[test]
fn only_one_json_value_passes_the_check() {
    for json in ["1", " null ", "\"a\"", "{\"a\":[1,{}]}"] {
        assert_eq!(check_json(json), Ok(()), "{json}");
    }
    for text in ["", "a", "1 2", "{", "{'a':1}", "[1,]", "NaN"] {
        assert!(check_json(text).is_err(), "{text}");
    }
}
