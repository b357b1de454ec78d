//! Web origins: scheme, host and port (RFC 6454).

use std::fmt;

/// Origin of `http` or `https`. The comparison ignores case (RFC 6454 §4 and §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: &'static str,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses `scheme://host[:port]`, as browsers send it. Returns `None` for `null`, a path, a user name and anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Self::of(scheme, authority)
    }

    /// Returns the origin of this scheme and authority, such as the value of `Host`. `ws` is the same as `http`, and `wss` the
    /// same as `https`, because some proxies write these for an upgrade.
    #[must_use]
    pub fn of(scheme: &str, authority: &str) -> Option<Self> {
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => ("http", 80),
            "https" | "wss" => ("https", 443),
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
        is_host(host).then(|| Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// Host in lower case. An IPv6 address is in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether this origin has the same scheme and port as `parent`, and one label before its host.
    #[must_use]
    pub fn is_one_label_below(&self, parent: &Self) -> bool {
        let label = self
            .host
            .strip_suffix(&parent.host)
            .and_then(|rest| rest.strip_suffix('.'));
        let one_label = label.is_some_and(|label| !label.is_empty() && !label.contains('.'));
        one_label && self.scheme == parent.scheme && self.port == parent.port
    }
}

fn is_host(host: &str) -> bool {
    let address = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match address {
        Some(address) => {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.')
        }
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match (self.scheme, self.port) {
            ("http", 80) | ("https", 443) => Ok(()),
            (_, port) => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests;
