use super::*;

fn origin(text: &str) -> Origin {
    Origin::parse(text).expect(text)
}

#[test]
fn origins_are_compared_by_scheme_host_and_port_without_case() {
    assert_eq!(
        origin("HTTP://Example.com"),
        Origin::of("http", "example.COM:80").unwrap()
    );
    assert_eq!(
        origin("https://[::1]:8443").to_string(),
        "https://[::1]:8443"
    );
    assert_eq!(
        origin("https://example.com:443").to_string(),
        "https://example.com"
    );
    for other in [
        "https://example.com",
        "http://example.com:8080",
        "http://example.com.",
        "http://www.example.com",
    ] {
        assert_ne!(origin(other), origin("http://example.com"), "{other}");
    }
}

#[test]
fn invalid_origin_is_refused() {
    for text in [
        "",
        "null",
        "example.com",
        "//example.com",
        "http://",
        "http:///",
        "http://example.com/",
        "http://a b",
        "http://user@example.com",
        "http://example.com:",
        "http://example.com:+80",
        "http://example.com:99999",
        "ftp://example.com",
        "file://",
        "http://exämple.com",
        "http://[::1",
        "http://[]",
        "http://example.com#x",
        "http://example.com?x",
        "http://example.com\u{0}",
        "http://example.com, http://evil.com",
        "javascript://x",
    ] {
        assert_eq!(Origin::parse(text), None, "{text:?}");
    }
}

#[test]
fn star_matches_exactly_one_label() {
    let rule = OriginRule::parse("https://*.example.com").unwrap();
    assert!(
        rule.allows(&origin("https://a.example.com"))
            && rule.allows(&origin("https://A.Example.com"))
    );
    for other in [
        "https://example.com",
        "https://evilexample.com",
        "https://a.b.example.com",
        "http://a.example.com",
        "https://a.example.com:444",
        "https://.example.com",
        "https://a.example.com.evil.com",
        "https://a.example.com.",
    ] {
        assert!(
            !Origin::parse(other).is_some_and(|origin| rule.allows(&origin)),
            "{other}"
        );
    }
}

#[test]
fn star_elsewhere_is_not_a_rule() {
    for text in [
        "*",
        "https://*",
        "https://a.*.com",
        "https://*example.com",
        "https://*.",
        "*.example.com",
    ] {
        assert_eq!(OriginRule::parse(text), None, "{text:?}");
    }
}
