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
fn origin_behind_proxies_is_that_of_the_outermost_trusted_one() {
    let settings = settings("");
    let chain = "X-Forwarded-For: 203.0.113.7, 10.0.0.2\r\n";
    for (fields, expected) in [
        (
            "X-Forwarded-Proto: wss\r\nX-Forwarded-Host: shop.example\r\n",
            101,
        ),
        (
            "X-Forwarded-Proto: https,http\r\nX-Forwarded-Host: shop.example, b\r\n",
            101,
        ),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Host: shop.example\r\nX-Forwarded-Host: b\r\n",
            101,
        ),
        (
            "X-Forwarded-Proto: ws\r\nX-Forwarded-Host: shop.example\r\n",
            403,
        ),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example, b, c\r\n",
            403,
        ),
    ] {
        let head = get(
            "/lineside",
            &format!("Origin: https://shop.example\r\n{chain}{fields}"),
        );
        assert_eq!(status(&head, "10.1.2.3", &settings), expected, "{fields}");
        assert_eq!(
            status(&head, "::ffff:10.1.2.3", &settings),
            expected,
            "{fields}"
        );
        assert_eq!(status(&head, "192.0.2.1", &settings), 403, "{fields}");
    }
}

#[test]
fn own_origin_counts_only_with_a_known_host() {
    let settings = read(&[
        ("LINESIDE_HOSTS", ".app.example, 127.0.0.0/8"),
        ("LINESIDE_ALLOWED_ORIGINS", "https://shop.example"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8"),
    ])
    .unwrap();
    let request = |host: &str, origin: &str| {
        let text = format!("GET /lineside HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n\r\n");
        Head::parse(text.as_bytes()).unwrap().unwrap()
    };
    for (host, origin, expected) in [
        ("app.example", "http://app.example", 101),
        ("www.app.example:8090", "http://www.app.example:8090", 101),
        ("127.0.0.1:8090", "http://127.0.0.1:8090", 101),
        ("evil.example", "http://evil.example", 403),
        ("evil.example", "https://shop.example", 101),
    ] {
        assert_eq!(
            status(&request(host, origin), "192.0.2.1", &settings),
            expected,
            "{host} {origin}"
        );
    }
    let source = ServerOrigin::OfRequest("192.0.2.1".parse().unwrap());
    let refused = check_origin(
        &request("evil.example", "http://evil.example"),
        &source,
        &settings,
    );
    assert!(refused.unwrap_err().message.contains("LINESIDE_HOSTS"));
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
fn identity_is_read_beside_cookies_of_any_bytes() {
    let head = |cookies: &[u8]| {
        let request = [
            b"GET /lineside HTTP/1.1\r\nOrigin: http://a\r\n",
            cookies,
            b"\r\n",
        ];
        Head::parse(&request.concat()).unwrap().unwrap()
    };
    let latin1 = b"Cookie: name=J\xFCrgen; lineside=a.b.c; other=\xFF\r\n";
    assert_eq!(*identities(&head(latin1)), ["a.b.c".into()]);
    let utf8 = "Cookie: lineside=a.b.c; name=Jürgen; x\r\n";
    assert_eq!(*identities(&head(utf8.as_bytes())), ["a.b.c".into()]);
    let split = b"Cookie: \xFF\r\nCookie: lineside=a.b.c\r\n";
    assert_eq!(*identities(&head(split)), ["a.b.c".into()]);
    let several =
        b"Cookie: lineside=a.b.c; lineside=\xFF; lineside_1=d; lineside_=; lineside2=e\r\n";
    assert_eq!(
        *identities(&head(several)),
        ["a.b.c".into(), "d".into(), "".into()]
    );
    let many = format!("Cookie: {}\r\n", "lineside=a; ".repeat(IDENTITIES_MAX + 1));
    assert_eq!(identities(&head(many.as_bytes())).len(), IDENTITIES_MAX);
    for other in [
        &b"Cookie: xlineside=a.b.c\r\n"[..],
        b"Cookie: lineside\r\n",
        b"Cookie: lineside=\xFF\r\n",
    ] {
        assert!(identities(&head(other)).is_empty());
    }
}
