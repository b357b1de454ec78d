use super::*;
use crate::settings::tests::read;

fn get(target: &str, fields: &str) -> Head {
    let text = format!("GET {target} HTTP/1.1\r\nHost: app.example\r\n{fields}\r\n");
    Head::parse(text.as_bytes()).unwrap().unwrap()
}

fn settings(allowed: &str) -> Settings {
    let allowed = ("LINESIDE_ALLOWED_ORIGINS", allowed);
    read(&[allowed, ("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8")]).unwrap()
}

fn status(head: &Head, peer: &str, settings: &Settings) -> u16 {
    let source = ServerOrigin::OfRequest(peer.parse().unwrap());
    check_origin(head, &source, settings).map_or_else(|error| error.status, |()| 101)
}

#[test]
fn own_and_allowed_origins_are_accepted() {
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
fn second_origin_field_is_refused() {
    let head = get(
        "/lineside",
        "Origin: http://app.example\r\nOrigin: http://evil.com\r\n",
    );
    assert_eq!(status(&head, "192.0.2.1", &settings("")), 400);
}

#[test]
fn forwarded_host_counts_only_from_a_trusted_proxy() {
    let fields = "Origin: https://public.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: public.example\r\n";
    let head = get("/lineside", fields);
    assert_eq!(status(&head, "10.1.2.3", &settings("")), 101);
    assert_eq!(status(&head, "192.0.2.1", &settings("")), 403);
}

#[test]
fn refusal_of_an_origin_names_the_remedy() {
    let head = get("/lineside", "Origin: https://other.example\r\n");
    let error = check_origin(
        &head,
        &ServerOrigin::OfRequest("192.0.2.1".parse().unwrap()),
        &settings(""),
    )
    .unwrap_err();
    assert!(
        error.message.contains("https://other.example")
            && error.message.contains("LINESIDE_ALLOWED_ORIGINS")
    );
}

#[test]
fn url_and_subprotocol_can_be_the_connect() {
    let subscribe = |channel: &str| Subscribe {
        channel: channel.into(),
        token: None,
        after: None,
    };
    assert_eq!(connect(&get("/lineside", "")), Ok(None));
    assert_eq!(connect(&get("/lineside?after=e.1&x=y", "")), Ok(None));
    let target = "/lineside?token=t&after=e.1&channel=a%3A1&channel=b+c%C3%A9";
    let asked = connect(&get(target, "")).unwrap().unwrap();
    assert_eq!(asked.token.as_deref(), Some("t"));
    assert_eq!(asked.after, Some(After::parse("e.1")));
    assert_eq!(asked.subscribe, [subscribe("a:1"), subscribe("b cé")]);
    let head = get(
        "/lineside",
        "Sec-WebSocket-Protocol: lineside-v1, lineside.token.abc\r\n",
    );
    assert_eq!(
        connect(&head).unwrap().unwrap().token.as_deref(),
        Some("abc")
    );
}

#[test]
fn malformed_url_is_refused() {
    for query in [
        "channel=%",
        "channel=%4",
        "channel=%zz",
        "channel=%FF",
        "token=%+1",
    ] {
        assert_eq!(
            connect(&get(&format!("/lineside?{query}"), ""))
                .unwrap_err()
                .status,
            400,
            "{query}"
        );
    }
}
