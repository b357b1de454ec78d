//! The settings, `LINESIDE_*`, read once from the environment; nothing else reads it.

use std::env::VarError;
use std::fmt::Display;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use lineside_hub::HistoryLimits;
use lineside_protocol::channel;
use lineside_token::{Grant, Keys};

use crate::keyring::Keyring;
use crate::listener::Bind;
use crate::origin::{Origin, OriginRule};

/// Longest path of a Unix socket, in bytes: `sun_path` of unix(7) holds 108 with the closing NUL.
const LINK_PATH_BYTES_MAX: usize = 107;

/// Where the health check is.
pub(crate) const HEALTH_PATH: &str = "/up";

/// Longest time that can be set, in seconds: a year. Sums of times stay far from any overflow.
const SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Most shards, which are threads: more than any machine has cores.
const SHARDS_MAX: usize = 1024;

/// What `LINESIDE_BIND` and `LINESIDE_ADMIN_BIND` want.
const ADDRESS: &str =
    "an address and a port, such as 127.0.0.1:8090, [::1]:8090 or 0.0.0.0:0, or none";

/// The one place of the secret that can change while the sidecar runs.
pub(crate) const SECRET_FILE: &str = "LINESIDE_SECRET_FILE";

/// Whose child the sidecar is to be.
const PARENT_PID: &str = "LINESIDE_PARENT_PID";

/// Settings that only Ruby's side reads; one `.env` may hold both.
const RUBY_ONLY: &[&str] = &[
    "LINESIDE_BINARY",
    "LINESIDE_PAYLOAD_BYTES_MAX",
    "LINESIDE_SPOOL_BYTES_MAX",
    "LINESIDE_SPOOL_SECONDS_MAX",
    "LINESIDE_URL",
    "LINESIDE_USER_CLASS",
];

/// Everything that `serve` can be told.
#[derive(Debug)]
pub struct Settings {
    /// `LINESIDE_LINK`: where publishers meet the sidecar.
    pub(crate) link: PathBuf,
    /// `LINESIDE_BIND`: the listener for browsers.
    pub(crate) bind: Bind,
    /// `LINESIDE_ADMIN_BIND`: the listener for operators.
    pub(crate) admin_bind: Bind,
    /// `LINESIDE_ADMIN_HOSTS`: names that the latter may be asked by.
    pub(crate) admin_hosts: Vec<String>,
    /// `LINESIDE_PATH`: where browsers ask for `lineside-v1`.
    pub(crate) path: String,
    /// `LINESIDE_SECRET`, `_FILE` or `_FD`: what tokens are verified with.
    pub(crate) keys: Arc<Keyring>,
    /// `LINESIDE_ALLOWED_ORIGINS`, beside the request's own.
    pub(crate) allowed_origins: Vec<OriginRule>,
    /// `LINESIDE_TRUSTED_PROXIES`: whose X-Forwarded-* count.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// `LINESIDE_PUBLIC_CHANNELS`: names or prefixes that need no token.
    pub(crate) public_channels: Vec<Grant>,
    /// `LINESIDE_PARENT_PID`: whose child the sidecar is for life; set by who starts it so, such as the Puma plugin.
    pub(crate) parent_pid: Option<u32>,
    /// What bounds connections, outboxes and history.
    pub limits: Limits,
    /// The whole, for the log, without secrets.
    pub(crate) shown: Vec<(&'static str, String)>,
    /// Variables that look like settings and are none.
    pub(crate) unknown: Vec<String>,
}

/// The limits that a user can move.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `LINESIDE_SHARDS`: threads that own connections; one per core by default.
    pub shards: usize,
    /// `LINESIDE_CONNECTIONS_MAX`: browsers at one time; bounded by the process's descriptors besides.
    pub connections_max: usize,
    /// `LINESIDE_OUTBOX_BYTES_MAX`: what may wait for a connection whose kernel buffer is full.
    pub outbox_bytes_max: usize,
    /// `LINESIDE_SLOW_SECONDS_MAX`: how long the kernel may refuse a connection's bytes.
    pub slow_seconds_max: u64,
    /// `LINESIDE_REPLAY_SECONDS_MAX`: how long the kernel may refuse some of a replay, if it takes the rest little by little.
    pub replay_seconds_max: u64,
    /// `LINESIDE_HEARTBEAT_SECONDS`: between pings. 25: proxies close what is idle for 30 to 60 seconds.
    pub heartbeat_seconds: u64,
    /// `LINESIDE_DRAIN_SECONDS_MAX`: how long a planned stop may take.
    pub drain_seconds_max: u64,
    /// `LINESIDE_HISTORY_*`: what the journal keeps.
    pub history: HistoryLimits,
}

