//! `bin/bench publish`: the calls that publish from Ruby, timed by `bench/publish.rb`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::table::{Bar, Kind, Table, thousands};

/// Folder with the release of the extension, laid out for Ruby's load path.
const EXTENSION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tmp/bench/extension");
const LIBRARY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../lib");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/publish.rb");

/// Group of the script whose chart shows the 99th percentile.
const BUSY: &str = "beside three busy threads";

/// One line of the script.
struct Call {
    group: String,
    name: String,
    count: u64,
    p50: f64,
    p99: f64,
}

/// Times all calls, and prints the tables.
pub(crate) fn run(seconds: u64) -> Outcome<()> {
    for table in measure(seconds)? {
        writeln!(io::stdout(), "\n{}\n\n{}", table.title, table.markdown)?;
    }
    Ok(())
}

/// Times all calls, each for this time. Returns a table for each group.
pub(crate) fn measure(seconds: u64) -> Outcome<Vec<Table>> {
    let mut calls = script(seconds, None)?;
    calls.extend(script(seconds, Some("rails"))?);
    let mut groups: Vec<&str> = Vec::new();
    for call in &calls {
        if !groups.contains(&call.group.as_str()) {
            groups.push(&call.group);
        }
    }
    let tables = groups.iter().map(|group| {
        let of: Vec<&Call> = calls.iter().filter(|it| it.group == *group).collect();
        table(group, &of)
    });
    Ok(tables.collect())
}

fn table(group: &str, calls: &[&Call]) -> Table {
    let mut markdown = String::from("| call | p50 ns | p99 ns | calls |\n|---|--:|--:|--:|\n");
    for call in calls {
        markdown += &format!(
            "| {} | {} | {} | {} |\n",
            call.name,
            thousands(call.p50),
            thousands(call.p99),
            call.count
        );
    }
    // A call beside busy threads is good most of the time; the others differ.
    let is_tail = group == BUSY;
    let bars = calls.iter().map(|call| Bar {
        label: call.name.clone(),
        value: if is_tail { call.p99 } else { call.p50 },
        text: if is_tail {
            format!("{} (p50 {})", duration(call.p99), duration(call.p50))
        } else {
            format!("{} (p99 {})", duration(call.p50), duration(call.p99))
        },
        kind: if call.name.starts_with("Lineside") {
            Kind::Lineside
        } else {
            Kind::Peer
        },
    });
    let name: String = group
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
        .collect();
    Table {
        title: format!("Publish from Ruby, {group}"),
        name: format!("publish-{}", name.replace("--", "-")),
        note: note(group).into(),
        unit: format!("{} of a call", if is_tail { "p99" } else { "p50" }),
        is_less_better: true,
        markdown,
        bars: bars.collect(),
    }
}

/// Nanoseconds in the unit that leaves few digits.
fn duration(nanos: f64) -> String {
    if nanos < 10_000.0 {
        format!("{} ns", thousands(nanos))
    } else if nanos < 1_000_000.0 {
        format!("{} µs", thousands(nanos / 1e3))
    } else {
        format!("{:.1} ms", nanos / 1e6)
    }
}

fn note(group: &str) -> &'static str {
    match group {
        "back to back" | "back to back with ActiveRecord" => {
            "Calls without a pause; p50 is of means of 200 calls, p99 of single calls. The servers are pinned to one core, and Ruby may use both."
        }
        BUSY => {
            "A thread that computes calls once a millisecond, while three other threads of the process compute. A call that \
             releases Ruby's lock waits for them."
        }
        _ => "The process sleeps between calls, so that the writer thread of Lineside sleeps too.",
    }
}

fn script(seconds: u64, mode: Option<&str>) -> Outcome<Vec<Call>> {
    let sidecar = std::env::current_exe()?.with_file_name("lineside");
    let output = Command::new("ruby")
        .args(["-I", EXTENSION, "-I", LIBRARY, SCRIPT, &seconds.to_string()])
        .arg(PathBuf::from(&sidecar))
        .args(mode)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("ruby: {error}; bin/setup ruby installs it"))?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("{SCRIPT}: {}\n{text}", output.status).into());
    }
    text.lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let [group, name, count, p50, p99] = fields[..] else {
                return Err(format!("{SCRIPT} printed: {line}").into());
            };
            Ok(Call {
                group: group.into(),
                name: name.into(),
                count: count.parse()?,
                p50: p50.parse()?,
                p99: p99.parse()?,
            })
        })
        .collect()
}
