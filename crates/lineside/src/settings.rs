//! Settings, read once from the `LINESIDE_*` variables of the environment. No other file reads the environment.

mod cable;
mod link;
mod secret;

use std::env::VarError;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;
use lineside_hub::{HistoryLimits, Memory};
use lineside_protocol::channel;
use lineside_token::Grant;

use crate::keyring::Keyring;
use crate::listener::Bind;
use crate::log::{Format, Level};
use crate::memory;
use crate::origin::{HostRule, OriginRule};
use crate::route_keys::RouteKeys;

pub(crate) use cable::CableIdentity;
pub(crate) use link::link_path;
pub(crate) use secret::{SECRET_FILE, secret};

/// Path of the health check.
pub(crate) const HEALTH_PATH: &str = "/up";

/// Maximum value of a setting in seconds: one year. Sums of times cannot overflow.
const SECONDS_MAX: u64 = 365 * 24 * 60 * 60;

/// Maximum number of shards. Each is a thread, so more than the machine has cores would not help.
const SHARDS_MAX: usize = 1024;

/// Valid values of `LINESIDE_BIND` and `LINESIDE_ADMIN_BIND`, for error messages.
const ADDRESS: &str =
    "an address and a port, such as 127.0.0.1:8090, [::1]:8090 or 0.0.0.0:0, or none";

/// Setting with the process id of the parent.
const PARENT_PID: &str = "LINESIDE_PARENT_PID";

/// Settings that only the gem reads. They are not unknown, because the app and the sidecar may share an environment.
const RUBY_ONLY: &[&str] = &[
    "LINESIDE_BINARY",
    "LINESIDE_PAYLOAD_BYTES_MAX",
    "LINESIDE_SPOOL_BYTES_MAX",
    "LINESIDE_SPOOL_SECONDS_MAX",
    "LINESIDE_URL",
    "LINESIDE_USER_CLASS",
];

/// Settings of `lineside serve`.
#[derive(Debug)]
pub struct Settings {
    /// `LINESIDE_LINK`: absolute path of the Unix socket to which publishers connect.
    pub(crate) link: PathBuf,
    /// `LINESIDE_BIND`: address of the listener for browsers.
    pub(crate) bind: Bind,
    /// `LINESIDE_ADMIN_BIND`: address of the admin listener.
    pub(crate) admin_bind: Bind,
    /// `LINESIDE_ADMIN_HOSTS`: further host names that requests to the admin listener may have in `Host`.
    pub(crate) admin_hosts: Vec<String>,
    /// `LINESIDE_PATH`: path of the WebSocket endpoint.
    pub(crate) path: String,
    /// `LINESIDE_CABLE_PATH`: path at which a proxy can send Action Cable here.
    pub(crate) cable_path: String,
    /// `LINESIDE_CABLE_IDENTITY`: whether connections of Action Cable that a proxy sends here need a user.
    pub(crate) cable_identity: CableIdentity,
    /// `LINESIDE_TURBO_KEYS`: keys of signed stream names for these connections, until an app decides.
    pub(crate) turbo_keys: Arc<RouteKeys>,
    /// `LINESIDE_SECRET`, `LINESIDE_SECRET_FILE` or `LINESIDE_SECRET_FD`: keys that verify tokens.
    pub(crate) keys: Arc<Keyring>,
    /// `LINESIDE_ALLOWED_ORIGINS`: allowed origins besides the sidecar's own.
    pub(crate) allowed_origins: Vec<OriginRule>,
    /// `LINESIDE_HOSTS`: hosts of the sidecar's own origin. Empty means any.
    pub(crate) hosts: Vec<HostRule>,
    /// `LINESIDE_TRUSTED_PROXIES`: proxies whose X-Forwarded-* headers are used.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// `LINESIDE_PUBLIC_CHANNELS`: names or prefixes of channels that need no token.
    pub(crate) public_channels: Vec<Grant>,
    /// `LINESIDE_PARENT_PID`: process with which the sidecar stops. The Puma plugin sets it.
    pub(crate) parent_pid: Option<u32>,
    /// `LINESIDE_LOG_FORMAT`: format of the log.
    pub(crate) log_format: Format,
    /// `LINESIDE_LOG_LEVEL`: least severe level in the log.
    pub(crate) log_level: Level,
    /// `LINESIDE_MEMORY_MAX`: ceiling of the process's memory, in bytes. By default half of what the cgroup or the machine has.
    pub(crate) memory_max: usize,
    /// Limits of connections, outboxes and history.
    pub limits: Limits,
    /// Names and values of all settings in effect, for the log. Secrets are redacted.
    pub(crate) shown: Vec<(&'static str, String)>,
    /// Names of `LINESIDE_*` variables that are no settings.
    pub(crate) unknown: Vec<String>,
}

/// Limits that have a setting.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `LINESIDE_SHARDS`: number of threads that serve connections. One per core by default.
    pub shards: usize,
    /// `LINESIDE_CONNECTIONS_MAX`: maximum number of open connections. The limit of file descriptors applies too.
    pub connections_max: usize,
    /// `LINESIDE_OUTBOX_BYTES_MAX`: maximum size of the queue of a connection whose kernel buffer is full.
    pub outbox_bytes_max: usize,
    /// `LINESIDE_SLOW_SECONDS_MAX`: maximum time in which the kernel accepts no bytes of a connection.
    pub slow_seconds_max: u64,
    /// `LINESIDE_REPLAY_SECONDS_MAX`: maximum duration of a replay to a connection that reads slowly.
    pub replay_seconds_max: u64,
    /// `LINESIDE_HEARTBEAT_SECONDS`: interval of pings. 25 by default, because proxies close connections that are idle for 30
    /// to 60 seconds.
    pub heartbeat_seconds: u64,
    /// `LINESIDE_DRAIN_SECONDS_MAX`: maximum duration of the drain of a planned stop.
    pub drain_seconds_max: u64,
    /// `LINESIDE_HISTORY_*`: limits of the journal.
    pub history: HistoryLimits,
}