/// Where settings come from; tests put a table in its place.
pub trait Source {
    /// The value of a variable, if it is set and not empty.
    ///
    /// # Errors
    /// When it is not text.
    fn get(&self, name: &str) -> Result<Option<String>, String>;
    /// Every variable's name.
    fn names(&self) -> Vec<String>;
}

/// The process's environment.
#[derive(Debug)]
pub(crate) struct Environment;

impl Source for Environment {
    fn get(&self, name: &str) -> Result<Option<String>, String> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(value)) => Err(format!("{name} is {value:?}: not UTF-8")),
        }
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }
}

/// Reads values by name, remembers what it was asked for, and shows what it found.
struct Reader<'a, S> {
    source: &'a S,
    shown: Vec<(&'static str, String)>,
}

impl<S: Source> Reader<'_, S> {
    fn text(&mut self, name: &'static str, default: &str) -> Result<String, String> {
        let value = self.source.get(name)?.unwrap_or_else(|| default.to_owned());
        self.shown.push((name, value.clone()));
        Ok(value)
    }

    /// `wanted` says what there should be.
    fn parsed<T: FromStr>(
        &mut self,
        (name, wanted): (&'static str, &str),
        default: &str,
    ) -> Result<T, String> {
        let text = self.text(name, default)?;
        text.parse()
            .map_err(|_| format!("{name} is {text:?}: give {wanted}"))
    }

    /// A number of at least one.
    fn count<T: FromStr + PartialOrd + From<u8>>(
        &mut self,
        name: &'static str,
        default: impl Display,
    ) -> Result<T, String> {
        let wanted = "a whole number from 1";
        let value: T = self.parsed((name, wanted), &default.to_string())?;
        if value < T::from(1) {
            Err(format!("{name} is 0: give {wanted}"))
        } else {
            Ok(value)
        }
    }

    /// A number from one to `max`.
    fn count_to<T: FromStr + PartialOrd + From<u8> + Display + Copy>(
        &mut self,
        name: &'static str,
        default: impl Display,
        max: T,
    ) -> Result<T, String> {
        let value: T = self.count(name, default)?;
        if value > max {
            Err(format!(
                "{name} is {value}: give a whole number from 1 to {max}"
            ))
        } else {
            Ok(value)
        }
    }

    fn seconds(&mut self, name: &'static str, default: u64) -> Result<u64, String> {
        self.count_to(name, default, SECONDS_MAX)
    }

    fn bind(&mut self, setting: &'static str, default: &str) -> Result<Bind, String> {
        Ok(Bind {
            setting,
            is_chosen: self.source.get(setting)?.is_some(),
            address: self.parsed((setting, ADDRESS), default)?,
        })
    }

    fn list<T>(
        &mut self,
        name: &'static str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        let text = self.text(name, default)?;
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        entries
            .map(|entry| read(entry).map_err(|error| format!("{name} holds {entry:?}: {error}")))
            .collect()
    }
}

impl Settings {
    /// Whether pages of this origin may connect from another site.
    pub(crate) fn allows_origin(&self, origin: &Origin) -> bool {
        self.allowed_origins.iter().any(|rule| rule.allows(origin))
    }

