use std::collections::HashMap;

use super::*;
use crate::listener::BindAddress;

#[derive(Default)]
pub(super) struct Table(pub(super) HashMap<&'static str, String>);

impl Source for Table {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        Ok(self.0.get(name).cloned())
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().map(|name| (*name).to_owned()).collect()
    }
}

pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Reads settings with a secret and the entries.
pub(crate) fn read(entries: &[(&'static str, &str)]) -> Result<Settings, String> {
    let mut table = Table::default();
    table.0.insert("LINESIDE_SECRET", SECRET.into());
    table.0.extend(
        entries
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned())),
    );
    Settings::read(&table)
}

#[test]
fn defaults_are_those_of_the_documentation() {
    let settings = read(&[]).unwrap();
    let at = |text: &str| BindAddress::At(text.parse().unwrap());
    assert_eq!(settings.bind.address, at("127.0.0.1:8090"));
    assert_eq!(settings.admin_bind.address, at("127.0.0.1:8091"));
    assert!(!settings.bind.is_chosen && !settings.admin_bind.is_chosen);
    assert_eq!(settings.path, "/lineside");
    assert_eq!(settings.cable_path, "/cable");
    assert_eq!(settings.cable_identity, CableIdentity::Required);
    assert!(
        settings.link.ends_with("tmp/lineside/development.sock") && settings.link.is_absolute()
    );
    assert!(settings.allowed_origins.is_empty() && settings.public_channels.is_empty());
}

#[test]
fn path_of_action_cable_is_found_below_a_root_unless_it_is_the_websockets() {
    let settings = read(&[]).unwrap();
    for path in ["/cable", "/shop/cable", "/1234567/a/cable"] {
        assert!(
            settings.is_cable(path) && !settings.is_websocket(path),
            "{path}"
        );
    }
    for path in [
        "/",
        "/cable/",
        "/cables",
        "//cable",
        "/x//cable",
        "x/cable",
        "/lineside",
    ] {
        assert!(!settings.is_cable(path), "{path}");
    }
    let settings = read(&[("LINESIDE_PATH", "/cable")]).unwrap();
    assert!(settings.is_websocket("/cable") && !settings.is_cable("/cable"));
}

#[test]
fn keys_of_turbo_are_read_and_never_shown() {
    assert_eq!(read(&[]).unwrap().turbo_keys.current().count(), 0);
    let settings = read(&[("LINESIDE_TURBO_KEYS", "c2VjcmV0, a2V5")]).unwrap();
    assert_eq!(settings.turbo_keys.current().count(), 2);
    assert!(!format!("{settings:?}").contains("c2VjcmV0"));
    let both = [
        ("LINESIDE_TURBO_KEYS", "aw=="),
        ("LINESIDE_TURBO_KEYS_FD", "9"),
    ];
    assert!(read(&both).unwrap_err().contains("both set"));
    let error = read(&[("LINESIDE_TURBO_KEYS", "aw==,c2VjcmV0?")]).unwrap_err();
    assert!(
        error.contains("key 2") && !error.contains("c2Vj"),
        "{error}"
    );
}

#[test]
fn secret_is_redacted() {
    let settings = read(&[]).unwrap();
    assert!(!format!("{settings:?}").contains(SECRET));
    assert!(
        settings
            .shown
            .contains(&("LINESIDE_SECRET", "[redacted]".into()))
    );
}

#[test]
fn error_of_a_wrong_value_names_its_setting() {
    for (name, value) in [
        ("LINESIDE_BIND", "8090"),
        ("LINESIDE_BIND", "localhost:8090"),
        ("LINESIDE_ADMIN_BIND", "8091"),
        ("LINESIDE_ADMIN_HOSTS", "http://metrics"),
        ("LINESIDE_LOG_FORMAT", "xml"),
        ("LINESIDE_LOG_LEVEL", "verbose"),
        ("LINESIDE_PATH", "lineside"),
        ("LINESIDE_PATH", "/a b"),
        ("LINESIDE_PATH", "/up"),
        ("LINESIDE_CABLE_PATH", "cable"),
        ("LINESIDE_CABLE_PATH", "/up"),
        ("LINESIDE_CABLE_IDENTITY", "none"),
        ("LINESIDE_TURBO_KEYS", "aw==,?"),
        ("LINESIDE_TURBO_KEYS_FD", "x"),
        ("LINESIDE_SECRET_FILE", "/also"),
        ("LINESIDE_LINK", "/tmp/x.sock"),
        ("LINESIDE_LINK", "unix:"),
        ("LINESIDE_ALLOWED_ORIGINS", "https://a.com,*"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/99"),
        ("LINESIDE_PUBLIC_CHANNELS", "scores:*,user:*"),
        ("LINESIDE_PUBLIC_CHANNELS", "cable:x"),
        ("LINESIDE_SHARDS", "0"),
        ("LINESIDE_SHARDS", "-1"),
        ("LINESIDE_SHARDS", "1025"),
        ("LINESIDE_HEARTBEAT_SECONDS", "soon"),
        ("LINESIDE_SECRET_FD", "x"),
        ("LINESIDE_PARENT_PID", "me"),
    ] {
        let error = read(&[(name, value)]).expect_err(name);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn time_longer_than_a_year_is_refused() {
    let most = u64::MAX.to_string();
    for name in [
        "LINESIDE_SLOW_SECONDS_MAX",
        "LINESIDE_REPLAY_SECONDS_MAX",
        "LINESIDE_HEARTBEAT_SECONDS",
        "LINESIDE_DRAIN_SECONDS_MAX",
        "LINESIDE_HISTORY_AGE_SECONDS_MAX",
    ] {
        assert!(read(&[(name, "31536000")]).is_ok());
        for value in ["31536001", &most] {
            let error = read(&[(name, value)]).unwrap_err();
            assert_eq!(
                error,
                format!("{name} is {value}: give a whole number from 1 to 31536000")
            );
        }
    }
}

#[test]
fn lists_and_networks_are_read() {
    let settings = read(&[
        ("LINESIDE_ALLOWED_ORIGINS", "https://a.com, https://*.b.com"),
        ("LINESIDE_TRUSTED_PROXIES", "10.0.0.0/8, ::1, 192.0.2.7"),
        ("LINESIDE_PUBLIC_CHANNELS", "news, scores:*"),
    ])
    .unwrap();
    assert_eq!(
        (
            settings.allowed_origins.len(),
            settings.trusted_proxies.len()
        ),
        (2, 3)
    );
    assert!(
        settings
            .public_channels
            .iter()
            .any(|grant| grant.opens("scores:7"))
    );
}

#[test]
fn misspelt_setting_is_unknown_and_one_for_ruby_is_not() {
    let settings = read(&[("LINESIDE_BINDD", "x"), ("LINESIDE_URL", "/x")]).unwrap();
    assert_eq!(settings.unknown, ["LINESIDE_BINDD"]);
}
