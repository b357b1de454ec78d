//! Checks of JSON values, without building them.

use serde::de::IgnoredAny;

/// Maximum depth of arrays and objects in one payload, in levels.
///
/// Parsers have a limit, and drop the whole message beyond it: Ruby's is 100, the lowest known; serde_json's is 128,
/// Python's is near 1,000.
pub const NESTING_LEVELS_MAX: usize = 100;

/// Checks that a text is one JSON value.
///
/// # Errors
/// Returns the first problem with its line and column.
pub fn check_json(text: &str) -> Result<(), String> {
    let checked = serde_json::from_str::<IgnoredAny>(text);
    checked.map(drop).map_err(|error| error.to_string())
}

/// Returns the depth of arrays and objects in a JSON value, in levels. The value must be valid JSON.
#[must_use]
pub fn nesting_levels(json: &[u8]) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
