use super::*;
use crate::settings::tests::read;

fn head(text: &str) -> Head {
    Head::parse(text.as_bytes()).expect(text).expect("whole")
}

fn get(target: &str, fields: &str) -> Head {
    head(&format!(
        "GET {target} HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n"
    ))
}

#[test]
fn head_is_read_once_it_is_complete() {
    let text = "GET /lineside HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\n\r\n";
    for cut in 0..text.len() {
        assert!(
            Head::parse(&text.as_bytes()[..cut]).unwrap().is_none(),
            "{cut}"
        );
    }
    let head = Head::parse(format!("{text}tail").as_bytes())
        .unwrap()
        .unwrap();
    assert!(head.is_upgrade());
    assert_eq!(head.bytes, text.len());
}

#[test]
fn invalid_head_is_refused_with_its_status() {
    assert_eq!(
        Head::parse(b"\x16\x03\x01\x02\x00")
            .map(|_| ())
            .map_err(|error| error.status),
        Err(400)
    );
    assert_eq!(
        Head::parse(b"GET / HTTP/9\r\n\r\n")
            .map(|_| ())
            .map_err(|error| error.status),
        Err(400)
    );
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(HEAD_BYTES_MAX));
    assert_eq!(
        Head::parse(long.as_bytes())
            .map(|_| ())
            .map_err(|error| error.status),
        Err(431)
    );
    let many = format!(
        "GET / HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(HEADERS_MAX + 1)
    );
    assert_eq!(
        Head::parse(many.as_bytes())
            .map(|_| ())
            .map_err(|error| error.status),
        Err(400)
    );
}

#[test]
fn upgrade_names_the_offered_subprotocol_and_never_a_token() {
    let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = |offered: &str| {
        let answer = get("/lineside", &format!("{key}{offered}")).upgrade("lineside-v1");
        String::from_utf8(answer.unwrap()).unwrap()
    };
    let answer = upgrade("Sec-WebSocket-Protocol: lineside-v1, lineside.token.abc\r\n");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(
        answer.contains("sec-websocket-protocol: lineside-v1\r\n"),
        "{answer}"
    );
    assert!(!answer.contains("abc"), "{answer}");
    // The example of RFC 6455 §1.3.
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    let answer = upgrade("Sec-WebSocket-Protocol: other\r\n");
    assert!(!answer.contains("sec-websocket-protocol"), "{answer}");
    assert_eq!(
        get("/lineside", "")
            .upgrade("lineside-v1")
            .unwrap_err()
            .status,
        400
    );
}

#[test]
fn fields_of_an_upgrade_are_lists() {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (fields, expected) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        (
            "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n",
            true,
        ),
        (
            "Connection: upgrade\r\nConnection: close\r\nUpgrade: h2c, websocket\r\n",
            true,
        ),
        (
            "Connection: keep-alive,\tUPGRADE ,\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
            true,
        ),
        (
            "Connection: \u{fc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            true,
        ),
        ("Connection: keep-alive\r\nUpgrade: websocket\r\n", false),
        ("Connection: Upgraded\r\nUpgrade: websocket\r\n", false),
        ("Connection: Upgrade\r\nUpgrade: websockets\r\n", false),
    ] {
        let answer = get("/lineside", &format!("{key}{fields}")).upgrade("lineside-v1");
        assert_eq!(answer.is_ok(), expected, "{fields}");
    }
    let head = get("/lineside", "Upgrade: h2c\r\nUpgrade: websocket\r\n");
    assert!(head.is_upgrade());
}

#[test]
fn other_version_of_the_protocol_is_answered_with_426() {
    let upgrade = |version: &str| {
        let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let answer = get("/lineside", &format!("{fields}{version}")).upgrade("lineside-v1");
        answer.map_or_else(|error| error.status, |_| 101)
    };
    assert_eq!(upgrade("Sec-WebSocket-Version: 13\r\n"), 101);
    assert_eq!(upgrade("Sec-WebSocket-Version: 8, 13\r\n"), 101);
    for other in ["8", "0", "14", "x", ""] {
        let field = format!("Sec-WebSocket-Version: {other}\r\n");
        assert_eq!(upgrade(&field), 426, "{other}");
    }
    assert_eq!(upgrade(""), 400, "without a version");
}

#[test]
fn other_protocols_of_a_proxy_are_refused_with_the_remedy() {
    let get = "GET /lineside HTTP/1.1\r\n\r\n";
    for (first, remedy) in [
        ("PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n", "turn it off"),
        ("\r\n\r\n\0\r\nQUIT\n!\u{11}\0\u{c}", "turn it off"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "use HTTP/1.1"),
        ("\u{16}\u{3}\u{1}\u{2}", "use http://"),
    ] {
        let error = Head::parse(format!("{first}{get}").as_bytes()).unwrap_err();
        assert_eq!(error.status, 400, "{first:?}");
        assert!(error.message.contains(remedy), "{}", error.message);
    }
    let head = head(
        "GET /lineside HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let error = head.upgrade("lineside-v1").unwrap_err();
    assert!(
        error.message.contains("proxy_http_version 1.1"),
        "{}",
        error.message
    );
}

#[test]
fn client_is_the_nearest_address_that_is_not_a_trusted_proxy() {
    let settings = read(&[("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8")]).unwrap();
    let client = |peer: &str, fields: &str| {
        let peer = format!("{peer}:5000").parse().unwrap();
        get("/lineside", fields).client(peer, &settings).to_string()
    };
    let told = "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.0.0.2\r\n";
    assert_eq!(client("10.0.0.1", told), "203.0.113.7:0");
    // The header of an untrusted peer is ignored.
    assert_eq!(client("192.0.2.1", told), "192.0.2.1:5000");
    assert_eq!(client("10.0.0.1", ""), "10.0.0.1:5000");
    let two = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", two), "198.51.100.1:0");
    let nonsense = "X-Forwarded-For: 198.51.100.1, unknown, 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", nonsense), "10.0.0.3:0");
    let odd = "X-Forwarded-For: [2001:db8::1]:4711, 10.0.0.3:80, ::ffff:10.0.0.2\r\n";
    assert_eq!(client("10.0.0.1", odd), "[2001:db8::1]:0");
    assert_eq!(client("[::ffff:10.0.0.1]", told), "203.0.113.7:0");
    assert_eq!(client("[::ffff:192.0.2.1]", told), "192.0.2.1:5000");
    let all_ours = "X-Forwarded-For: 10.0.0.9, 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", all_ours), "10.0.0.9:0");
}
