//! Readers of bytes from outside: one function for each kind of input.
//!
//! Each function takes any bytes, and reads them as the sidecar or the publisher does. It panics if the code under test
//! panics, or if a result breaks a rule for all input. `bin/test fuzz` searches with these functions, and every run of the
//! tests gives them the inputs in `fuzz/corpus`.

mod browser;
mod link;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lineside::dialects::Opening;
use lineside::head::{HEAD_BYTES_MAX, Head, ServerOrigin};
use lineside::origin::Origin;
use lineside::settings::{Settings, Source};
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::{After, Cursor};
use lineside_token::{Keys, verify_channel, verify_connection, verify_identity};
use sha2::{Digest as _, Sha256};

use browser::{commands, frames, reports, requests};
use link::{answers, hand_off, publications};

/// Reader of one kind of input.
type Read = fn(&[u8]);

/// Kinds of input by name.
const KINDS: [(&str, Read); 12] = [
    ("answers", answers),
    ("commands", commands),
    ("cursors", cursors),
    ("frames", frames),
    ("hand_off", hand_off),
    ("publications", publications),
    ("reports", reports),
    ("requests", requests),
    ("settings", settings),
    ("states", states),
    ("tokens", tokens),
    ("upgrades", upgrades),
];

/// Names of all kinds: those of their fuzz targets, and of their folders in the corpus.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind)
}

/// Reads bytes as input of a kind.
///
/// # Panics
/// Panics if the code under test has a fault, or if the kind is unknown.
pub fn read(kind: &str, bytes: &[u8]) {
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let (_, read) = known.unwrap_or_else(|| panic!("no input is called {kind:?}"));
    read(bytes);
}

/// Secret that signs the tokens of the corpus.
const SECRET: &str = "a secret of the corpus that is long enough";

/// Wall clock of every input, in milliseconds since the Unix epoch.
const WALL_MS: u64 = 1_800_000_000_000;

/// Settings from a table instead of the environment.
struct Table<'a>(Vec<(&'a str, &'a str)>);

impl Source for Table<'_> {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        Ok(found.map(|(_, value)| (*value).to_owned()))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// Settings with only a secret. Read once, because a search reads millions of inputs.
static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| {
    Settings::read(&Table(vec![("LINESIDE_SECRET", SECRET)])).expect("the defaults are valid")
});

fn keys() -> Keys {
    Keys::parse(SECRET).expect("the secret is long enough")
}

/// Splits the bytes in two, at the place that their first byte says. A socket may deliver bytes in parts.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((&at, rest)) = bytes.split_first() else {
        return (&[], &[]);
    };
    rest.split_at(rest.len() * usize::from(at) / 255)
}

/// A cursor of a client. A valid cursor is written as it was read.
fn cursors(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let cursor = Cursor::parse(text);
    if let Some(cursor) = &cursor {
        assert_eq!(cursor.to_string(), text);
    }
    assert_eq!(
        After::parse(text),
        cursor.map_or(After::Unknown, After::Cursor)
    );
}

/// Variables of the environment, one `NAME=value` a line. The secret is in no error and not in the debug output.
fn settings(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    // An input must not choose files and descriptors of this machine.
    let table: Vec<_> = lines
        .filter(|(name, _)| !["LINESIDE_SECRET_FILE", "LINESIDE_SECRET_FD"].contains(name))
        .collect();
    let secret = table.iter().find(|(name, _)| *name == "LINESIDE_SECRET");
    let secret = secret.map_or("", |(_, secret)| secret);
    let elsewhere = table.iter().any(|(name, value)| {
        *name != "LINESIDE_SECRET" && (value.contains(secret) || name.contains(secret))
    });
    let said = match Settings::read(&Table(table)) {
        Ok(settings) => format!("{settings:?}"),
        Err(error) => error,
    };
    // A shorter secret is refused, and may be a word of the error by chance.
    assert!(
        secret.len() < 32 || elsewhere || !said.contains(secret),
        "{said}"
    );
}

/// A snapshot, twice: as it is, and with a valid checksum. A restored hub can be saved, and restored again as the same.
fn states(bytes: &[u8]) {
    let restore = |state: &[u8]| Hub::restore(state, HistoryLimits::default(), PUBLISHERS_MAX);
    let _damaged = restore(bytes);
    let whole = [bytes, Sha256::digest(bytes).as_slice()].concat();
    let Ok((hub, at)) = restore(&whole) else {
        return;
    };
    let save = |hub: &Hub, at| {
        let mut state = Vec::new();
        hub.save(at, &mut state).expect("memory has room");
        state
    };
    let saved = save(&hub, at);
    let (again, at) = restore(&saved).expect("it was just saved");
    assert_eq!(save(&again, at), saved);
}

/// A token, twice: as it is, and as a header line and claims that the valid secret signs.
fn tokens(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let keys = keys();
    // Without the secret no input is a valid token.
    assert!(verify_connection(text, &keys, WALL_MS).is_err());
    assert!(verify_channel(text, &keys, WALL_MS).is_err());
    assert!(verify_identity(text, &keys, WALL_MS).is_err());
    let Some((header, claims)) = text.split_once('\n') else {
        return;
    };
    let signed = sign(header, claims);
    if let Ok(claims) = verify_connection(&signed, &keys, WALL_MS) {
        for name in claims
            .channels
            .iter()
            .map(String::as_str)
            .chain(["cable:a", "user:", "user:*"])
        {
            let is_own = name
                .strip_prefix("user:")
                .is_some_and(|user| claims.sub.as_deref() == Some(user));
            let is_reserved = lineside_protocol::channel::is_reserved(name);
            assert!(is_own || !(is_reserved && claims.opens(name)), "{name}");
        }
    }
    if let Ok(claims) = verify_identity(&signed, &keys, WALL_MS) {
        assert!(claims.channels.is_empty() && claims.allow.is_empty());
    }
    if let Ok(claims) = verify_channel(&signed, &keys, WALL_MS) {
        assert!(!lineside_protocol::channel::is_reserved(&claims.channel));
    }
}

fn sign(header: &str, claims: &str) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())
        .expect("every length is valid")
        .chain_update(&signed)
        .finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

/// Head of an upgrade request. It is complete at its end, and not before.
fn upgrades(bytes: &[u8]) {
    let (first, rest) = cut(bytes);
    let whole = [first, rest].concat();
    let Ok(Some(head)) = Head::parse(&whole) else {
        return;
    };
    if first.len() < head.bytes.min(HEAD_BYTES_MAX) {
        assert!(matches!(Head::parse(first), Ok(None)));
    }
    let settings = &*DEFAULTS;
    for peer in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)] {
        let _client = head.client(SocketAddr::from((peer, 1)), settings);
        let server = ServerOrigin::OfRequest(IpAddr::V4(peer));
        let _opening = Opening::of_request(&head, &server, settings);
    }
    // With this origin the request passes the check, and the rest of the head is read.
    if let Some(own) = head.origin().ok().flatten().and_then(Origin::parse) {
        let _opening = Opening::of_request(&head, &ServerOrigin::OfApp(Some(own)), settings);
    }
    if let Ok(answer) = head.upgrade("lineside-v1") {
        // No part of the request begins a line of the answer.
        let lines = answer.windows(2).filter(|pair| pair == b"\r\n").count();
        assert!(
            answer.ends_with(b"\r\n\r\n") && (5..=6).contains(&lines),
            "{lines} lines"
        );
    }
}
