//! Invariants of the map that are absences: what a crate does not depend on, what a file does not hold.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates that take time, randomness and bytes as arguments.
const PURE: [&str; 3] = ["lineside-protocol", "lineside-token", "lineside-hub"];

/// What code that takes time, randomness and bytes as arguments has no use for.
const ABSENT: [&str; 10] = [
    "async ",
    ".await",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "SystemTime",
    "Instant",
    "getrandom",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Every Rust file below, tests left out where they lie beside the code.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|it| it == "rs")
            && path.file_name().is_some_and(|it| it != "tests.rs")
        {
            found.push(path);
        }
    }
    found
}

/// The sources of the workspace but these tests.
fn all_sources() -> Vec<PathBuf> {
    let files = [
        sources(&root().join("crates")),
        sources(&root().join("ext")),
    ]
    .concat();
    assert!(files.len() > 50, "{files:?}");
    files
}

/// The code of a file, without the lines that are only comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names under `[dependencies]` of a crate.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut section = "";
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
            // A dependency with a table of its own.
            if let Some(name) = line.strip_prefix("[dependencies.") {
                names.push(name.trim_end_matches(']').to_owned());
            }
        } else if section == "[dependencies]" {
            let end = line.find(|char: char| !char.is_ascii_alphanumeric() && !"-_".contains(char));
            let name = &line[..end.unwrap_or(line.len())];
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    assert!(
        !names.is_empty(),
        "{} depends on nothing",
        manifest.display()
    );
    names
}

#[test]
fn pure_crates_have_no_io_dependencies() {
    const ALLOWED: [&str; 11] = [
        "lineside-protocol",
        "bytes",
        "serde",
        "serde_json",
        "thiserror",
        "hmac",
        "sha2",
        "base64",
        "hkdf",
        "zeroize",
        "slab",
    ];
    for name in PURE {
        for dependency in dependencies(&root().join("crates").join(name).join("Cargo.toml")) {
            assert!(
                ALLOWED.contains(&dependency.as_str()),
                "{name} depends on {dependency}"
            );
        }
    }
}

#[test]
fn pure_crates_use_no_clock_thread_or_io() {
    for name in PURE {
        for path in sources(&root().join("crates").join(name).join("src")) {
            knows_nothing_of_its_surroundings(&path);
        }
    }
}

#[test]
fn ends_of_the_link_use_no_clock_thread_or_io() {
    let publisher = root().join("crates/lineside-publisher/src");
    let mut ends = [publisher.join("link"), publisher.join("spool")].map(|folder| sources(&folder));
    assert!(ends.iter().all(|files| files.len() > 1), "{ends:?}");
    ends[0].extend(["link.rs", "spool.rs"].map(|file| publisher.join(file)));
    ends[1].push(root().join("crates/lineside/src/link/ingress/session.rs"));
    for path in ends.concat() {
        knows_nothing_of_its_surroundings(&path);
    }
}

fn knows_nothing_of_its_surroundings(path: &Path) {
    let code = code(path);
    for word in ABSENT {
        assert!(!code.contains(word), "{} holds {word}", path.display());
    }
}

#[test]
fn crate_dependencies_match_the_design() {
    for (folder, expected) in [
        ("crates/lineside-protocol", &[][..]),
        ("crates/lineside-token", &["lineside-protocol"]),
        ("crates/lineside-hub", &["lineside-protocol"]),
        ("crates/lineside-publisher", &["lineside-protocol"]),
        (
            "crates/lineside",
            &[
                "lineside-protocol",
                "lineside-hub",
                "lineside-token",
                "lineside-publisher",
            ],
        ),
    ] {
        let all = dependencies(&root().join(folder).join("Cargo.toml"));
        let ours: Vec<&str> = all
            .iter()
            .map(String::as_str)
            .filter(|name| name.starts_with("lineside"))
            .collect();
        assert_eq!(ours, expected, "{folder}");
    }
}

#[test]
fn publisher_depends_on_no_async_runtime() {
    for dependency in dependencies(&root().join("crates/lineside-publisher/Cargo.toml")) {
        assert!(
            !["tokio", "mio", "futures"].contains(&dependency.as_str()),
            "{dependency}"
        );
    }
}

#[test]
fn unsafe_code_is_confined_to_one_file() {
    for path in all_sources() {
        if path.ends_with("ext/lineside/src/gvl.rs") {
            continue;
        }
        let code = code(&path);
        for form in [
            "unsafe {",
            "unsafe fn",
            "unsafe impl",
            "unsafe extern",
            "#[unsafe(",
        ] {
            assert!(!code.contains(form), "{} holds `{form}`", path.display());
        }
    }
}

#[test]
fn no_crate_or_module_has_a_catch_all_name() {
    const BANNED: [&str; 9] = [
        "core", "common", "util", "utils", "helper", "helpers", "manager", "misc", "base",
    ];
    for path in all_sources() {
        let words = path.strip_prefix(root()).unwrap().components();
        for word in words.filter_map(|word| word.as_os_str().to_str()) {
            let word = word.trim_end_matches(".rs");
            assert!(!BANNED.contains(&word), "{}", path.display());
        }
    }
}
