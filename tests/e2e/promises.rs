//! Checks that every promise of docs/reliability.md and docs/security.md names tests that exist, and that every fault run
//! is named there (P-06).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// Files below `folder` whose name has this ending. Leaves out folders of build output and installed packages.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !["target", "node_modules", "tmp"].contains(&name.as_str()) {
            found.extend(files(&path, ending));
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Names of the tests in Rust sources: functions under `#[test]`, including those inside a macro call.
fn rust_tests(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in files(folder, ".rs") {
        let text = fs::read_to_string(path).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            if line == "#[test]" {
                is_test = true;
            } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
                names.insert(rest.split('(').next().unwrap().to_owned());
                is_test = false;
            }
        }
    }
    names
}

/// Quoted texts that follow one of these words at the beginning of a line.
fn quoted(text: &str, words: &[&str]) -> Vec<String> {
    let lines = text.lines().map(str::trim_start);
    let names = lines.filter_map(|line| {
        let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
        let quote = rest.trim_start_matches([' ', '(']).chars().next()?;
        if !"\"'`".contains(quote) {
            return None;
        }
        rest.split(quote).nth(1).map(ToOwned::to_owned)
    });
    names.collect()
}

/// Descriptions of the examples in Ruby and of the tests in Node.
fn described_tests() -> BTreeSet<String> {
    let of = |folder: &str, ending: &str, words: &[&str]| {
        let paths = files(&root().join(folder), ending).into_iter();
        paths
            .flat_map(|path| quoted(&fs::read_to_string(path).unwrap(), words))
            .collect::<Vec<_>>()
    };
    let ruby = of("spec", "_spec.rb", &["it", "RSpec.describe", "describe"]);
    let node = of("tests/browser", ".test.mjs", &["test"]);
    ruby.into_iter().chain(node).collect()
}

/// One row of the table of promises.
struct Promise {
    id: String,
    /// Texts between backticks in the column "proof".
    proofs: Vec<String>,
    seen: String,
}

fn promises() -> Vec<Promise> {
    let text = fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
        let is_id = |id: &str| {
            id.split_once('-').is_some_and(|(group, number)| {
                group.len() == 1
                    && !number.is_empty()
                    && number.chars().all(|it| it.is_ascii_digit())
            })
        };
        if !is_id(cells[0]) {
            return None;
        }
        assert_eq!(cells.len(), 5, "id, promise, proof, seen: {line}");
        Some(Promise {
            id: cells[0].into(),
            proofs: cells[2]
                .split('`')
                .skip(1)
                .step_by(2)
                .map(Into::into)
                .collect(),
            seen: cells[3].into(),
        })
    });
    rows.collect()
}

/// Names of all tests.
fn tests() -> BTreeSet<String> {
    let mut tests = rust_tests(&root().join("crates"));
    tests.extend(rust_tests(&root().join("tests")));
    tests.extend(described_tests());
    tests
}

#[test]
fn security_promises_name_existing_tests() {
    let text = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let tables = text.split("| | promise | test |\n|---|---|---|\n").skip(1);
    let rows: Vec<&str> = tables
        .flat_map(|table| table.lines().take_while(|line| line.starts_with('|')))
        .collect();
    assert!(rows.len() >= 15, "{rows:?}");
    let tests = tests();
    for row in rows {
        let cells: Vec<_> = row.split('|').collect();
        assert_eq!(cells.len(), 5, "id, promise, tests: {row}");
        let proofs: Vec<_> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!proofs.is_empty(), "no test is named: {row}");
        for proof in proofs {
            let exists = tests.contains(proof) || root().join("crates").join(proof).is_file();
            assert!(exists, "the test `{proof}` does not exist: {row}");
        }
    }
}

#[test]
fn reliability_promises_name_existing_tests() {
    let tests = tests();
    let promises = promises();
    assert!(promises.len() >= 15, "{} rows", promises.len());
    for Promise { id, proofs, seen } in promises {
        assert!(!proofs.is_empty(), "{id} names no test");
        assert!(!seen.is_empty(), "{id} has no result");
        for proof in proofs {
            // A command or a setting of the run.
            if !proof.starts_with("bin/") && !proof.starts_with("LINESIDE_") {
                assert!(
                    tests.contains(&proof),
                    "{id} names the test `{proof}`, which does not exist"
                );
            }
        }
    }
}

#[test]
fn every_fault_run_is_named_by_a_promise() {
    let proofs: BTreeSet<_> = promises().into_iter().flat_map(|it| it.proofs).collect();
    let mut runs = rust_tests(&root().join("tests/faults"));
    // The proxy's tests check the test tools.
    for own in rust_tests(&root().join("tests/faults/proxy")) {
        runs.remove(&own);
    }
    assert!(runs.len() >= 15, "{runs:?}");
    for run in runs {
        assert!(proofs.contains(&run), "no promise names the run {run}");
    }
}
