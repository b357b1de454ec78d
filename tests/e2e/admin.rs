//! The listener for operators: what it shows, to whom, and which ports a sidecar takes (promise S-21).

use std::collections::BTreeMap;
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Dial, Place, Sidecar, listening_ports, place, within};

/// A place with both listeners.
fn place_with_admin() -> Place {
    place().with("LINESIDE_ADMIN_BIND", "127.0.0.1:0")
}

/// A request to the operators' port, to be changed.
fn ask(sidecar: &Sidecar, path: &str) -> Dial {
    let line = sidecar.logged(&["event=listening"]);
    let port = line
        .split_once("admin=127.0.0.1:")
        .and_then(|(_, rest)| rest.split(' ').next());
    let port: u16 = port.expect(&line).parse().unwrap();
    Dial::plain(port, path)
}

/// A page of metrics: every sample by its name with its labels, once the page was found to be well-formed.
fn metrics(sidecar: &Sidecar) -> BTreeMap<String, f64> {
    let answer = ask(sidecar, "/metrics").refused();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.field("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    parse(&answer.body)
}

/// Reads the text format 0.0.4, and holds it to Prometheus' conventions for names.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut families: BTreeMap<String, String> = BTreeMap::new();
    let mut current = String::new();
    assert!(page.ends_with('\n'));
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect(line);
            assert!(!text.is_empty(), "{line}");
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).expect(kind);
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
            assert!(name.starts_with("lineside_") || name.starts_with("process_"));
            let is_new = families.insert(name.into(), kind.into()).is_none();
            assert!(is_new, "{name} comes twice");
            name.clone_into(&mut current);
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        let name = series.split('{').next().unwrap();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(plain), "{line}");
        let suffix = name.strip_prefix(current.as_str()).expect(line);
        let suffixes: &[&str] = match families[&current].as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let value: f64 = value.parse().expect(line);
        assert!(value >= 0.0, "{line}");
        let is_new = samples.insert(series.to_owned(), value).is_none();
        assert!(is_new, "{series} comes twice");
    }
    samples
}

#[test]
fn what_happens_is_counted() {
    let sidecar = place_with_admin().with("LINESIDE_SHARDS", 2).start();
    let publisher = sidecar.publisher();
    let mut browsers: Vec<_> = (0..3).map(|_| sidecar.subscriber()).collect();
    for number in 0..5 {
        publisher.publish("a", number);
        for browser in &mut browsers {
            browser.expect_message("a", json!(number));
        }
    }
    publisher.publish("nobody", "12");
    publisher.try_publish("a", b"1", Some("once"));
    publisher.try_publish("a", b"1", Some("once"));
    publisher.try_publish("bad*", b"1", None);
    let page = within("all is counted", || {
        let page = metrics(&sidecar);
        // The shards may be a moment behind what they were given.
        (page["lineside_deliveries_total"] >= 18.0).then_some(page)
    });
    for (series, value) in [
        (
            concat!(
                "lineside_build_info{version=\"",
                env!("CARGO_PKG_VERSION"),
                "\"}"
            ),
            1.0,
        ),
        ("lineside_connections", 3.0),
        ("lineside_connections_limit", 500.0),
        ("lineside_connections_opened_total", 3.0),
        ("lineside_deliveries_total", 18.0),
        ("lineside_publications_total", 7.0),
        // Five digits, "12" in quotation marks, and a digit.
        ("lineside_published_bytes_total", 10.0),
        ("lineside_duplicates_total", 1.0),
        (
            "lineside_publications_refused_total{code=\"bad_channel\"}",
            1.0,
        ),
        ("lineside_publishers", 1.0),
        ("lineside_journal_publications", 7.0),
        ("lineside_journal_channels", 2.0),
        ("lineside_journal_position", 7.0),
    ] {
        assert_eq!(page.get(series), Some(&value), "{series}");
    }
    let over_shards = |name: &str| -> f64 {
        let shards = ["0", "1"].map(|shard| page[&format!("{name}{{shard=\"{shard}\"}}")]);
        shards.iter().sum()
    };
    // Each of the three holds the channel of user 1, and `a`.
    assert_eq!(over_shards("lineside_subscriptions"), 6.0);
    assert_eq!(over_shards("lineside_channels"), 4.0);
    assert_eq!(over_shards("lineside_shard_lag_positions"), 0.0);
    assert!(page["lineside_sent_bytes_total"] > 1_000.0);
    assert!(page["lineside_journal_bytes"] > 0.0);
}

