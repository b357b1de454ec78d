use super::*;

#[test]
fn star_matches_exactly_one_label() {
    let rule = OriginRule::parse("https://*.example.com").unwrap();
    assert!(rule.allows("https://a.example.com") && rule.allows("https://A.Example.com"));
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
        assert!(!rule.allows(other), "{other}");
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

#[test]
fn origins_of_apps_and_extensions_are_compared_exactly() {
    for text in [
        "capacitor://localhost",
        "ionic://localhost",
        "tauri://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "moz-extension://0f2b6d5e-7f0a-4c7e-9d0e-1b2c3d4e5f60",
        "app://obsidian.md",
        "vscode-webview://1a2b3c",
        "file://",
        "null",
    ] {
        let rule = OriginRule::parse(text).expect(text);
        assert!(rule.allows(text), "{text}");
        for other in [
            format!("{text}x"),
            format!("x{text}"),
            format!("{text}/"),
            format!("{text}:80"),
            "https://localhost".into(),
            String::new(),
        ] {
            assert!(!rule.allows(&other), "{text} allows {other}");
        }
    }
    let web = OriginRule::parse("https://a.example").unwrap();
    assert!(!web.allows("null") && !web.allows("capacitor://a.example"));
}

#[test]
fn slash_at_the_end_of_an_allowed_origin_is_ignored() {
    let rule = OriginRule::parse("https://example.org/").unwrap();
    assert_eq!(
        Some(&rule),
        OriginRule::parse("https://example.org").as_ref()
    );
    assert!(rule.allows("https://example.org") && !rule.allows("https://example.org/"));
    let rule = OriginRule::parse("capacitor://localhost/").unwrap();
    assert!(rule.allows("capacitor://localhost"));
}

#[test]
fn text_that_no_browser_sends_is_not_a_rule() {
    for text in [
        "",
        "example.org",
        "Null",
        "https://",
        "https://a b",
        "https://example.org/path",
        "https://example.org//",
        "https://user@example.org",
        "capacitor://",
        "capacitor://localhost/path",
        "://localhost",
        "1st://localhost",
        "capacitor://a?x",
        "javascript:x",
    ] {
        assert_eq!(OriginRule::parse(text), None, "{text:?}");
    }
}

#[test]
fn host_rules_match_as_those_of_rails() {
    let matches = |rule: &str, host: &str| HostRule::parse(rule).expect(rule).matches(host);
    for (rule, host, expected) in [
        ("shop.example", "shop.example", true),
        ("Shop.Example", "shop.example", true),
        ("shop.example", "www.shop.example", false),
        (".shop.example", "shop.example", true),
        (".shop.example", "a.b.shop.example", true),
        (".shop.example", "evilshop.example", false),
        (".localhost", "localhost", true),
        ("0.0.0.0/0", "192.0.2.1", true),
        ("0.0.0.0/0", "evil.example", false),
        ("::/0", "[::1]", true),
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("[::1]", "[::1]", true),
    ] {
        assert_eq!(matches(rule, host), expected, "{rule} {host}");
    }
    for text in ["", ".", "https://a", "a:80", "a/b", "a b", "*.a"] {
        assert_eq!(HostRule::parse(text), None, "{text:?}");
    }
}
