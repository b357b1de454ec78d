//! `bin/bench report`: measures everything, and writes `docs/performance.md` and a chart for each table.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use crate::table::{Bar, Table};
use crate::{Outcome, chart, deliveries, publish};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
/// Folder of a page whose measurement failed.
const REFUSED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tmp/bench/refused");
/// Programs whose versions the page names, with the arguments that print them.
const VERSIONS: [(&str, &[&str]); 11] = [
    ("rustc", &["--version"]),
    ("ruby", &["--version"]),
    ("node", &["--version"]),
    (
        "node",
        &[
            "-p",
            concat!(
                "'Socket.IO ' + require('",
                env!("CARGO_MANIFEST_DIR"),
                "/peers/socketio/package.json').dependencies['socket.io']"
            ),
        ],
    ),
    ("nginx", &["-v"]),
    (
        "cat",
        &[concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tmp/bench/peers/nchan/version"
        )],
    ),
    ("redis-server", &["--version"]),
    ("puma", &["--version"]),
    ("rails", &["--version"]),
    (
        "cat",
        &[concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tmp/bench/peers/centrifugo/version"
        )],
    ),
    ("git", &["log", "-1", "--format=Lineside at commit %h"]),
];

const INTRODUCTION: &str = "# Performance

```
bin/bench peers     # installs the peers into tmp/bench/peers, on Debian 12
bin/bench report    # measures, and writes this page
```

`bin/bench report` has written this page. Figures depend on the machine: compare those of one page, and run it on your own, idle
machine, which needs two cores.

- **limit** is a program of this repository that does nothing that a server could leave out: one thread, no checks, one write per
  delivery. **limit-coalescing** joins the publications of a channel that one read from the publisher brings into one write for each
  page. A ratio to a limit says what a server adds to the cost of the kernel. A server that joins more publications can be faster than
  limit-coalescing.
- The server, with its Redis, runs on one core, and the pages and the publisher on another. All figures are per core of the server.
  The connections are on the loopback device, without TLS and compression.
- Pages check the number of each publication: a run in which Lineside loses, repeats or reorders one does not write this
  page, but `tmp/bench/refused/performance.md`. Losses of peers are listed in their tables.
- Servers take turns in each round. Figures are medians of three rounds; peers take part in as many of them as fit into nine
  minutes, at least in the first.
- Action Cable is measured only with 1,000 pages, and at 5,000 deliveries a second: more would take minutes.
- CPU times count all threads and processes of a server. Those of the generator include its polling, which saves the server the
  wake-ups. In saturated scenarios, compare the two busy columns: a generator near 100 % limits the result.
- Memory and latencies of the peers depend on their settings, which are in `bench/peers`.

A * means that a cache line took long from one core to the other, which raises the CPU time of each delivery. Such rounds are left out
if the server has another round. If the limit has no *, the × limit of a row with a * is too high. Memory and connects are not
checked for this.
";

/// Measures with phases of this duration, and writes the page. `names` limits programs and scenarios, as for `deliveries`.
pub(crate) fn run(seconds: u64, names: &[&str]) -> Outcome<()> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let calls = publish::measure(seconds)?;
    writeln!(io::stdout(), "measured the calls that publish from Ruby")?;
    let results = deliveries::measure(seconds, names)?;
    writeln!(io::stdout(), "\n{}", results.text())?;
    let mut tables = results.tables();
    let mut page = String::from(INTRODUCTION);
    page += &machine(seconds, load.split(' ').next().unwrap_or_default())?;
    page += &overview(&tables);
    tables.extend(calls);
    for table in &tables {
        write!(
            page,
            "\n## {0}\n\n{1}\n\n![{0}](performance/{2}.svg)\n\n{3}",
            table.title, table.note, table.name, table.markdown
        )?;
    }
    let failures: Vec<&str> = results.failures().collect();
    if !failures.is_empty() {
        write!(page, "\n## Not measured\n\n")?;
        for failure in failures {
            writeln!(page, "- {}", failure.lines().next().unwrap_or_default())?;
        }
    }
    let check = results.check();
    let folder = Path::new(if check.is_ok() { DOCS } else { REFUSED });
    write_page(folder, &page, &tables)?;
    check
}

fn write_page(folder: &Path, page: &str, tables: &[Table]) -> Outcome<()> {
    let charts = folder.join("performance");
    // Charts of an earlier run may have other names.
    if charts.exists() {
        fs::remove_dir_all(&charts)?;
    }
    fs::create_dir_all(&charts)?;
    for table in tables {
        let chart = charts.join(format!("{}.svg", table.name));
        fs::write(chart, chart::svg(table))?;
    }
    let path = folder.join("performance.md");
    fs::write(&path, page)?;
    writeln!(io::stdout(), "written: {}", path.display())?;
    Ok(())
}

/// Lineside beside the best peer of each scenario.
fn overview(tables: &[Table]) -> String {
    let mut text =
        String::from("\n## Overview\n\n| | Lineside | best peer | |\n|---|--:|--:|---|\n");
    for table in tables {
        let (own, peer) = table.best();
        let cell = |it: Option<&Bar>| it.map_or("–".into(), |it| it.text.clone());
        text += &format!(
            "| {} ({}) | {} | {} | {} |\n",
            table.title,
            table.unit,
            cell(own),
            cell(peer),
            peer.map_or("", |it| it.label.as_str())
        );
    }
    text
}

/// The machine, its load average before the run, and the versions of what was measured.
fn machine(seconds: u64, load: &str) -> Outcome<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |it| it.trim_start_matches([' ', '\t', ':']));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let tcp = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control")?;
    let versions: Vec<String> = VERSIONS
        .into_iter()
        .filter_map(|(program, arguments)| first_line(program, arguments))
        .collect();
    Ok(format!(
        "\n## The machine\n\n{model}, {} cores, Linux {}, TCP with {}; a cache line takes {} ns from one core to the other and \
         back. {}, load average {load} at the start, {seconds} s for each phase.\n\n{}.\n",
        cpus.lines()
            .filter(|it| it.starts_with("processor"))
            .count(),
        kernel.trim(),
        tcp.trim(),
        deliveries::round_trip_nanos(),
        first_line("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
        versions.join("; ")
    ))
}

/// First line that a program prints, if it is installed.
fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let mut text = String::from_utf8(output.stdout).ok()?;
    // nginx prints its version on standard error.
    text += &String::from_utf8(output.stderr).ok()?;
    let line = text.lines().next()?.trim().to_string();
    Some(if line.starts_with('v') {
        format!("{program} {line}")
    } else {
        line
    })
}