#[test]
fn the_latency_of_each_write_stands_in_one_bucket() {
    let sidecar = place_with_admin().start();
    let mut browser = sidecar.subscriber();
    let publisher = sidecar.publisher();
    for number in 0..20 {
        publisher.publish("a", number);
        browser.expect_message("a", json!(number));
    }
    let page = metrics(&sidecar);
    let name = "lineside_delivery_latency_seconds";
    let count = page[&format!("{name}_count")];
    assert_eq!(count, 20.0);
    assert!(
        page[&format!("{name}_sum")] >= 0.020,
        "each is 1 ms at least"
    );
    let bounds = [
        "0.001", "0.002", "0.005", "0.010", "0.025", "0.050", "0.100", "0.250", "0.500", "1.000",
        "2.500", "10.000", "+Inf",
    ];
    let buckets = bounds.map(|bound| page[&format!("{name}_bucket{{le=\"{bound}\"}}")]);
    assert!(buckets.is_sorted(), "{buckets:?}");
    assert_eq!(buckets.last(), Some(&count));
    assert_eq!(
        page.keys().filter(|key| key.contains("_bucket")).count(),
        bounds.len()
    );
}

#[test]
fn every_end_is_counted_by_its_reason() {
    let sidecar = place_with_admin().start();
    let publisher = sidecar.publisher();
    publisher.publish("a", 1);
    sidecar.subscriber().leave();
    drop(sidecar.dial().open());
    let mut refused = sidecar.dial().open();
    refused.send(json!({"type": "connect", "token": "none"}));
    assert_eq!(refused.ended().code, 4001);
    assert_eq!(sidecar.dial().path("/elsewhere").refused().status, 404);
    let mut lost = sidecar.dial().open();
    lost.send(json!({"type": "connect", "after": "unknown",
        "token": crate::support::token_for("1", &["a"], &[])}));
    let lost = lost.take_welcome();
    let closed = |code: &str, reason: &str| {
        format!("lineside_connections_closed_total{{code=\"{code}\",reason=\"{reason}\"}}")
    };
    let page = within("three have ended", || {
        let page = metrics(&sidecar);
        (page["lineside_connections"] == 1.0).then_some(page)
    });
    assert_eq!(page[&closed("", "left")], 2.0);
    assert_eq!(page[&closed("4001", "token_invalid")], 1.0);
    assert_eq!(page[&closed("4101", "slow")], 0.0);
    assert_eq!(page["lineside_requests_refused_total{status=\"404\"}"], 1.0);
    let resumed = "lineside_resumed_channels_total{outcome=\"lost\"}";
    assert_eq!(page[resumed], 2.0, "user:1 and a");
    let mut recovered = sidecar.dial().open();
    recovered.send(
        json!({"type": "connect", "after": format!("{}.0", epoch(&lost.cursor)),
        "token": crate::support::token_for("1", &["a"], &[])}),
    );
    recovered.take_welcome();
    let page = metrics(&sidecar);
    assert_eq!(
        page["lineside_resumed_channels_total{outcome=\"recovered\"}"],
        2.0
    );
    assert_eq!(page["lineside_replayed_total"], 1.0);
}

fn epoch(cursor: &str) -> &str {
    cursor.split('.').next().unwrap()
}

