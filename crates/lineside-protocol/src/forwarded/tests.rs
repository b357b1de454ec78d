use super::*;

/// Forwarded fields by their names.
fn forwarded(fields: &[(&str, &str)]) -> Forwarded {
    let get = |name| {
        let values = fields.iter().filter(|(known, _)| *known == name);
        values
            .map(|(_, value)| *value)
            .collect::<Vec<_>>()
            .join(",")
    };
    Forwarded::read(get)
}

const FOR: &str = "x-forwarded-for";
const HOST: &str = "x-forwarded-host";
const PROTO: &str = "x-forwarded-proto";

#[test]
fn origin_is_read_from_the_fields_of_each_proxy() {
    // Fields of the proxy, `Host` of the request that it sends, and the server's origin.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let shop = "https://shop.example";
    let cases: [Case<'_>; 18] = [
        ("no proxy", &[], "shop.example", "http://shop.example"),
        (
            "nginx of the guide",
            &[(FOR, "203.0.113.7"), (PROTO, "https")],
            "shop.example",
            shop,
        ),
        (
            "HAProxy",
            &[(FOR, "203.0.113.7"), (PROTO, "https")],
            "shop.example",
            shop,
        ),
        (
            "Traefik, which writes the scheme of the WebSocket",
            &[
                (FOR, "203.0.113.7"),
                (HOST, "shop.example"),
                (PROTO, "wss"),
                ("x-forwarded-port", "443"),
            ],
            "shop.example",
            shop,
        ),
        (
            "Traefik without TLS",
            &[(HOST, "shop.example"), (PROTO, "ws")],
            "shop.example",
            "http://shop.example",
        ),
        (
            "Caddy",
            &[
                (FOR, "203.0.113.7"),
                (HOST, "shop.example"),
                (PROTO, "https"),
            ],
            "shop.example",
            shop,
        ),
        (
            "Caddy to another name",
            &[(HOST, "shop.example"), (PROTO, "https")],
            "app.internal:3000",
            shop,
        ),
        (
            "Envoy",
            &[(FOR, "203.0.113.7"), (PROTO, "https")],
            "shop.example",
            shop,
        ),
        (
            "AWS ALB",
            &[(FOR, "203.0.113.7:51234"), (PROTO, "https")],
            "shop.example",
            shop,
        ),
        (
            "Cloudflare",
            &[(FOR, "203.0.113.7"), (PROTO, "https")],
            "shop.example",
            shop,
        ),
        (
            "kamal-proxy",
            &[
                (FOR, "203.0.113.7"),
                (HOST, "shop.example"),
                (PROTO, "https"),
            ],
            "shop.example",
            shop,
        ),
        (
            "Thruster",
            &[
                (FOR, "203.0.113.7"),
                (HOST, "shop.example:8443"),
                (PROTO, "https"),
            ],
            "shop.example:8443",
            "https://shop.example:8443",
        ),
        (
            "older settings",
            &[("x-forwarded-ssl", "on")],
            "shop.example",
            shop,
        ),
        (
            "nginx ingress",
            &[("x-forwarded-scheme", "https")],
            "shop.example",
            shop,
        ),
        (
            "RFC 7239",
            &[(
                "forwarded",
                "for=\"[2001:db8::1]:4711\";Proto=https;host=\"shop.example\"",
            )],
            "app.internal",
            shop,
        ),
        (
            "case and spaces",
            &[(HOST, " Shop.Example "), (PROTO, " HTTPS ")],
            "x",
            shop,
        ),
        (
            "empty fields",
            &[(HOST, ""), (PROTO, " ,")],
            "shop.example",
            "http://shop.example",
        ),
        (
            "unknown scheme",
            &[(PROTO, "quic")],
            "shop.example",
            "http://shop.example",
        ),
    ];
    for (proxy, fields, host, expected) in cases {
        let origin = forwarded(fields).server_origin("http", host, parse_address("203.0.113.7"));
        assert_eq!(
            origin.map(|origin| origin.to_string()).as_deref(),
            Some(expected),
            "{proxy}"
        );
    }
}

#[test]
fn value_of_the_outermost_trusted_proxy_counts() {
    let client = parse_address("203.0.113.7");
    let one = "203.0.113.7";
    let two = "203.0.113.7, 10.0.0.1";
    for (case, chain, proto, host, expected) in [
        (
            "two proxies that append",
            two,
            "https, http",
            "a.example, b.internal",
            "https://a.example",
        ),
        (
            "the field twice",
            two,
            "https,http",
            "a.example,a.example",
            "https://a.example",
        ),
        (
            "the second replaces",
            two,
            "https",
            "a.example",
            "https://a.example",
        ),
        (
            "the client wrote the first",
            one,
            "https, http",
            "evil.example, a.example",
            "http://a.example",
        ),
        (
            "the client wrote the first of two",
            two,
            "x, https, http",
            "evil.example, a.example, b",
            "https://a.example",
        ),
        (
            "unknown number of proxies",
            "",
            "https, http",
            "a.example, b.internal",
            "https://a.example",
        ),
        (
            "client without an address",
            "unknown",
            "https,http",
            "a.example",
            "https://a.example",
        ),
    ] {
        let fields = forwarded(&[(FOR, chain), (PROTO, proto), (HOST, host)]);
        let origin = fields.server_origin("http", "app.internal", client);
        assert_eq!(
            origin.map(|origin| origin.to_string()).as_deref(),
            Some(expected),
            "{case}"
        );
    }
}

#[test]
fn invalid_host_gives_no_origin() {
    for host in ["a b", "https://a.example", "user@a.example", "a.example:x"] {
        let fields = forwarded(&[(HOST, host), (PROTO, "https")]);
        assert_eq!(
            fields.server_origin("http", "a.example", None),
            None,
            "{host}"
        );
    }
}

#[test]
fn address_is_read_as_proxies_write_it() {
    for (text, expected) in [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:80", "fe80::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:7f00:1", "127.0.0.1"),
    ] {
        assert_eq!(parse_address(text), expected.parse().ok(), "{text}");
    }
    for text in [
        "",
        "unknown",
        "_hidden",
        "unix:",
        "203.0.113",
        "[",
        "]",
        "%",
        ":80",
    ] {
        assert_eq!(parse_address(text), None, "{text}");
    }
}
