use super::*;

fn head(text: &str) -> Head {
    Head::parse(text.as_bytes()).expect(text).expect("whole")
}

fn get(target: &str, fields: &str) -> Head {
    head(&format!(
        "GET {target} HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n"
    ))
}

fn settings(allowed: &str) -> Settings {
    struct Table(String);
    impl crate::settings::Source for Table {
        fn get(&self, name: &str) -> Result<Option<String>, String> {
            Ok(match name {
                "LINESIDE_SECRET" => Some("0123456789abcdef0123456789abcdef".into()),
                "LINESIDE_ALLOWED_ORIGINS" => Some(self.0.clone()),
                "LINESIDE_TRUSTED_PROXIES" => Some("10.0.0.0/8".into()),
                _ => None,
            })
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }
    Settings::read(&Table(allowed.into())).unwrap()
}

fn status(head: &Head, peer: &str, settings: &Settings) -> u16 {
    head.check_origin(&Own::Asked(peer.parse().unwrap()), settings)
        .map_or_else(|error| error.status, |()| 101)
}

#[test]
fn a_head_is_read_when_it_is_whole() {
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
fn what_is_no_head_is_answered() {
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
fn a_page_of_this_host_and_one_that_is_named_come_in() {
    let settings = settings("https://shop.example, https://*.cdn.example:8443");
    for (origin, expected) in [
        ("http://app.example", 101),
        ("http://APP.example:80", 101),
        ("https://shop.example", 101),
        ("https://a.cdn.example:8443", 101),
        ("https://app.example", 403),
        ("http://app.example:81", 403),
        ("http://app.example.", 403),
        ("http://app.example.evil.com", 403),
        ("http://evil-app.example", 403),
        ("http://shop.example", 403),
        ("https://x.shop.example", 403),
        ("https://a.b.cdn.example:8443", 403),
        ("null", 403),
        ("", 403),
        ("http://app.example/", 403),
        ("http://app.example@evil.com", 403),
    ] {
        let head = get("/lineside", &format!("Origin: {origin}\r\n"));
        assert_eq!(status(&head, "192.0.2.1", &settings), expected, "{origin}");
    }
    assert_eq!(status(&get("/lineside", ""), "192.0.2.1", &settings), 101);
}

#[test]
fn an_origin_that_comes_twice_is_refused() {
    let head = get(
        "/lineside",
        "Origin: http://app.example\r\nOrigin: http://evil.com\r\n",
    );
    assert_eq!(status(&head, "192.0.2.1", &settings("")), 400);
}

#[test]
fn what_a_proxy_forwards_counts_only_from_a_trusted_one() {
    let fields = "Origin: https://public.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n";
    let head = get("/lineside", fields);
    assert_eq!(status(&head, "10.1.2.3", &settings("")), 101);
    assert_eq!(status(&head, "192.0.2.1", &settings("")), 403);
}

#[test]
fn a_refusal_names_the_remedy() {
    let head = get("/lineside", "Origin: https://other.example\r\n");
    let error = head
        .check_origin(&Own::Asked("192.0.2.1".parse().unwrap()), &settings(""))
        .unwrap_err();
    assert!(
        error.message.contains("https://other.example")
            && error.message.contains("LINESIDE_ALLOWED_ORIGINS")
    );
}

#[test]
fn a_url_or_a_subprotocol_can_be_the_connect() {
    let subscribe = |channel: &str| Subscribe {
        channel: channel.into(),
        token: None,
        after: None,
    };
    assert_eq!(get("/lineside", "").connect(), Ok(None));
    assert_eq!(get("/lineside?after=e.1&x=y", "").connect(), Ok(None));
    let connect = get(
        "/lineside?token=t&after=e.1&channel=a%3A1&channel=b+c%C3%A9",
        "",
    )
    .connect()
    .unwrap()
    .unwrap();
    assert_eq!(connect.token.as_deref(), Some("t"));
    assert_eq!(connect.after, Some(After::parse("e.1")));
    assert_eq!(connect.subscribe, [subscribe("a:1"), subscribe("b cé")]);
    let head = get(
        "/lineside",
        "Sec-WebSocket-Protocol: lineside-v1, lineside.token.abc\r\n",
    );
    assert_eq!(
        head.connect().unwrap().unwrap().token.as_deref(),
        Some("abc")
    );
}

#[test]
fn the_answer_names_our_subprotocol_if_it_was_asked_for_and_never_a_token() {
    let key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let upgrade = |offered: &str| {
        let answer = get("/lineside", &format!("{key}{offered}")).upgrade();
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
    assert_eq!(get("/lineside", "").upgrade().unwrap_err().status, 400);
}

#[test]
fn a_broken_url_is_refused() {
    for query in [
        "channel=%",
        "channel=%4",
        "channel=%zz",
        "channel=%FF",
        "token=%+1",
    ] {
        assert_eq!(
            get(&format!("/lineside?{query}"), "")
                .connect()
                .unwrap_err()
                .status,
            400,
            "{query}"
        );
    }
}

#[test]
fn the_client_is_the_nearest_address_that_no_trusted_proxy_has() {
    let settings = settings("");
    let client = |peer: &str, fields: &str| {
        let peer = format!("{peer}:5000").parse().unwrap();
        get("/lineside", fields).client(peer, &settings).to_string()
    };
    let told = "X-Forwarded-For: 198.51.100.1, 203.0.113.7, 10.0.0.2\r\n";
    assert_eq!(client("10.0.0.1", told), "203.0.113.7:0");
    // Who is no proxy of ours may claim to have asked for anybody.
    assert_eq!(client("192.0.2.1", told), "192.0.2.1:5000");
    assert_eq!(client("10.0.0.1", ""), "10.0.0.1:5000");
    let two = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", two), "198.51.100.1:0");
    let nonsense = "X-Forwarded-For: 198.51.100.1, unknown, 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", nonsense), "10.0.0.3:0");
    let all_ours = "X-Forwarded-For: 10.0.0.9, 10.0.0.3\r\n";
    assert_eq!(client("10.0.0.1", all_ours), "10.0.0.9:0");
}
