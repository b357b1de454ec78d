//! The admin listener: metrics, health, its `Host` check, and the ports of a sidecar (S-21).

use std::collections::BTreeMap;
use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Place, Request, Sidecar, listening_ports, place, token_for, within};

/// A place whose sidecar has an admin listener on a free port.
fn place_with_admin() -> Place {
    place().with("LINESIDE_ADMIN_BIND", "127.0.0.1:0")
}

/// A request to the admin listener.
fn get(sidecar: &Sidecar, path: &str) -> Request {
    let line = sidecar.logged(&["event=listening"]);
    let port = line
        .split_once("admin=127.0.0.1:")
        .and_then(|(_, rest)| rest.split(' ').next());
    let port: u16 = port.expect(&line).parse().unwrap();
    Request::get(port, path)
}

/// Fetches `/metrics`; returns its samples by name and labels.
fn metrics(sidecar: &Sidecar) -> BTreeMap<String, f64> {
    let answer = get(sidecar, "/metrics").response();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    parse(&answer.body)
}

/// Parses the text format 0.0.4, and checks it against Prometheus' naming conventions.
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
            assert!(is_new, "{name} appears twice");
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
        assert!(is_new, "{series} appears twice");
    }
    samples
}

#[test]
fn metrics_count_connections_publications_and_deliveries() {
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
    let page = within("all deliveries are counted", || {
        let page = metrics(&sidecar);
        // The shards may lag behind the acks.
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
    // Each of the three connections is subscribed to `user:1` and `a`.
    assert_eq!(over_shards("lineside_subscriptions"), 6.0);
    assert_eq!(over_shards("lineside_channels"), 4.0);
    assert_eq!(over_shards("lineside_shard_lag_positions"), 0.0);
    assert!(page["lineside_sent_bytes_total"] > 1_000.0);
    assert!(page["lineside_journal_bytes"] > 0.0);
}

#[test]
fn delivery_latency_is_a_histogram() {
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
        "a delivery counts as at least 1 ms"
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
fn closed_connections_are_counted_by_reason() {
    let sidecar = place_with_admin().start();
    let publisher = sidecar.publisher();
    publisher.publish("a", 1);
    sidecar.subscriber().close();
    drop(sidecar.request().open());
    sidecar
        .request()
        .expect_refused(json!({"token": "none"}), 4001);
    assert_eq!(sidecar.request().path("/elsewhere").response().status, 404);
    let token = token_for("1", &["a"], &[]);
    let lost = sidecar.browser(json!({"after": "unknown", "token": token}));
    let closed = |code: &str, reason: &str| {
        format!("lineside_connections_closed_total{{code=\"{code}\",reason=\"{reason}\"}}")
    };
    let page = within("three connections are closed", || {
        let page = metrics(&sidecar);
        (page["lineside_connections"] == 1.0).then_some(page)
    });
    assert_eq!(page[&closed("", "left")], 2.0);
    assert_eq!(page[&closed("4001", "token_invalid")], 1.0);
    assert_eq!(page[&closed("4101", "slow")], 0.0);
    assert_eq!(page["lineside_requests_refused_total{status=\"404\"}"], 1.0);
    let resumed = "lineside_resumed_channels_total{outcome=\"lost\"}";
    assert_eq!(page[resumed], 2.0, "user:1 and a");
    let epoch = lost.cursor.split('.').next().unwrap();
    sidecar.browser(json!({"after": format!("{epoch}.0"), "token": token}));
    let page = metrics(&sidecar);
    assert_eq!(
        page["lineside_resumed_channels_total{outcome=\"recovered\"}"],
        2.0
    );
    assert_eq!(page["lineside_replayed_total"], 1.0);
}

#[test]
fn process_metrics_match_the_operating_system() {
    let sidecar = place_with_admin().start();
    let page = metrics(&sidecar);
    let status = std::fs::read_to_string(format!("/proc/{}/status", sidecar.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib: f64 = line.unwrap()["VmRSS:".len()..]
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    let bytes = page["process_resident_memory_bytes"];
    assert!(bytes > kib * 512.0 && bytes < kib * 2048.0, "{bytes} {kib}");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap();
    // The socket of the scrape may still be open.
    let open = descriptors.count() as f64;
    assert!((page["process_open_fds"] - open).abs() <= 2.0, "{open}");
    assert!(page["process_max_fds"] >= page["process_open_fds"]);
    let now_s = crate::support::now_ms() as f64 / 1000.0;
    let age_s = now_s - page["process_start_time_seconds"];
    assert!((0.0..60.0).contains(&age_s), "{age_s}");
    assert!(page.contains_key("process_cpu_seconds_total"));
}

#[test]
fn up_answers_on_both_ports() {
    let sidecar = place_with_admin().start();
    for request in [
        get(&sidecar, "/up"),
        Request::get(sidecar.port, "/up"),
        get(&sidecar, "/up?x=1"),
    ] {
        let answer = request.response();
        assert_eq!((answer.status, answer.body.as_str()), (200, "up\n"));
        let answer = request.method("HEAD").response();
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    // Each port serves its own pages only.
    assert_eq!(
        Request::get(sidecar.port, "/metrics").response().status,
        404
    );
    assert_eq!(get(&sidecar, "/lineside").response().status, 404);
}

#[test]
fn admin_listener_accepts_only_get_and_head() {
    let sidecar = place_with_admin().start();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"] {
        let answer = get(&sidecar, "/metrics").method(method).response();
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow").as_deref(), Some("GET, HEAD"));
    }
    let head = get(&sidecar, "/metrics").method("HEAD").response();
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn foreign_host_header_is_refused_by_the_admin_listener() {
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
        let request = get(&sidecar, "/metrics").without("Host");
        let answer = request.header("Host", host).response();
        assert_eq!(answer.status, 403, "{host}");
        assert!(answer.body.contains("LINESIDE_ADMIN_HOSTS"), "{answer:?}");
        assert!(!answer.body.contains("lineside_"), "{answer:?}");
    }
    assert_eq!(
        get(&sidecar, "/metrics").without("Host").response().status,
        403
    );
    let twice = get(&sidecar, "/metrics").header("Host", "localhost");
    assert_eq!(twice.response().status, 400);
    for host in [
        "localhost",
        "LOCALHOST:8091",
        "127.0.0.1:1",
        "10.1.2.3",
        "[::1]:8091",
        "Metrics.Internal:9",
        "sidecar",
    ] {
        let request = get(&sidecar, "/metrics").without("Host");
        assert_eq!(
            request.header("Host", host).response().status,
            200,
            "{host}"
        );
    }
}

#[test]
fn admin_listener_answers_during_a_drain() {
    let mut sidecar = place_with_admin()
        .with("LINESIDE_DRAIN_SECONDS_MAX", 600)
        .with("LINESIDE_OUTBOX_BYTES_MAX", 64 * 1024 * 1024)
        .start();
    let _stalled = crate::drain::stalled(&sidecar);
    sidecar.signal(Signal::SIGTERM);
    sidecar.logged(&["event=draining"]);
    assert_eq!(get(&sidecar, "/up").response().status, 503);
    assert_eq!(metrics(&sidecar)["lineside_connections"], 1.0);
    sidecar.signal(Signal::SIGTERM);
    assert!(sidecar.ended().success());
}

#[test]
fn configured_address_in_use_stops_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for setting in ["LINESIDE_BIND", "LINESIDE_ADMIN_BIND"] {
        let mut sidecar = place().with(setting, address).spawn();
        assert_eq!(sidecar.ended().code(), Some(1));
        let log = sidecar.log().join("\n");
        assert!(
            log.contains(&address.to_string()) && log.contains(setting),
            "{log}"
        );
    }
}

#[test]
fn default_port_in_use_is_skipped_with_a_warning() {
    let place = place()
        .with("LINESIDE_BIND", "")
        .with("LINESIDE_ADMIN_BIND", "");
    // At most one of them gets each default port; another process of this machine may have it too.
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
        // The link works in any case.
        sidecar.publisher().publish("a", 1);
    }
}

#[test]
fn bind_none_opens_no_listener() {
    let place = place()
        .with("LINESIDE_BIND", "none")
        .with("LINESIDE_ADMIN_BIND", "none");
    let sidecar = place.spawn();
    sidecar.logged(&["event=listening bind=none admin=none"]);
    assert_eq!(listening_ports(&sidecar), Vec::<String>::new());
    sidecar.publisher().publish("a", 1);
}
