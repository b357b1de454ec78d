//! RFC 6455 conformance by the Autobahn test suite as the client: `bin/test conformance`.
//!
//! Groups 12 and 13 are not run: they test compression, which the sidecar never negotiates. The suite needs CPython 2.7, so the
//! script `setup` installs it in a Debian root.

mod echo;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Groups that are run: framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, limits, autofragmentation.
const GROUPS: [&str; 9] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*",
];

/// Number of cases in these groups in version 25.10.1 of the suite.
const CASES: usize = 301;

/// Cases in which invalid UTF-8 may be reported at the end of the message instead of at its first invalid byte, because they
/// send a payload in parts. RFC 6455 §8.1 allows both.
const NON_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];

/// Time-out of the suite, in seconds. It took 47 s on two cores.
const SECONDS_MAX: &str = "600";

/// Result of one case.
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

/// Runs the suite against the echo server. Returns the results by case number.
fn run_suite(root: &Path) -> BTreeMap<String, Case> {
    let address = echo::start().expect("the echo server listens");
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
    std::fs::write(root.join("tmp/spec.json"), spec.to_string()).expect("the root is writable");
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
        .expect("timeout and chroot run");
    assert!(status.success(), "the suite failed: {status}");
    let index = std::fs::read(reports.join("index.json")).expect("the suite wrote its report");
    let mut agents: BTreeMap<String, BTreeMap<String, Case>> =
        serde_json::from_slice(&index).expect("a report of version 25.10.1");
    agents
        .remove("lineside")
        .expect("the report has results for lineside")
}