    /// Whether the proxy at this address is trusted.
    pub(crate) fn trusts(&self, proxy: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&proxy))
    }

    /// Reads and tests everything.
    ///
    /// # Errors
    /// The first setting that is not as it must be: its name, its value unless it is secret, and what to give.
    pub fn read(source: &impl Source) -> Result<Self, String> {
        let mut reader = Reader {
            source,
            shown: Vec::new(),
        };
        let link = link(source)?;
        reader
            .shown
            .push(("LINESIDE_LINK", format!("unix:{}", link.display())));
        let keys = Arc::new(Keyring::new(secret(source)?));
        reader.shown.push(("LINESIDE_SECRET", "[redacted]".into()));
        let settings = Self {
            link,
            keys,
            bind: reader.bind("LINESIDE_BIND", "127.0.0.1:8090")?,
            admin_bind: reader.bind("LINESIDE_ADMIN_BIND", "127.0.0.1:8091")?,
            admin_hosts: reader.list("LINESIDE_ADMIN_HOSTS", "", host)?,
            path: path(reader.text("LINESIDE_PATH", "/lineside")?)?,
            allowed_origins: reader.list("LINESIDE_ALLOWED_ORIGINS", "", |entry| {
                let hint = "an origin is scheme://host[:port], or https://*.host";
                OriginRule::parse(entry).ok_or_else(|| hint.to_owned())
            })?,
            // A proxy on this machine is the operator's; no browser page can set these fields on a WebSocket.
            trusted_proxies: reader.list(
                "LINESIDE_TRUSTED_PROXIES",
                "127.0.0.0/8,::1/128",
                |entry| {
                    let address = entry.parse().map(IpNet::from as fn(IpAddr) -> IpNet);
                    entry
                        .parse()
                        .or(address)
                        .map_err(|_| "not an address or network".to_owned())
                },
            )?,
            public_channels: reader.list("LINESIDE_PUBLIC_CHANNELS", "", public_channel)?,
            parent_pid: parent_pid(source)?,
            limits: Limits::read(&mut reader)?,
            unknown: Vec::new(),
            shown: Vec::new(),
        };
        let known: Vec<&str> = reader.shown.iter().map(|(name, _)| *name).collect();
        let also = [SECRET_FILE, "LINESIDE_SECRET_FD", PARENT_PID];
        let unknown = source.names().into_iter().filter(|name| {
            let name = name.as_str();
            name.starts_with("LINESIDE_")
                && !known.contains(&name)
                && !also.contains(&name)
                && !RUBY_ONLY.contains(&name)
        });
        Ok(Self {
            unknown: unknown.collect(),
            shown: reader.shown,
            ..settings
        })
    }
}

impl Limits {
    fn read(reader: &mut Reader<'_, impl Source>) -> Result<Self, String> {
        let history = HistoryLimits::default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shards: reader.count_to("LINESIDE_SHARDS", cores, SHARDS_MAX)?,
            connections_max: reader.count("LINESIDE_CONNECTIONS_MAX", 100_000)?,
            outbox_bytes_max: reader.count::<u32>("LINESIDE_OUTBOX_BYTES_MAX", 1024 * 1024)?
                as usize,
            slow_seconds_max: reader.seconds("LINESIDE_SLOW_SECONDS_MAX", 10)?,
            replay_seconds_max: reader.seconds("LINESIDE_REPLAY_SECONDS_MAX", 60)?,
            heartbeat_seconds: reader.seconds("LINESIDE_HEARTBEAT_SECONDS", 25)?,
            drain_seconds_max: reader.seconds("LINESIDE_DRAIN_SECONDS_MAX", 10)?,
            history: HistoryLimits {
                channel_publications_max: reader.count(
                    "LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX",
                    history.channel_publications_max,
                )?,
                channel_bytes_max: reader.count(
                    "LINESIDE_HISTORY_CHANNEL_BYTES_MAX",
                    history.channel_bytes_max,
                )?,
                age_ms_max: reader.seconds(
                    "LINESIDE_HISTORY_AGE_SECONDS_MAX",
                    history.age_ms_max / 1000,
                )? * 1000,
                bytes_max: reader.count("LINESIDE_HISTORY_BYTES_MAX", history.bytes_max)?,
                ..history
            },
        })
    }
}

