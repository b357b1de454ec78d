//! Rules of ARCHITECTURE.md about absences: dependencies that a crate does not have, words that a file does not contain.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Crates without IO: they take time, randomness and bytes as arguments.
const PURE: [&str; 3] = ["lineside-protocol", "lineside-token", "lineside-hub"];

/// Words that code without IO does not contain.
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

/// Every Rust file of a folder, without unit tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|it| it != "tests") {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|it| it == "rs")
            && path.file_name().is_some_and(|it| it != "tests.rs")
        {
            found.push(path);
        }
    }
    found
}

/// Every Rust file of the crates and the extension, without unit tests.
fn all_sources() -> Vec<PathBuf> {
    let files = [
        sources(&root().join("crates")),
        sources(&root().join("ext")),
    ]
    .concat();
    assert!(files.len() > 50, "{files:?}");
    files
}

/// Code of a file, without lines that are only comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Names under `[dependencies]` of a crate.
fn dependencies(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    let mut section = "";
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
            // A dependency in a table of its own.
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
fn crates_without_io_depend_on_no_crate_with_io() {
    const ALLOWED: [&str; 12] = [
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
        // Without its feature `std`.
        "time",
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
fn crates_without_io_contain_no_clock_thread_or_io() {
    for name in PURE {
        for path in sources(&root().join("crates").join(name).join("src")) {
            assert_contains_no_io(&path);
        }
    }
}

#[test]
fn both_ends_of_the_link_contain_no_clock_thread_or_io() {
    let publisher = root().join("crates/lineside-publisher/src");
    let mut ends = [publisher.join("link"), publisher.join("spool")].map(|folder| sources(&folder));
    assert!(ends.iter().all(|files| files.len() > 1), "{ends:?}");
    ends[0].extend(["link.rs", "spool.rs"].map(|file| publisher.join(file)));
    ends[1].push(root().join("crates/lineside/src/session.rs"));
    for path in ends.concat() {
        assert_contains_no_io(&path);
    }
}

fn assert_contains_no_io(path: &Path) {
    let code = code(path);
    for word in ABSENT {
        assert!(!code.contains(word), "{} contains {word}", path.display());
    }
}

/// Imports between the top-level modules of a crate: from each module to the modules that its code names, with one file that
/// does. A submodule counts as its top-level module, and the crate's root and its unit tests do not count.
fn imports(crate_name: &str) -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let src = root().join("crates").join(crate_name).join("src");
    let mut imports: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    let module_of = |path: &Path| {
        let first = path.strip_prefix(&src).unwrap().iter().next().unwrap();
        first.to_str().unwrap().trim_end_matches(".rs").to_owned()
    };
    let mut files = sources(&src);
    files.retain(|path| !["lib", "main"].contains(&module_of(path).as_str()));
    for path in &files {
        imports.entry(module_of(path)).or_default();
    }
    let modules: BTreeSet<String> = imports.keys().cloned().collect();
    for path in &files {
        let module = module_of(path);
        let depth = path.strip_prefix(&src).unwrap().iter().count();
        let named = named_modules(&code(path), depth);
        for name in named
            .into_iter()
            .filter(|name| *name != module && modules.contains(name))
        {
            let of_module = imports.get_mut(&module).unwrap();
            of_module.insert(name, path.clone());
        }
    }
    imports
}

/// First segments of the paths that begin at the crate's root: behind `crate::`, and behind as many `super::` as the file is
/// deep.
fn named_modules(code: &str, depth: usize) -> Vec<String> {
    let supers = "super::".repeat(depth);
    let mut paths: Vec<&str> = code.split("crate::").skip(1).collect();
    paths.extend(code.split(supers.as_str()).skip(1));
    let paths = paths
        .into_iter()
        .flat_map(|path| match path.strip_prefix('{') {
            None => vec![path],
            Some(group) => group_items(group),
        });
    let first_segment = |path: &str| {
        let end = path.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        path[..end.unwrap_or(path.len())].to_owned()
    };
    paths.map(first_segment).collect()
}

/// Items of a group `{a::x, b::{y, z}}`, behind its opening brace.
fn group_items(group: &str) -> Vec<&str> {
    let (mut level, mut start, mut items) = (0, 0, Vec::new());
    for (at, char) in group.char_indices() {
        match char {
            '{' => level += 1,
            '}' if level == 0 => {
                items.push(group[start..at].trim());
                break;
            }
            '}' => level -= 1,
            ',' if level == 0 => {
                items.push(group[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// Modules on a path of imports from `module` back to itself, if there is one.
fn circle(
    imports: &BTreeMap<String, BTreeMap<String, PathBuf>>,
    module: &str,
) -> Option<Vec<String>> {
    let mut visited = BTreeSet::new();
    let mut paths = vec![vec![module.to_owned()]];
    while let Some(path) = paths.pop() {
        for next in imports[path.last().unwrap()].keys() {
            let longer = [&path[..], std::slice::from_ref(next)].concat();
            if next == module {
                return Some(longer);
            }
            if visited.insert(next.clone()) {
                paths.push(longer);
            }
        }
    }
    None
}

#[test]
fn modules_of_the_sidecar_and_the_hub_do_not_import_in_a_circle() {
    for (crate_name, modules_min, imports_min) in [("lineside", 10, 40), ("lineside-hub", 10, 25)] {
        let imports = imports(crate_name);
        // Otherwise the imports were not found, and the test checks nothing.
        let count: usize = imports.values().map(BTreeMap::len).sum();
        assert!(imports.len() >= modules_min, "{crate_name}: {imports:?}");
        assert!(count >= imports_min, "{crate_name}: {imports:?}");
        let circles = imports.keys().filter_map(|module| circle(&imports, module));
        let shown: Vec<String> = circles
            .map(|circle| {
                let steps = circle.windows(2).map(|step| {
                    let file = imports[&step[0]][&step[1]].display();
                    format!("{} imports {} in {file}", step[0], step[1])
                });
                steps.collect::<Vec<_>>().join(", ")
            })
            .collect();
        assert!(
            shown.is_empty(),
            "{crate_name}: import circles\n{}",
            shown.join("\n")
        );
    }
}

#[test]
fn imports_of_a_module_are_found_in_every_form() {
    let code = "use crate::a::B;\nuse crate::{b, c::{D, e}, f};\nfn g(h: &crate::i::J) {}\nuse super::super::k;\nuse super::l;";
    assert_eq!(named_modules(code, 2), ["a", "b", "c", "f", "i", "k"]);
}

#[test]
fn lock_of_the_hub_is_in_the_broker_alone() {
    let src = root().join("crates/lineside/src");
    let holding: Vec<PathBuf> = sources(&src)
        .into_iter()
        .filter(|path| {
            let code = code(path);
            ["Mutex<Hub>", "RwLock<Hub>", "hub.lock("]
                .iter()
                .any(|it| code.contains(it))
        })
        .collect();
    assert_eq!(holding, [src.join("broker.rs")]);
}

#[test]
fn crates_depend_on_each_other_as_architecture_md_says() {
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
fn unsafe_code_is_in_one_file() {
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
            assert!(!code.contains(form), "{} contains `{form}`", path.display());
        }
    }
}

#[test]
fn no_crate_or_module_has_a_vague_name() {
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