/// Source of settings: the environment, or a table in tests.
pub trait Source {
    /// Returns the value of a variable that is set and not empty.
    ///
    /// # Errors
    /// Returns an error if the value is not UTF-8.
    fn get(&self, name: &str) -> Result<Option<String>, String>;
    /// Returns the names of all variables.
    fn names(&self) -> Vec<String>;
}

/// Environment of the process.
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

/// Parser of the values of a source. Records each name and value for the log.
struct Parser<'a, S> {
    source: &'a S,
    shown: Vec<(&'static str, String)>,
}

impl<S: Source> Parser<'_, S> {
    fn text(&mut self, name: &'static str, default: &str) -> Result<String, String> {
        let value = self.source.get(name)?.unwrap_or_else(|| default.to_owned());
        self.shown.push((name, value.clone()));
        Ok(value)
    }

    /// Parses a value. `wanted` describes the valid values, for the error.
    fn parsed<T: FromStr>(
        &mut self,
        (name, wanted): (&'static str, &str),
        default: &str,
    ) -> Result<T, String> {
        let text = self.text(name, default)?;
        text.parse()
            .map_err(|_| format!("{name} is {text:?}: give {wanted}"))
    }

    /// Parses a whole number from 1.
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

    /// Parses a whole number from 1 to `max`.
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
    /// Returns whether this path is the WebSocket's: `LINESIDE_PATH`, also below the root of an app or of its tenant.
    pub(crate) fn is_websocket(&self, path: &str) -> bool {
        is_below_root(path, &self.path)
    }

    /// Returns whether this path is that of Action Cable: `LINESIDE_CABLE_PATH`, also below a root, unless it is the
    /// WebSocket's.
    pub(crate) fn is_cable(&self, path: &str) -> bool {
        is_below_root(path, &self.cable_path) && !self.is_websocket(path)
    }

    /// Returns whether `LINESIDE_ALLOWED_ORIGINS` allows this value of `Origin`.
    pub(crate) fn allows_origin(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|rule| rule.allows(origin))
    }

    /// Returns whether this host of the sidecar's own origin is known.
    pub(crate) fn knows_host(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|rule| rule.matches(host))
    }

    /// Returns whether the proxy at this address is trusted. An IPv4 address that is mapped to IPv6 counts as IPv4.
    pub(crate) fn trusts(&self, proxy: IpAddr) -> bool {
        let proxy = proxy.to_canonical();
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&proxy))
    }

    /// Reads and validates all settings.
    ///
    /// # Errors
    /// One line about the first invalid setting: its name, its value unless it is secret, and the valid values.
    pub fn read(source: &impl Source) -> Result<Self, String> {
        let mut parser = Parser {
            source,
            shown: Vec::new(),
        };
        let link = link_path(source)?;
        parser
            .shown
            .push(("LINESIDE_LINK", format!("unix:{}", link.display())));
        let keys = Arc::new(Keyring::new(secret(source)?));
        parser.shown.push(("LINESIDE_SECRET", "[redacted]".into()));
        let turbo_keys = cable::turbo_keys(source)?;
        parser.shown.push((cable::TURBO_KEYS, "[redacted]".into()));
        let memory_max = parser.count("LINESIDE_MEMORY_MAX", memory::default_bytes_max())?;
        let settings = Self {
            memory_max,
            link,
            keys,
            bind: parser.bind("LINESIDE_BIND", "127.0.0.1:8090")?,
            admin_bind: parser.bind("LINESIDE_ADMIN_BIND", "127.0.0.1:8091")?,
            admin_hosts: parser.list("LINESIDE_ADMIN_HOSTS", "", host)?,
            path: path("LINESIDE_PATH", parser.text("LINESIDE_PATH", "/lineside")?)?,
            cable_path: path(
                "LINESIDE_CABLE_PATH",
                parser.text("LINESIDE_CABLE_PATH", "/cable")?,
            )?,
            cable_identity: parser.parsed(
                ("LINESIDE_CABLE_IDENTITY", "required or optional"),
                CableIdentity::default().name(),
            )?,
            turbo_keys: Arc::new(RouteKeys::new(turbo_keys)),
            allowed_origins: parser.list("LINESIDE_ALLOWED_ORIGINS", "", |entry| {
                let hint = "give scheme://host[:port], https://*.host or null";
                OriginRule::parse(entry).ok_or_else(|| hint.to_owned())
            })?,
            hosts: parser.list("LINESIDE_HOSTS", "", |entry| {
                let hint = "give a host name, .name for it and all names below, or a network";
                HostRule::parse(entry).ok_or_else(|| hint.to_owned())
            })?,
            // By default, proxies on this machine. A page cannot set these headers on a WebSocket request.
            trusted_proxies: parser.list(
                "LINESIDE_TRUSTED_PROXIES",
                "127.0.0.0/8,::1/128",
                network,
            )?,
            public_channels: parser.list("LINESIDE_PUBLIC_CHANNELS", "", public_channel)?,
            parent_pid: parent_pid(source)?,
            log_format: parser.parsed(
                ("LINESIDE_LOG_FORMAT", "text, logfmt or json"),
                Format::of_output().name(),
            )?,
            log_level: parser
                .parsed(("LINESIDE_LOG_LEVEL", "debug, info, warn or error"), "info")?,
            limits: Limits::read(&mut parser, memory_max)?,
            unknown: Vec::new(),
            shown: Vec::new(),
        };
        let known: Vec<&str> = parser.shown.iter().map(|(name, _)| *name).collect();
        let also = [
            SECRET_FILE,
            "LINESIDE_SECRET_FD",
            cable::TURBO_KEYS_FD,
            PARENT_PID,
        ];
        let unknown = source.names().into_iter().filter(|name| {
            let name = name.as_str();
            name.starts_with("LINESIDE_")
                && !known.contains(&name)
                && !also.contains(&name)
                && !RUBY_ONLY.contains(&name)
        });
        Ok(Self {
            unknown: unknown.collect(),
            shown: parser.shown,
            ..settings
        })
    }
}

