//! Addresses: who may come, from where, and whether there is a place to listen.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

use super::{Finding, Found, fail, warn};
use crate::listener::{Bind, BindAddress};
use crate::settings::{Settings, Source};

/// Pages at another origin than the socket, of which none is allowed.
pub(super) fn origins(settings: &Settings, source: &impl Source) -> Found {
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
            "pages open {url}, and unless they come from that host and port themselves they are refused with 403; name their \
             origins in LINESIDE_ALLOWED_ORIGINS"
        ));
    }
    Ok(())
}

/// A listener for a proxy elsewhere, whose word on scheme and host would not count.
pub(super) fn proxies(settings: &Settings, source: &impl Source) -> Found {
    let is_chosen = source
        .get("LINESIDE_TRUSTED_PROXIES")
        .map_err(Finding::Fail)?;
    match exposed(settings.bind) {
        Some(address) if is_chosen.is_none() => warn(format!(
            "LINESIDE_BIND is {address}, and no proxy but one on this machine is trusted: behind another, pages under https are \
             refused with 403; name it in LINESIDE_TRUSTED_PROXIES"
        )),
        _ => Ok(()),
    }
}

/// Numbers that are for operators, open to others.
pub(super) fn admin(settings: &Settings) -> Found {
    match exposed(settings.admin_bind) {
        Some(address) => warn(format!(
            "LINESIDE_ADMIN_BIND is {address}, where other machines may read /metrics; bind it to 127.0.0.1 unless the network \
             keeps others out"
        )),
        None => Ok(()),
    }
}

/// A port that another process has.
pub(super) fn port(settings: &Settings) -> Found {
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
                "another process has {address}, so the sidecar will do without; set {setting} to another address, or to none"
            )),
            _ => fail(format!(
                "cannot listen on {address}: {error}; set {setting} to another address, or to none"
            )),
        };
    }
    Ok(())
}

/// The address, if other machines may reach it.
fn exposed(bind: Bind) -> Option<SocketAddr> {
    match bind.address {
        BindAddress::At(address) if !address.ip().is_loopback() => Some(address),
        _ => None,
    }
}