/// The link's path, from `LINESIDE_LINK` or the default below the working directory.
pub(crate) fn link(source: &impl Source) -> Result<PathBuf, String> {
    let path = match source.get("LINESIDE_LINK")? {
        None => PathBuf::from("tmp/sockets/lineside.sock"),
        Some(text) => text
            .strip_prefix("unix:")
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
            .ok_or_else(|| format!("LINESIDE_LINK is {text:?}: it must be unix:PATH"))?,
    };
    let path = std::path::absolute(&path)
        .map_err(|error| format!("LINESIDE_LINK is {}: {error}", path.display()))?;
    match path.as_os_str().len() {
        0..=LINK_PATH_BYTES_MAX => Ok(path),
        bytes => Err(format!(
            "the link's path {} has {bytes} bytes, and a Unix socket's at most {LINK_PATH_BYTES_MAX}; set LINESIDE_LINK=unix:PATH to a shorter one",
            path.display()
        )),
    }
}

fn parent_pid(source: &impl Source) -> Result<Option<u32>, String> {
    let Some(text) = source.get(PARENT_PID)? else {
        return Ok(None);
    };
    let id = text.parse();
    id.map(Some)
        .map_err(|_| format!("{PARENT_PID} is {text:?}: give the id of a process, or unset it"))
}

/// The keys, from the first of the three places that is set.
pub(crate) fn secret(source: &impl Source) -> Result<Keys, String> {
    let set = |name| {
        source
            .get(name)
            .map(|value| value.map(|value| (name, value)))
    };
    let places = [
        set("LINESIDE_SECRET_FD")?,
        set("LINESIDE_SECRET")?,
        set(SECRET_FILE)?,
    ];
    let mut places = places.into_iter().flatten();
    let (name, value) = places.next().ok_or(
        "there is no secret: start with `bundle exec lineside` inside the app, or set LINESIDE_SECRET or \
         LINESIDE_SECRET_FILE",
    )?;
    if let Some((other, _)) = places.next() {
        return Err(format!(
            "{name} and {other} are both set; which one counts is not guessed, unset one"
        ));
    }
    let text = match name {
        "LINESIDE_SECRET" => value,
        SECRET_FILE => read_secret(Path::new(&value), name)?,
        _ => {
            let fd: u32 = value
                .parse()
                .map_err(|_| format!("{name} is {value:?}: not a descriptor's number"))?;
            read_secret(Path::new(&format!("/dev/fd/{fd}")), name)?
        }
    };
    Keys::parse(&text).map_err(|error| format!("{name}: {error}"))
}

/// Largest secret that is read, in bytes: a list of keys in rotation fits many times.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

fn read_secret(path: &Path, name: &str) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(SECRET_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| {
            format!(
                "{name} names {}, which cannot be read: {error}",
                path.display()
            )
        })?;
    Ok(text)
}

fn path(text: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if text == HEALTH_PATH {
        Err(format!(
            "LINESIDE_PATH is {text:?}, where the health check is; choose another path"
        ))
    } else if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(format!(
            "LINESIDE_PATH is {text:?}: it must begin with / and hold letters, digits and -._~ only"
        ))
    }
}

/// A name as it stands in `Host`, without a port.
fn host(entry: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if entry.bytes().all(plain) {
        Ok(entry.to_owned())
    } else {
        Err("a host is a name without a scheme and a port".to_owned())
    }
}

fn public_channel(entry: &str) -> Result<Grant, String> {
    let grant = Grant::parse(entry).map_err(|error| error.to_string())?;
    if channel::is_reserved(entry) {
        return Err("user: and cable: are never public".into());
    }
    Ok(grant)
}

#[cfg(test)]
mod tests;
