//! HTTP on the port for browsers: paths, origins, invalid requests, and the limit of connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Request, Sidecar, place, read_response, sidecar, within};

#[test]
fn unknown_path_or_method_is_refused_with_the_right_path() {
    let sidecar = sidecar();
    for path in [
        "/",
        "/lineside/",
        "/Lineside",
        "/lineside2",
        "//lineside",
        "/shop//lineside",
        "/shop/lineside/",
        "/shoplineside",
        "lineside",
        "/cables",
        "/metrics",
        "/up/",
        "*",
    ] {
        let answer = sidecar.request().path(path).response();
        assert_eq!(answer.status, 404, "{path} {answer:?}");
        assert!(answer.body.contains("/lineside"), "{answer:?}");
    }
    let answer = sidecar.request().method("POST").path("/up").response();
    assert_eq!(answer.status, 404);
    let answer = sidecar.request().without("Upgrade").response();
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade").as_deref(), Some("websocket"));
    let answer = sidecar.request().method("POST").response();
    assert_eq!(answer.status, 400);
}

#[test]
fn answers_without_an_upgrade_are_not_cached() {
    let sidecar = sidecar();
    for (path, status) in [("/up", 200), ("/elsewhere", 404)] {
        let answer = Request::get(sidecar.port, path).response();
        assert_eq!(answer.status, status, "{path}");
        let cached = answer.header("cache-control");
        assert_eq!(cached.as_deref(), Some("no-store"), "{path}");
    }
}

#[test]
fn path_below_the_root_of_an_app_or_tenant_is_answered() {
    let sidecar = sidecar();
    for path in [
        "/shop/lineside",
        "/lineside/lineside",
        "/1234567/shop/lineside?x=/y",
    ] {
        let (_, answer) = sidecar.request().path(path).send();
        assert_eq!(answer.status, 101, "{path}");
    }
}

#[test]
fn path_setting_moves_the_websocket() {
    let sidecar = place().with("LINESIDE_PATH", "/app/live").start();
    assert_eq!(sidecar.request().response().status, 404);
    let mut browser = sidecar.request().path("/app/live").open();
    browser.send(json!({"type": "connect"}));
    browser.expect_welcome();
}

#[test]
fn invalid_upgrade_request_is_refused_with_400() {
    let sidecar = sidecar();
    let request = sidecar.request();
    for (case, request) in [
        (
            "no version",
            request.clone().without("Sec-WebSocket-Version"),
        ),
        ("no key", request.clone().without("Sec-WebSocket-Key")),
        ("no connection", request.clone().without("Connection")),
        ("%zz", request.clone().path("/lineside?token=%zz")),
        ("%ff", request.clone().path("/lineside?channel=%ff")),
        ("header name", request.clone().header("Bad Name", "x")),
    ] {
        let answer = request.response();
        assert_eq!(answer.status, 400, "{case} {answer:?}");
        assert!(answer.body.len() > 10, "{case} {answer:?}");
    }
}

#[test]
fn other_version_of_the_protocol_is_told_the_supported_one() {
    let sidecar = sidecar();
    let request = sidecar.request().without("Sec-WebSocket-Version");
    let answer = request.header("Sec-WebSocket-Version", "8").response();
    assert_eq!(answer.status, 426, "{answer:?}");
    assert_eq!(
        answer.header("sec-websocket-version").as_deref(),
        Some("13")
    );
}

#[test]
fn fields_that_come_twice_are_read_as_lists() {
    let sidecar = sidecar();
    let request = sidecar.request().without("Connection");
    let request = request
        .header("Connection", "keep-alive")
        .header("Connection", "Upgrade");
    assert_eq!(request.send().1.status, 101);
    let request = request
        .header("Origin", "https://a.example")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "a.example, a.example");
    assert_eq!(request.send().1.status, 101);
}

#[test]
fn proxy_is_trusted_by_its_ipv4_address_on_a_listener_for_both() {
    for proxies in ["127.0.0.0/8,::1/128", "127.0.0.1", "::ffff:127.0.0.1"] {
        let place = place()
            .with("LINESIDE_BIND", "[::]:0")
            .with("LINESIDE_TRUSTED_PROXIES", proxies);
        let mut sidecar = place.spawn();
        let listening = sidecar.logged(&["event=listening"]);
        let port = listening.split_once("bind=[::]:").map(|(_, rest)| rest);
        let port = port.and_then(|rest| rest.split(' ').next()).unwrap();
        sidecar.port = port.parse().unwrap();
        let request = sidecar
            .request()
            .header("Origin", "https://a.example")
            .header("X-Forwarded-Proto", "wss")
            .header("X-Forwarded-Host", "a.example");
        assert_eq!(request.send().1.status, 101, "{proxies}");
    }
}

