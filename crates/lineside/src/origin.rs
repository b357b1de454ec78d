//! Origins of pages, and the rules of `LINESIDE_ALLOWED_ORIGINS`. docs/protocol.md describes the origin check.
//!
//! Browsers send the page's origin in the `Origin` header, and no page can change it (RFC 6455 §10.2). A client without this
//! header is not a browser and has no cookie of one, so it may connect and authenticate with a token.

use std::fmt;

/// Origin: scheme, host and port. The comparison ignores case (RFC 6454 §4 and §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

/// Entry of `LINESIDE_ALLOWED_ORIGINS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// Exactly this origin.
    Exact(Origin),
    /// `https://*.host`: any single label before the host. Scheme and port must be equal.
    AnyLabel(Origin),
}

impl Origin {
    /// Parses `scheme://host[:port]`, as browsers send it. Returns `None` for `null`, a path, a user name and anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Self::of(scheme, authority)
    }

    /// Returns the origin of this scheme and authority, such as the value of `Host`.
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
    /// Parses an entry of `LINESIDE_ALLOWED_ORIGINS`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once("://*.") {
            Some((scheme, authority)) => Origin::of(scheme, authority).map(Self::AnyLabel),
            None => Origin::parse(text).map(Self::Exact),
        }
    }

    /// Returns whether the rule allows this origin.
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
