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
fn schemes_of_an_upgrade_are_those_of_its_page() {
    assert_eq!(
        Origin::of("wss", "a.example"),
        Origin::of("https", "a.example:443")
    );
    assert_eq!(
        Origin::of("WS", "a.example").unwrap().to_string(),
        "http://a.example"
    );
    assert_ne!(
        Origin::of("wss", "a.example"),
        Origin::of("http", "a.example")
    );
}
