//! Checks of addresses: origins, proxies, and ports in use.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::{CheckResult, Finding, fail, warn};
use crate::listener::{Bind, BindAddress};
use crate::settings::{Settings, Source};

/// Finds a `LINESIDE_URL` with a host while no origin is allowed besides the one of that host.
pub(super) fn origins(settings: &Settings, source: &impl Source) -> CheckResult {
    let url = source.get("LINESIDE_URL").map_err(Finding::Fail)?;
    let Some(url) = url.filter(|url| !url.starts_with('/')) else {
        return Ok(());
    };
    let is_websocket = url.starts_with("wss://") || url.starts_with("ws://");
    if !is_websocket {
        return fail(format!(
            "LINESIDE_URL is {url}; give wss://HOST/PATH, ws://HOST/PATH or /PATH"
        ));
    }
    if settings.allowed_origins.is_empty() {
        return warn(format!(
            "LINESIDE_URL is {url}, so pages of any other host or port are refused with 403; list their origins in \
             LINESIDE_ALLOWED_ORIGINS"
        ));
    }
    Ok(())
}

/// Finds a listener that other machines can reach while only proxies on this machine are trusted.
pub(super) fn proxies(settings: &Settings, source: &impl Source) -> CheckResult {
    let is_chosen = source
        .get("LINESIDE_TRUSTED_PROXIES")
        .map_err(Finding::Fail)?;
    match exposed(settings.bind) {
        Some(address) if is_chosen.is_none() => warn(format!(
            "LINESIDE_BIND is {address}, but only proxies on this machine are trusted: behind another proxy, https pages are \
             refused with 403; list the proxy in LINESIDE_TRUSTED_PROXIES"
        )),
        _ => Ok(()),
    }
}

/// Finds metrics that other machines can read.
pub(super) fn admin(settings: &Settings) -> CheckResult {
    match exposed(settings.admin_bind) {
        Some(address) => warn(format!(
            "LINESIDE_ADMIN_BIND is {address}, so other machines can read /metrics; bind it to 127.0.0.1 unless a firewall \
             blocks them"
        )),
        None => Ok(()),
    }
}

/// Finds a port that is in use.
pub(super) fn port(settings: &Settings) -> CheckResult {
    for bind in [settings.bind, settings.admin_bind] {
        let BindAddress::At(address) = bind.address else {
            continue;
        };
        let Err(error) = TcpListener::bind(address) else {
            continue;
        };
        let setting = bind.setting;
        return match error.kind() {
            ErrorKind::AddrInUse if !bind.is_chosen => warn(format!(
                "{address} is in use, so the sidecar will run without this listener; set {setting} to another address, or to none"
            )),
            _ => fail(format!(
                "cannot listen on {address}: {error}; set {setting} to another address, or to none"
            )),
        };
    }
    Ok(())
}

/// Returns the address if other machines can reach it.
fn exposed(bind: Bind) -> Option<SocketAddr> {
    match bind.address {
        BindAddress::At(address) if !address.ip().is_loopback() => Some(address),
        _ => None,
    }
}