impl Limits {
    /// Reads the limits. The history takes at most its share of `memory_max`.
    fn read(parser: &mut Parser<'_, impl Source>, memory_max: usize) -> Result<Self, String> {
        let history = HistoryLimits::default();
        let share = Memory::history_bytes_max(memory_max);
        let history_bytes: usize =
            parser.count("LINESIDE_HISTORY_BYTES_MAX", history.bytes_max.min(share))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shards: parser.count_to("LINESIDE_SHARDS", cores, SHARDS_MAX)?,
            connections_max: parser.count("LINESIDE_CONNECTIONS_MAX", 100_000)?,
            outbox_bytes_max: parser.count::<u32>("LINESIDE_OUTBOX_BYTES_MAX", 1024 * 1024)?
                as usize,
            slow_seconds_max: parser.seconds("LINESIDE_SLOW_SECONDS_MAX", 10)?,
            replay_seconds_max: parser.seconds("LINESIDE_REPLAY_SECONDS_MAX", 60)?,
            heartbeat_seconds: parser.seconds("LINESIDE_HEARTBEAT_SECONDS", 25)?,
            drain_seconds_max: parser.seconds("LINESIDE_DRAIN_SECONDS_MAX", 10)?,
            history: HistoryLimits {
                channel_publications_max: parser.count(
                    "LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX",
                    history.channel_publications_max,
                )?,
                channel_bytes_max: parser.count(
                    "LINESIDE_HISTORY_CHANNEL_BYTES_MAX",
                    history.channel_bytes_max,
                )?,
                age_ms_max: parser.seconds(
                    "LINESIDE_HISTORY_AGE_SECONDS_MAX",
                    history.age_ms_max / 1000,
                )? * 1000,
                bytes_max: history_bytes.min(share),
                ..history
            },
        })
    }
}