#[test]
fn page_of_a_foreign_host_name_is_refused_if_the_hosts_are_known() {
    let sidecar = place().with("LINESIDE_HOSTS", "shop.example").start();
    let status = |host: &str| {
        let request = sidecar.request().without("Host").header("Host", host);
        let request = request.header("Origin", format!("http://{host}"));
        request.send().1.status
    };
    assert_eq!(status("shop.example"), 101);
    assert_eq!(status("rebound.example"), 403);
}

#[test]
fn bytes_that_are_not_http_are_refused_with_400() {
    let sidecar = sidecar();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\n\r\n\r\nx\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /lineside HTTP/9.9\r\n\r\n",
        b"GET /lineside HTTP/1.1\r\nno colon\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let mut stream = sidecar.tcp();
        stream.write_all(bytes).unwrap();
        let answer = read_response(&mut stream);
        assert_eq!(answer.status, 400, "{bytes:?} {answer:?}");
    }
    sidecar.browser(json!({}));
}

#[test]
fn incomplete_request_head_times_out() {
    let sidecar = sidecar();
    let mut slow = sidecar.tcp();
    slow.write_all(b"GET /lineside HTTP/1.1\r\nHost: ").unwrap();
    let mut silent = sidecar.tcp();
    for stream in [&mut slow, &mut silent] {
        let answer = read_response(stream);
        assert_eq!(answer.status, 408);
    }
    let mut half = sidecar.tcp();
    half.write_all(b"GET /lineside HT").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_response(&mut half).status, 400);
    sidecar.browser(json!({}));
}

/// Status of an upgrade request from a page of this origin.
fn status_of(sidecar: &Sidecar, origin: &str) -> u16 {
    let (_, answer) = sidecar.request().header("Origin", origin).send();
    answer.status
}

#[test]
fn foreign_origin_is_refused_with_the_setting_to_change() {
    let sidecar = sidecar();
    let port = sidecar.port;
    let origins = [
        "null".into(),
        String::new(),
        "http://evil.example".into(),
        format!("https://127.0.0.1:{port}"),
        "http://127.0.0.1".into(),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://127.0.0.1:{port}.evil.example"),
        format!("http://evil.example:{port}"),
        format!("http://127.0.0.1:{port}@evil.example"),
        format!("http://evil@127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.0.0.1:{port}#"),
        format!("http://127.0.0.1.:{port}"),
        format!("http://x127.0.0.1:{port}"),
        format!("http://127.0.0.1:0{port}0"),
        format!("http://localhost:{port}"),
        format!("file://127.0.0.1:{port}"),
        format!("http:127.0.0.1:{port}"),
        format!("//127.0.0.1:{port}"),
        format!("127.0.0.1:{port}"),
        format!("http://127.0.0.1:{port} http://evil.example"),
        format!("http://127.0.0.1:{port}, http://evil.example"),
        "http://*".into(),
        "*".into(),
        "http://xn--bcher-kva.example".into(),
        "chrome-extension://abcdef".into(),
    ];
    for origin in origins {
        let answer = sidecar.request().header("Origin", &origin).response();
        assert_eq!(answer.status, 403, "{origin:?} {answer:?}");
        assert!(
            answer.body.contains("LINESIDE_ALLOWED_ORIGINS"),
            "{answer:?}"
        );
    }
    let own = format!("http://127.0.0.1:{port}");
    let twice = sidecar
        .request()
        .header("Origin", &own)
        .header("Origin", &own)
        .response();
    assert_eq!(twice.status, 400, "a repeated Origin is refused");
    assert_eq!(status_of(&sidecar, &own), 101);
    assert_eq!(status_of(&sidecar, &own.to_uppercase()), 101);
    assert_eq!(
        sidecar.request().send().1.status,
        101,
        "a client without Origin is not a page"
    );
}

#[test]
fn allowed_origins_match_exactly_and_a_star_matches_one_label() {
    let sidecar = place()
        .with(
            "LINESIDE_ALLOWED_ORIGINS",
            "https://app.example, https://*.shop.example:8443",
        )
        .start();
    for (origin, status) in [
        ("https://app.example", 101),
        ("https://APP.example:443", 101),
        ("https://a.shop.example:8443", 101),
        ("http://app.example", 403),
        ("https://app.example:8443", 403),
        ("https://app.example.evil.example", 403),
        ("https://www.app.example", 403),
        ("https://shop.example:8443", 403),
        ("https://.shop.example:8443", 403),
        ("https://a.b.shop.example:8443", 403),
        ("https://a.shop.example", 403),
        ("https://ashop.example:8443", 403),
        ("https://evil.example/.shop.example:8443", 403),
        ("https://*.shop.example:8443", 403),
    ] {
        assert_eq!(status_of(&sidecar, origin), status, "{origin}");
    }
}

