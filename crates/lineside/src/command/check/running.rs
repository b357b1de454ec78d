//! Checks of the running sidecar: link, secret, version, port and path.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lineside_publisher::{Publisher, Status};

use super::{CheckResult, fail, warn};
use crate::listener::BindAddress;
use crate::settings::{Settings, Source, secret};

/// Deadline for an answer of the sidecar.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Interval of reading the status of the link.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Maximum size of a response, in bytes. Metrics of a thousand shards fit.
const RESPONSE_BYTES_MAX: u64 = 1024 * 1024;

/// Status of the link to the running sidecar.
pub(super) struct Running(Status);

/// Connects to the sidecar as a publisher with the secret of these settings.
pub(super) fn find(settings: &Settings, source: &impl Source) -> Running {
    let name = format!("lineside check[{}]", std::process::id());
    let mut hello = lineside_publisher::Settings::new(&settings.link, name);
    if let Ok(keys) = secret(source) {
        hello.fingerprint = keys.fingerprint();
    }
    let publisher = Publisher::new(hello);
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let mut status = publisher.status();
    if publisher.connect().is_ok() {
        while !status.linked && status.last_error.is_none() && Instant::now() < deadline {
            std::thread::park_timeout(POLL_INTERVAL);
            status = publisher.status();
        }
    }
    publisher.stop(Instant::now());
    Running(status)
}

impl Running {
    pub(super) fn is_linked(&self) -> bool {
        self.0.linked
    }

    /// Finds a sidecar that does not run or does not answer on the link.
    pub(super) fn link(&self) -> CheckResult {
        match &self.0 {
            Status { linked: true, .. } => Ok(()),
            Status {
                last_error: Some(error),
                ..
            } => fail(error),
            _ => fail(format!(
                "the sidecar did not answer on the link within {} s; is it stopped?",
                ANSWER_TIMEOUT.as_secs()
            )),
        }
    }

    /// Finds a sidecar with another secret.
    pub(super) fn key(&self) -> CheckResult {
        if self.0.mismatch {
            return fail(
                "the sidecar has another secret than this command, so it refuses tokens that are signed with the secret set here; \
                 start it with `bundle exec lineside` inside the app, or give both the same LINESIDE_SECRET",
            );
        }
        Ok(())
    }
}

/// Finds a sidecar of another version, such as one that was not restarted after an update.
pub(super) fn version(settings: &Settings) -> CheckResult {
    let Some(address) = local(settings.admin_bind.address) else {
        return Ok(());
    };
    // The version is read from the metrics. The admin listener may be off.
    let Ok((200, page)) = get(address, "/metrics") else {
        return Ok(());
    };
    let ours = env!("CARGO_PKG_VERSION");
    let theirs = page
        .split_once("lineside_build_info{version=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version);
    match theirs {
        Some(theirs) if theirs != ours => warn(format!(
            "the sidecar at {address} has version {theirs}, but this command has version {ours}; restart the sidecar"
        )),
        _ => Ok(()),
    }
}

/// Finds a port that is closed or belongs to another program, and a path that the sidecar does not serve.
pub(super) fn port_and_path(settings: &Settings) -> CheckResult {
    let Some(address) = local(settings.bind.address) else {
        return Ok(());
    };
    let path = &settings.path;
    match get(address, path) {
        Ok((426, _)) => Ok(()),
        Ok((404, text)) if text.contains("browsers connect to") => fail(format!(
            "the sidecar does not serve LINESIDE_PATH, {path}: {}; set the same path for the app and the sidecar",
            text.trim_end()
        )),
        Ok((status, _)) => warn(format!(
            "{address} answers {path} with {status}, so it is no sidecar, and browsers that a proxy sends there cannot connect; set \
             LINESIDE_BIND to another address, or to none if all browsers connect through the app"
        )),
        Err(error) => warn(format!(
            "nothing answers at {address} ({error}), so browsers that a proxy sends there cannot connect; set LINESIDE_BIND as \
             for the sidecar, or to none if all browsers connect through the app"
        )),
    }
}

/// Returns the address at which this machine reaches a listener. `None` without a listener or a fixed port.
fn local(address: BindAddress) -> Option<SocketAddr> {
    match address {
        BindAddress::None => None,
        BindAddress::At(address) if address.port() == 0 => None,
        BindAddress::At(mut address) => {
            match address.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            Some(address)
        }
    }
}

/// Sends a GET request. Returns the status and the body of the response.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut response = Vec::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut response)?;
    let response = String::from_utf8_lossy(&response);
    let status = response
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("the response is not HTTP"))?;
    let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
