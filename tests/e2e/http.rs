//! The port for browsers before there is a WebSocket: paths, origins, heads that are wrong, and places that are taken.

use std::io::{Read as _, Write as _};

use serde_json::json;

use crate::support::{Sidecar, place, read_answer, sidecar, within};

#[test]
fn another_path_or_method_is_told_what_is_where() {
    let sidecar = sidecar();
    for path in [
        "/",
        "/lineside/",
        "/Lineside",
        "/lineside2",
        "//lineside",
        "/cable",
        "/metrics",
        "/up/",
        "*",
    ] {
        let answer = sidecar.dial().path(path).refused();
        assert_eq!(answer.status, 404, "{path} {answer:?}");
        assert!(answer.body.contains("/lineside"), "{answer:?}");
    }
    let answer = sidecar.dial().method("POST").path("/up").refused();
    assert_eq!(answer.status, 404);
    let answer = sidecar.dial().without("Upgrade").refused();
    assert_eq!(answer.status, 426);
    assert_eq!(answer.field("upgrade").as_deref(), Some("websocket"));
    let answer = sidecar.dial().method("POST").refused();
    assert_eq!(answer.status, 400);
}

#[test]
fn the_path_is_a_setting() {
    let sidecar = place().with("LINESIDE_PATH", "/app/live").start();
    assert_eq!(sidecar.dial().refused().status, 404);
    let mut browser = sidecar.dial().path("/app/live").open();
    browser.send(json!({"type": "connect"}));
    browser.take_welcome();
}

#[test]
fn an_upgrade_that_is_none_of_rfc_6455_is_refused() {
    let sidecar = sidecar();
    let dial = sidecar.dial();
    for (what, dial) in [
        (
            "version 8",
            dial.clone()
                .without("Sec-WebSocket-Version")
                .header("Sec-WebSocket-Version", "8"),
        ),
        ("no version", dial.clone().without("Sec-WebSocket-Version")),
        ("no key", dial.clone().without("Sec-WebSocket-Key")),
        ("no connection", dial.clone().without("Connection")),
        ("%zz", dial.clone().path("/lineside?token=%zz")),
        ("%ff", dial.clone().path("/lineside?channel=%ff")),
        ("a body's length", dial.clone().header("Bad Name", "x")),
    ] {
        let answer = dial.refused();
        assert_eq!(answer.status, 400, "{what} {answer:?}");
        assert!(answer.body.len() > 10, "{what} {answer:?}");
    }
}

#[test]
fn bytes_that_are_no_http_are_refused_and_hurt_nobody() {
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
        let answer = read_answer(&mut stream);
        assert_eq!(answer.status, 400, "{bytes:?} {answer:?}");
    }
    sidecar.browser(json!({}));
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_answered_and_closed() {
    let sidecar = sidecar();
    let mut slow = sidecar.tcp();
    slow.write_all(b"GET /lineside HTTP/1.1\r\nHost: ").unwrap();
    let mut silent = sidecar.tcp();
    for stream in [&mut slow, &mut silent] {
        let answer = read_answer(stream);
        assert_eq!(answer.status, 408);
    }
    let mut half = sidecar.tcp();
    half.write_all(b"GET /lineside HT").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut half).status, 400);
    sidecar.browser(json!({}));
}

/// The status that a page of this origin gets.
fn status_of(sidecar: &Sidecar, origin: &str) -> u16 {
    let (_, answer) = sidecar.dial().header("Origin", origin).request();
    answer.status
}

#[test]
fn a_page_of_another_origin_is_refused_with_the_remedy() {
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
        let answer = sidecar.dial().header("Origin", &origin).refused();
        assert_eq!(answer.status, 403, "{origin:?} {answer:?}");
        assert!(
            answer.body.contains("LINESIDE_ALLOWED_ORIGINS"),
            "{answer:?}"
        );
    }
    let own = format!("http://127.0.0.1:{port}");
    let twice = sidecar
        .dial()
        .header("Origin", &own)
        .header("Origin", &own)
        .refused();
    assert_eq!(twice.status, 400, "two origins are none");
    assert_eq!(status_of(&sidecar, &own), 101);
    assert_eq!(status_of(&sidecar, &own.to_uppercase()), 101);
    assert_eq!(
        sidecar.dial().request().1.status,
        101,
        "who sends none is no page"
    );
}

#[test]
fn allowed_origins_are_exact_and_a_star_is_one_label() {
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
fn what_a_proxy_forwards_counts_only_from_a_trusted_one() {
    let forwarded = |sidecar: &Sidecar, host: &str, proto: &str| {
        let dial = sidecar
            .dial()
            .header("X-Forwarded-Host", host)
            .header("X-Forwarded-Proto", proto);
        dial.header("Origin", "https://app.example")
            .request()
            .1
            .status
    };
    let trusting = place().start();
    assert_eq!(forwarded(&trusting, "app.example", "https"), 101);
    assert_eq!(forwarded(&trusting, "app.example", "http"), 403);
    assert_eq!(forwarded(&trusting, "other.example", "https"), 403);
    let wary = place()
        .with("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8")
        .start();
    assert_eq!(forwarded(&wary, "app.example", "https"), 403);
}

#[test]
fn when_all_places_are_taken_the_next_is_told_to_come_again() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 2).start();
    let first = sidecar.browser(json!({}));
    let mut second = sidecar.browser(json!({}));
    let answer = sidecar.dial().refused();
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .field("retry-after")
            .is_some_and(|seconds| seconds.parse::<u32>().is_ok())
    );
    assert!(
        answer.body.contains("LINESIDE_CONNECTIONS_MAX"),
        "{answer:?}"
    );
    assert_eq!(
        sidecar
            .dial()
            .path("/up")
            .without("Upgrade")
            .refused()
            .status,
        200,
        "that is no reason to restart it"
    );
    // Who is in is not touched, and a place that is left is free again, whether left in order or not.
    second.send(json!({"type": "pong"}));
    first.leave();
    let third = within("a place is free", || {
        let (stream, answer) = sidecar.dial().request();
        (answer.status == 101).then_some(stream)
    });
    drop(third);
    let fourth = within("a place is free", || {
        let (stream, answer) = sidecar.dial().request();
        (answer.status == 101).then_some(stream)
    });
    assert_eq!(sidecar.dial().refused().status, 503);
    drop(fourth);
}

#[test]
fn an_upgrade_that_fails_takes_no_place() {
    let sidecar = place().with("LINESIDE_CONNECTIONS_MAX", 1).start();
    for _ in 0..5 {
        assert_eq!(status_of(&sidecar, "http://evil.example"), 403);
        assert_eq!(
            sidecar.dial().path("/lineside?token=%zz").refused().status,
            400
        );
        let mut gone = sidecar.tcp();
        gone.write_all(b"x").unwrap();
        gone.shutdown(std::net::Shutdown::Write).unwrap();
        gone.read_to_end(&mut Vec::new()).unwrap();
    }
    sidecar.browser(json!({}));
}