#[test]
fn the_process_tells_of_itself_what_the_system_says() {
    let sidecar = place_with_admin().start();
    let page = metrics(&sidecar);
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: f64 = line.unwrap()["VmRSS:".len()..]
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    let told = page["process_resident_memory_bytes"];
    assert!(told > kib * 512.0 && told < kib * 2048.0, "{told} {kib}");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap();
    // The scrape itself has a socket, and may still have it.
    let open = descriptors.count() as f64;
    assert!((page["process_open_fds"] - open).abs() <= 2.0, "{open}");
    assert!(page["process_max_fds"] >= page["process_open_fds"]);
    let now_s = crate::support::now_ms() as f64 / 1000.0;
    let age_s = now_s - page["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age_s), "{age_s}");
    assert!(page.contains_key("process_cpu_seconds_total"));
}

#[test]
fn health_is_told_at_both_ports() {
    let sidecar = place_with_admin().start();
    for dial in [
        ask(&sidecar, "/up"),
        Dial::plain(sidecar.port, "/up"),
        ask(&sidecar, "/up?x=1"),
    ] {
        let answer = dial.refused();
        assert_eq!((answer.status, answer.body.as_str()), (200, "up\n"));
        let answer = dial.method("HEAD").refused();
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    // No browser connects there, and no operator's page is at the browsers' port.
    assert_eq!(Dial::plain(sidecar.port, "/metrics").refused().status, 404);
    assert_eq!(ask(&sidecar, "/lineside").refused().status, 404);
}

#[test]
fn it_can_only_be_read() {
    let sidecar = place_with_admin().start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
        let answer = ask(&sidecar, "/metrics").method(method).refused();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.field("allow").as_deref(), Some("GET, HEAD"));
    }
    let head = ask(&sidecar, "/metrics").method("HEAD").refused();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_page_whose_name_was_pointed_here_learns_nothing() {
    let sidecar = place_with_admin()
        .with("LINESIDE_ADMIN_HOSTS", "metrics.internal, sidecar")
        .start();
    for host in [
        "evil.example",
        "evil.example:8091",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "a@localhost@evil",
        "metrics.internal.evil",
        "",
        "[::1",
        "*",
    ] {
        let dial = ask(&sidecar, "/metrics").without("Host");
        let answer = dial.header("Host", host).refused();
        assert_eq!(answer.status, 403, "{host}");
        assert!(answer.body.contains("LINESIDE_ADMIN_HOSTS"), "{answer:?}");
        assert!(!answer.body.contains("lineside_"), "{answer:?}");
    }
    assert_eq!(
        ask(&sidecar, "/metrics").without("Host").refused().status,
        403
    );
    let twice = ask(&sidecar, "/metrics").header("Host", "localhost");
    assert_eq!(twice.refused().status, 400);
    for host in [
        "localhost",
        "LOCALHOST:8091",
        "127.0.0.1:1",
        "10.1.2.3",
        "[::1]:8091",
        "Metrics.Internal:9",
        "sidecar",
    ] {
        let dial = ask(&sidecar, "/metrics").without("Host");
        assert_eq!(dial.header("Host", host).refused().status, 200, "{host}");
    }
}

#[test]
fn it_answers_while_the_sidecar_stops() {
    let mut sidecar = place_with_admin()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let _stuck = crate::drain::stuck(&sidecar);
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    assert_eq!(ask(&sidecar, "/up").refused().status, 503);
    assert_eq!(metrics(&sidecar)["lineside_connections"], 1.0);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.ended().success());
}

#[test]
fn an_address_that_was_chosen_is_had_or_nothing_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for setting in ["LINESIDE_BIND", "LINESIDE_ADMIN_BIND"] {
        let mut sidecar = place().with(setting, address).spawn();
        assert_eq!(sidecar.ended().code(), Some(1));
        let said = sidecar.log().join("\n");
        assert!(
            said.contains(&address.to_string()) && said.contains(setting),
            "{said}"
        );
    }
}

#[test]
fn by_default_it_listens_where_the_readme_says_and_does_without_what_is_taken() {
    let place = place()
        .with("LINESIDE_BIND", "")
        .with("LINESIDE_ADMIN_BIND", "");
    // Both at once: of each port one of them has it, or somebody else on this machine.
    let sidecars = [place.spawn(), place.clone_elsewhere().spawn()];
    for sidecar in &sidecars {
        sidecar.logged(&["event=listening"]);
        let mut documented = vec!["127.0.0.1:8090", "127.0.0.1:8091"];
        documented.retain(|address| {
            let taken = ["event=address_taken", &format!("bind={address}")];
            let log = sidecar.log();
            !log.iter()
                .any(|line| taken.iter().all(|part| line.contains(part)))
        });
        assert_eq!(listening_ports(sidecar), documented);
        // Those who come over the link are served in any case.
        sidecar.publisher().publish("a", 1);
    }
}

#[test]
fn none_is_no_listener() {
    let place = place()
        .with("LINESIDE_BIND", "none")
        .with("LINESIDE_ADMIN_BIND", "none");
    let sidecar = place.spawn();
    sidecar.logged(&["event=listening bind=none admin=none"]);
    assert_eq!(listening_ports(&sidecar), Vec::<String>::new());
    sidecar.publisher().publish("a", 1);
}
