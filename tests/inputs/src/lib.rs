//! Whatever bytes come from outside, the code that reads them returns: one function for each kind of bytes.
//!
//! Each takes any bytes, reads them as the sidecar or the publisher would, and panics if that panics, or if what it gives
//! breaks a rule that holds for all input. They are what `bin/test fuzz` searches with, and what the kept inputs in
//! `fuzz/corpus` are fed to in every run of the tests.

mod browser;
mod link;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use lineside::http::head::{HEAD_BYTES_MAX, Head, Own};
use lineside::settings::{Settings, Source};
use lineside_hub::{HistoryLimits, Hub, PUBLISHERS_MAX};
use lineside_protocol::{After, Cursor};
use lineside_token::{Keys, verify_channel, verify_connection, verify_identity};
use sha2::{Digest as _, Sha256};

use browser::{frames, requests};
use link::{answers, hand_off, publications};

/// What reads one kind of bytes.
type Read = fn(&[u8]);

/// Every kind by its name.
const KINDS: [(&str, Read); 10] = [
    ("answers", answers),
    ("cursors", cursors),
    ("frames", frames),
    ("hand_off", hand_off),
    ("publications", publications),
    ("requests", requests),
    ("settings", settings),
    ("states", states),
    ("tokens", tokens),
    ("upgrades", upgrades),
];

/// The names of all kinds: those of their fuzz targets, and of their folders in the corpus.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(kind, _)| *kind)
}

/// Reads bytes as if they were of that kind.
///
/// # Panics
/// When what reads them is wrong, or there is no such kind.
pub fn read(kind: &str, bytes: &[u8]) {
    let known = KINDS.iter().find(|(name, _)| *name == kind);
    let (_, read) = known.unwrap_or_else(|| panic!("no input is called {kind:?}"));
    read(bytes);
}

/// What tokens of the corpus are signed with.
const SECRET: &str = "a secret of the corpus that is long enough";

/// The time at which they are read, in milliseconds since the Unix epoch.
const WALL_MS: u64 = 1_800_000_000_000;

/// A table in the place of the environment.
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

/// Settings where only the secret is given; read once, since inputs come by the million.
static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| {
    Settings::read(&Table(vec![("LINESIDE_SECRET", SECRET)])).expect("the defaults hold")
});

fn keys() -> Keys {
    Keys::parse(SECRET).expect("the secret is long enough")
}

/// The bytes in two parts, cut where their first byte says: what comes over a socket comes in parts.
fn cut(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((&at, rest)) = bytes.split_first() else {
        return (&[], &[]);
    };
    rest.split_at(rest.len() * usize::from(at) / 255)
}

/// A cursor that a client sends. One that can be read is written as it came, or it would be another one.
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

/// The variables of the environment, one `NAME=value` a line. The secret stands in no error and nowhere in what is read.
fn settings(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    // These name files and descriptors of the machine, which are not the input's to choose.
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
    // A shorter one is refused, and may be a word of the error by chance.
    assert!(
        secret.len() < 32 || elsewhere || !said.contains(secret),
        "{said}"
    );
}

/// What a planned stop has left, twice: as it came, and behind a checksum that fits. A hub that can be restored can be
/// saved, and is then the same.
fn states(bytes: &[u8]) {
    let restore = |state: &[u8]| Hub::restore(state, HistoryLimits::default(), PUBLISHERS_MAX);
    let _damaged = restore(bytes);
    let whole = [bytes, Sha256::digest(bytes).as_slice()].concat();
    let Ok((hub, at)) = restore(&whole) else {
        return;
    };
    let save = |hub: &Hub, at| {
        let mut state = Vec::new();
        hub.save(at, &mut state).expect("a Vec takes every byte");
        state
    };
    let saved = save(&hub, at);
    let (again, at) = restore(&saved).expect("it was just saved");
    assert_eq!(save(&again, at), saved);
}

/// A token, twice: as it came, and as claims, behind a line with the header, that the right secret has signed.
fn tokens(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let keys = keys();
    // Who has not the secret gets no token past it.
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
        .expect("any length will do")
        .chain_update(&signed)
        .finalize();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.into_bytes()))
}

/// The head of an upgrade request. It is whole at its end, and not before.
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
        let _judged = head.check_origin(&Own::Asked(IpAddr::V4(peer)), settings);
    }
    let _connect = head.connect();
    let _identity = head.identity();
    if let Ok(answer) = head.upgrade() {
        // Nothing of the request begins a line of the answer.
        let lines = answer.windows(2).filter(|pair| pair == b"\r\n").count();
        assert!(
            answer.ends_with(b"\r\n\r\n") && (5..=6).contains(&lines),
            "{lines} lines"
        );
    }
}
