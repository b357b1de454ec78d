//! Ruby processes with the built gem.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::load::Load;
use crate::proxy::End;
use crate::publishing::Publishing;
use crate::support::{SECRET, rounds};

/// Returns a command for Ruby with the gem of this checkout and no setting but the secret.
pub(crate) fn ruby() -> Command {
    let mut command = Command::new("ruby");
    command
        .args(["-I", concat!(env!("CARGO_MANIFEST_DIR"), "/../lib")])
        .stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LINESIDE_") {
            command.env_remove(name);
        }
    }
    command.env("LINESIDE_SECRET", SECRET);
    command
}

#[test]
fn transactions_publish_only_on_commit_while_links_are_cut() {
    let cuts = rounds(30, 400);
    let mut load = Load::start("transactions").browse(4);
    for seed in 0..2 {
        let mut script = ruby();
        script.arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/faults/transactions.rb"
        ));
        load.start_script(
            &format!("ruby{seed}"),
            script,
            json!({"seed": seed, "per_second": 100}),
        );
    }
    load.await_messages(1);
    for cut in 0..cuts {
        load.await_calls(20);
        load.link.end(End::Cut);
        if cut % 10 == 9 {
            load.restart();
        }
    }
    let declined: u64 = load.publishing.iter().map(Publishing::declined).sum();
    assert!(declined > 0, "no transaction was rolled back");
    let report = load.settle();
    report.assert_nothing_lost();
    report.print(&format!(
        "R-16: {declined} rolled back, {cuts} links cut, with restarts of the sidecar"
    ));
}
