//! The sidecar that runs: whether it answers, and whether it was told the same as this command.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use lineside_publisher::{Publisher, Status};

use super::{Found, fail, warn};
use crate::listener::BindAddress;
use crate::settings::{Settings, Source, secret};

/// How long it has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often that is looked for.
const LOOK: Duration = Duration::from_millis(10);

/// Largest answer that is read, in bytes; a page of metrics of a thousand shards is smaller.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// What the link says.
pub(super) struct Running(Status);

/// Says hello on the link as a publisher does, with the key of these settings.
pub(super) fn find(settings: &Settings, source: &impl Source) -> Running {
    let name = format!("lineside check[{}]", std::process::id());
    let mut hello = lineside_publisher::Settings::new(&settings.link, name);
    if let Ok(keys) = secret(source) {
        hello.fingerprint = keys.fingerprint();
    }
    let publisher = Publisher::new(hello);
    let deadline = Instant::now() + PATIENCE;
    let mut status = publisher.status();
    if publisher.connect().is_ok() {
        while !status.linked && status.last_error.is_none() && Instant::now() < deadline {
            std::thread::park_timeout(LOOK);
            status = publisher.status();
        }
    }
    publisher.stop(Instant::now());
    Running(status)
}

impl Running {
    pub(super) fn is_there(&self) -> bool {
        self.0.linked
    }

    /// Nobody, or somebody else, at the link.
    pub(super) fn found(&self) -> Found {
        match &self.0 {
            Status { linked: true, .. } => Ok(()),
            Status {
                last_error: Some(error),
                ..
            } => fail(error),
            _ => fail(format!(
                "nothing answered on the link within {} s; is the sidecar stopped?",
                PATIENCE.as_secs()
            )),
        }
    }

    /// A sidecar that refuses the tokens that are signed here.
    pub(super) fn key(&self) -> Found {
        if self.0.mismatch {
            return fail(
                "the sidecar verifies with another secret than the one set here, so it refuses tokens signed with this one; start \
                 it with `bundle exec lineside` inside the app, or give both the same LINESIDE_SECRET",
            );
        }
        Ok(())
    }
}

/// A sidecar that was started before an update.
pub(super) fn version(settings: &Settings) -> Found {
    let Some(address) = local(settings.admin_bind.address) else {
        return Ok(());
    };
    // Where it shows no metrics it shows no version.
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
            "the sidecar at {address} is of version {theirs}, and this command of {ours}; restart it"
        )),
        _ => Ok(()),
    }
}

/// A port that a proxy would find closed, or somebody else's, and a path that is not served there.
pub(super) fn port_and_path(settings: &Settings) -> Found {
    let Some(address) = local(settings.bind.address) else {
        return Ok(());
    };
    let path = &settings.path;
    match get(address, path) {
        Ok((426, _)) => Ok(()),
        Ok((404, text)) if text.contains("browsers connect to") => fail(format!(
            "the sidecar does not serve LINESIDE_PATH, {path}: {}; set it alike for the app and the sidecar",
            text.trim_end()
        )),
        Ok((status, _)) => warn(format!(
            "what answers {path} at {address} with {status} is no sidecar; what a proxy routes there is lost: set \
             LINESIDE_BIND to another address, or to none where all come through the app"
        )),
        Err(error) => warn(format!(
            "nothing answers at {address} ({error}); what a proxy routes there is lost: set LINESIDE_BIND as the sidecar has \
             it, or to none where all come through the app"
        )),
    }
}

/// Where to find on this machine what listens there.
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

/// The status and the body of what a GET is answered.
fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("it does not speak HTTP"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}