/// Parses a network or an address. An IPv4 network that is mapped to IPv6 is returned as IPv4.
fn network(entry: &str) -> Result<IpNet, String> {
    let address = entry.parse().map(IpNet::from as fn(IpAddr) -> IpNet);
    let network: IpNet = entry
        .parse()
        .or(address)
        .map_err(|_| "give an IP address or a network".to_owned())?;
    let IpAddr::V4(v4) = network.addr().to_canonical() else {
        return Ok(network);
    };
    let prefix = match network {
        IpNet::V4(_) => Some(network.prefix_len()),
        IpNet::V6(_) => network.prefix_len().checked_sub(96),
    };
    Ok(prefix
        .and_then(|prefix| IpNet::new(v4.into(), prefix).ok())
        .unwrap_or(network))
}

fn parent_pid(source: &impl Source) -> Result<Option<u32>, String> {
    let Some(text) = source.get(PARENT_PID)? else {
        return Ok(None);
    };
    let id = text.parse();
    id.map(Some)
        .map_err(|_| format!("{PARENT_PID} is {text:?}: give a process id, or unset it"))
}

fn path(name: &str, text: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    if text == HEALTH_PATH {
        Err(format!(
            "{name} is {text:?}, which is the path of the health check; give another path"
        ))
    } else if text.starts_with('/') && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(format!(
            "{name} is {text:?}: it must begin with / and hold letters, digits and -._~ only"
        ))
    }
}

/// Whether a path is `own`, or that below the root of an app or of its tenant.
fn is_below_root(path: &str, own: &str) -> bool {
    let Some(prefix) = path.strip_suffix(own) else {
        return false;
    };
    prefix.is_empty()
        || prefix
            .strip_prefix('/')
            .is_some_and(|segments| segments.split('/').all(|segment| !segment.is_empty()))
}

/// Parses a host name without a port.
fn host(entry: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if entry.bytes().all(plain) {
        Ok(entry.to_owned())
    } else {
        Err("give a host name without a scheme and a port".to_owned())
    }
}

fn public_channel(entry: &str) -> Result<Grant, String> {
    let grant = Grant::parse(entry).map_err(|error| error.to_string())?;
    if channel::is_reserved(entry) {
        return Err("channels under user: and cable: cannot be public".into());
    }
    Ok(grant)
}

#[cfg(test)]
pub(crate) mod tests;
