//! Which pages may open a socket: the origin rules of docs/protocol.md and `LINESIDE_ALLOWED_ORIGINS`.
//!
//! A browser says in `Origin` which page opens the socket, and lets no page choose it (RFC 6455 §10.2). A client without
//! that header is no browser page and brings no cookie with it, so it is let in to show a token.

use std::fmt;

/// An origin: scheme, host and port, compared whole and without case (RFC 6454 §4 and §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// One allowed origin of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// Exactly this one.
    Exact(Origin),
    /// `https://*.host`: one label in front of the host, scheme and port equal.
    AnyLabel(Origin),
}

impl Origin {
    /// Reads `scheme://host[:port]`, as browsers send it; `None` for `null`, paths, user names and everything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Self::of(scheme, authority)
    }

    /// The origin of a page at this scheme and `Host`.
    pub(crate) fn of(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        // A colon inside brackets belongs to an IPv6 address.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                (host, digits.then(|| port.parse().ok()).flatten()?)
            }
            _ => (authority, default_port),
        };
        let address = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let valid = match address {
            Some(address) => address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.'),
            None => host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_')),
        };
        let valid = valid && !host.is_empty() && address != Some("");
        valid.then(|| Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme.as_str(), self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

impl OriginRule {
    /// Reads one entry of `LINESIDE_ALLOWED_ORIGINS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once("://*.") {
            Some((scheme, authority)) => Origin::of(scheme, authority).map(Self::AnyLabel),
            None => Origin::parse(text).map(Self::Exact),
        }
    }

    /// Whether the rule lets the page in.
    pub(crate) fn allows(&self, origin: &Origin) -> bool {
        match self {
            Self::Exact(allowed) => allowed == origin,
            Self::AnyLabel(allowed) => {
                let label = origin
                    .host
                    .strip_suffix(&allowed.host)
                    .and_then(|rest| rest.strip_suffix('.'));
                let one_label =
                    label.is_some_and(|label| !label.is_empty() && !label.contains('.'));
                one_label && allowed.scheme == origin.scheme && allowed.port == origin.port
            }
        }
    }
}

#[cfg(test)]
mod tests;