#[test]
fn origins_of_apps_are_allowed_exactly() {
    let sidecar = place()
        .with(
            "LINESIDE_ALLOWED_ORIGINS",
            "capacitor://localhost, https://example.org/",
        )
        .start();
    for (origin, status) in [
        ("capacitor://localhost", 101),
        ("https://example.org", 101),
        ("capacitor://localhost.evil.example", 403),
        ("ionic://localhost", 403),
        ("null", 403),
    ] {
        assert_eq!(status_of(&sidecar, origin), status, "{origin}");
    }
}

#[test]
fn forwarded_headers_count_only_from_trusted_proxies() {
    let forwarded = |sidecar: &Sidecar, host: &str, proto: &str| {
        let request = sidecar
            .request()
            .header("X-Forwarded-Host", host)
            .header("X-Forwarded-Proto", proto);
        request
            .header("Origin", "https://app.example")
            .send()
            .1
            .status
    };
    // Loopback is trusted by default.
    let trusting = sidecar();
    assert_eq!(forwarded(&trusting, "app.example", "https"), 101);
    assert_eq!(forwarded(&trusting, "app.example", "http"), 403);
    assert_eq!(forwarded(&trusting, "other.example", "https"), 403);
    let distrusting = place()
        .with("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8")
        .start();
    assert_eq!(forwarded(&distrusting, "app.example", "https"), 403);
}

#[test]
fn connection_above_the_limit_is_refused_with_503() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 2).start();
    let first = sidecar.browser(json!({}));
    let mut second = sidecar.browser(json!({}));
    let answer = sidecar.request().response();
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert!(
        answer.body.contains("LINESIDE_CONNECTIONS_MAX"),
        "{answer:?}"
    );
    assert_eq!(
        sidecar
            .request()
            .path("/up")
            .without("Upgrade")
            .response()
            .status,
        200,
        "a full sidecar is healthy"
    );
    // Open connections stay. A close frame and the end of the TCP connection both release the slot.
    second.send(json!({"type": "pong"}));
    first.close();
    let accepted = || {
        let (stream, answer) = sidecar.request().send();
        (answer.status == 101).then_some(stream)
    };
    drop(within("a connection is accepted", accepted));
    let fourth = within("a connection is accepted", accepted);
    assert_eq!(sidecar.request().response().status, 503);
    drop(fourth);
}

#[test]
fn clients_that_send_nothing_do_not_block_others() {
    // Enough descriptors for 144 browsers, and for 64 requests beside them.
    let few = ["sh", "-c", "ulimit -n 400; exec \"$0\""];
    let place = place().with("LINESIDE_ADMIN_BIND", "127.0.0.1:0");
    let sidecar = place.start_from(&mut place.command_under(&few, &[]));
    let line = sidecar.logged(&["event=listening"]);
    let (_, admin) = line.split_once("admin=127.0.0.1:").unwrap();
    let admin: u16 = admin.split(' ').next().unwrap().parse().unwrap();
    let up = |port| {
        let began = Instant::now();
        let answer = Request::get(port, "/up").response();
        assert_eq!((answer.status, answer.body.as_str()), (200, "up\n"));
        // Far below the time for a request.
        assert!(began.elapsed() < Duration::from_secs(4));
    };
    let silent = |port: u16| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /lineside HTTP/1.1\r\n").unwrap();
        stream
    };
    let mut held: Vec<TcpStream> = (0..900).map(|_| silent(sidecar.port)).collect();
    held.extend((0..50).map(|_| silent(admin)));
    up(sidecar.port);
    up(admin);
    let browsers: Vec<_> = (0..144).map(|_| sidecar.browser(json!({}))).collect();
    assert_eq!(sidecar.request().response().status, 503);
    held.extend((0..300).map(|_| silent(sidecar.port)));
    // Publishers, and operators, have their own descriptors.
    for _ in 0..20 {
        sidecar.publisher().publish("a", 1);
    }
    up(sidecar.port);
    up(admin);
    assert!(
        sidecar
            .log()
            .iter()
            .all(|line| !line.contains("accept_failed"))
    );
    assert!(sidecar.log().len() < 400, "{} lines", sidecar.log().len());
    drop((held, browsers));
}

#[test]
fn failed_upgrade_takes_no_connection_slot() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 1).start();
    for _ in 0..5 {
        assert_eq!(status_of(&sidecar, "http://evil.example"), 403);
        assert_eq!(
            sidecar
                .request()
                .path("/lineside?token=%zz")
                .response()
                .status,
            400
        );
        let mut gone = sidecar.tcp();
        gone.write_all(b"x").unwrap();
        gone.shutdown(std::net::Shutdown::Write).unwrap();
        gone.read_to_end(&mut Vec::new()).unwrap();
    }
    sidecar.browser(json!({}));
}
