use std::collections::HashSet;

use super::*;

/// Returns the text of `docs/codes.md`.
fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/codes.md");
    std::fs::read_to_string(path).expect("docs/codes.md is part of the repository")
}

fn rows(document: &str, heading: &str) -> Vec<String> {
    let section = document
        .split(&format!("## {heading}\n"))
        .nth(1)
        .expect("the heading is in docs/codes.md");
    let section = section.split("\n## ").next().unwrap_or_default();
    section
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .map(str::to_owned)
        .collect()
}

#[test]
fn document_contains_exactly_these_tables() {
    let document = document();
    let numbered =
        |number: u16, name: &str, meaning: &str| format!("| {number} | `{name}` | {meaning} |");
    let errors: Vec<_> = ERROR_CODES
        .iter()
        .map(|code| format!("| `{}` | {} |", code.name, code.meaning))
        .collect();
    let closes: Vec<_> = CLOSE_CODES
        .iter()
        .map(|code| numbered(code.number, code.name, code.meaning))
        .collect();
    let links: Vec<_> = LINK_CODES
        .iter()
        .map(|code| numbered(code.number, code.name, code.meaning))
        .collect();
    assert_eq!(rows(&document, "Errors"), errors);
    assert_eq!(rows(&document, "Close codes"), closes);
    assert_eq!(rows(&document, "Codes of the link"), links);
}

#[test]
fn numbers_and_names_are_unique() {
    let closes: HashSet<_> = CLOSE_CODES.iter().map(|code| code.number).collect();
    let links: HashSet<_> = LINK_CODES.iter().map(|code| code.number).collect();
    let errors: HashSet<_> = ERROR_CODES.iter().map(|code| code.name).collect();
    assert_eq!(
        (closes.len(), links.len(), errors.len()),
        (CLOSE_CODES.len(), LINK_CODES.len(), ERROR_CODES.len())
    );
}

#[test]
fn close_reason_fits_a_control_frame() {
    // RFC 6455 §5.5: a control frame carries at most 125 bytes, two of which are the number.
    assert!(CLOSE_CODES.iter().all(|code| code.name.len() <= 123));
}
