//! RFC 6455 by the Autobahn test suite, which plays the browser: `bin/test conformance`.
//!
//! Of its groups, 12 and 13 are left out: they are about compression, which the sidecar never negotiates. The suite needs
//! CPython 2.7 and lives in a Debian root that has it, which `setup` beside this file makes.

mod echo;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Groups of cases: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, and autofragmentation.
const GROUPS: [&str; 9] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
];

/// Cases that version 25.10.1 of the suite has in these groups.
const CASES: usize = 301;

/// Where text that is not UTF-8 may be told at the end of its message instead of at its first wrong byte: cases that cut
/// a frame's payload in the middle. RFC 6455 §8.1 leaves the moment open.
const NON_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

/// Seconds for the whole suite; it took 47 on two cores.
const SECONDS_MAX: &str = "600";

/// The verdict of the suite on one case.
#[derive(Debug, serde::Deserialize)]
struct Case {
    behavior: String,
    #[serde(rename = "behaviorClose")]
    close: String,
}

#[test]
fn every_case_of_the_suite_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tmp/conformance/root");
    assert!(root.exists(), "run this by bin/test conformance");
    let cases = run_suite(&root);
    let mut counts = BTreeMap::<&str, usize>::new();
    for case in cases.values() {
        *counts.entry(&case.behavior).or_default() += 1;
    }
    println!("{} cases: {counts:?}", cases.len());
    let failed: Vec<_> = cases
        .iter()
        .filter(|(id, case)| !passes(id, case))
        .collect();
    assert!(failed.is_empty(), "failed: {failed:#?}");
    assert_eq!(cases.len(), CASES, "cases that ran");
}

fn passes(id: &str, case: &Case) -> bool {
    let behaves = match case.behavior.as_str() {
        "OK" | "INFORMATIONAL" => true,
        "NON-STRICT" => NON_STRICT.contains(&id),
        _ => false,
    };
    behaves && matches!(case.close.as_str(), "OK" | "INFORMATIONAL")
}

/// Lets the suite loose on the echo; its verdicts by the case's number.
fn run_suite(root: &Path) -> BTreeMap<String, Case> {
    let address = echo::start().expect("the echo listens");
    let reports = root.join("tmp/reports");
    match std::fs::remove_dir_all(&reports) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        Err(_) | Ok(()) => {}
    }
    let spec = serde_json::json!({
        "servers": [{ "agent": "lineside", "url": format!("ws://{address}") }],
        "cases": GROUPS,
        "exclude-cases": [],
        "exclude-agent-cases": {},
        "outdir": "/tmp/reports",
    });
    std::fs::write(root.join("tmp/spec.json"), spec.to_string()).expect("the root is ours");
    let status = Command::new("timeout")
        .arg(SECONDS_MAX)
        .arg("chroot")
        .arg(root)
        .args([
            "wstest",
            "--mode",
            "fuzzingclient",
            "--spec",
            "/tmp/spec.json",
        ])
        .env_clear()
        .env("HOME", "/tmp")
        .env("PATH", "/usr/sbin:/usr/local/bin:/usr/bin:/bin")
        .stdout(Stdio::null())
        .status()
        .expect("timeout and chroot are there");
    assert!(status.success(), "the suite itself: {status}");
    let index = std::fs::read(reports.join("index.json")).expect("the suite wrote its report");
    let mut agents: BTreeMap<String, BTreeMap<String, Case>> =
        serde_json::from_slice(&index).expect("the report is as version 25.10.1 writes it");
    agents.remove("lineside").expect("the report is about us")
}
