//! Rules of `LINESIDE_ALLOWED_ORIGINS` and `LINESIDE_HOSTS`. docs/protocol.md describes the origin check.
//!
//! Browsers send the page's origin in the `Origin` header, and no page can change it (RFC 6455 §10.2). A client without this
//! header is not a browser and has no cookie of one, so it may connect and authenticate with a token.

use std::net::IpAddr;

use ipnet::IpNet;
pub use lineside_protocol::origin::Origin;

/// Entry of `LINESIDE_ALLOWED_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// Exactly this origin.
    Exact(Origin),
    /// `https://*.host`: any single label before the host. Scheme and port must be equal.
    AnyLabel(Origin),
    /// Exactly this text: an origin of another scheme, such as that of an app or an extension, or `null`.
    Text(String),
}

impl OriginRule {
    /// Parses an entry of `LINESIDE_ALLOWED_ORIGINS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some((scheme, authority)) = text.split_once("://*.") {
            return Origin::of(scheme, authority).map(Self::AnyLabel);
        }
        // Origins copied from the address bar end with a slash.
        let origin = match text.strip_suffix('/') {
            Some(rest) if !rest.ends_with('/') => rest,
            _ => text,
        };
        match Origin::parse(origin) {
            Some(origin) => Some(Self::Exact(origin)),
            None => is_other_origin(origin).then(|| Self::Text(origin.to_owned())),
        }
    }

    /// Returns whether the rule allows the value of `Origin`.
    pub(crate) fn allows(&self, text: &str) -> bool {
        let origin = Origin::parse(text);
        match self {
            Self::Exact(allowed) => origin.as_ref() == Some(allowed),
            Self::AnyLabel(allowed) => {
                origin.is_some_and(|origin| origin.is_one_label_below(allowed))
            }
            Self::Text(allowed) => allowed == text,
        }
    }
}

/// Returns whether browsers can send this text as an origin, although no web site has it.
fn is_other_origin(text: &str) -> bool {
    let web = ["http", "https", "ws", "wss"];
    match text.split_once("://") {
        None => text == "null",
        Some((scheme, authority)) => {
            let scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
            let has_host = !authority.is_empty() || scheme == "file";
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.bytes().all(scheme_byte)
                && !web.contains(&scheme.to_ascii_lowercase().as_str())
                && authority.bytes().all(host_byte)
                && has_host
        }
    }
}

/// Entry of `LINESIDE_HOSTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRule {
    /// Exactly this host.
    Exact(String),
    /// `.host`: this host and every host below it.
    Below(String),
    /// Every address of this network.
    Network(IpNet),
}

impl HostRule {
    /// Parses an entry of `LINESIDE_HOSTS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let address = text.trim_start_matches('[').trim_end_matches(']');
        if let Ok(network) = address.parse() {
            return Some(Self::Network(network));
        }
        if let Ok(address) = address.parse::<IpAddr>() {
            return Some(Self::Network(address.into()));
        }
        let (name, below) = match text.strip_prefix('.') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = Origin::of("http", name)?.host().to_owned();
        let is_host = name.eq_ignore_ascii_case(text.trim_start_matches('.'));
        is_host.then_some(if below {
            Self::Below(name)
        } else {
            Self::Exact(name)
        })
    }

    /// Returns whether the rule matches this host of an [`Origin`].
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(name) => host
                .strip_suffix(name)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.')),
            Self::Network(network) => {
                let address = host.trim_start_matches('[').trim_end_matches(']');
                let address = address.parse::<IpAddr>();
                address.is_ok_and(|address| network.contains(&address))
            }
        }
    }
}

#[cfg(test)]
mod tests;
