//! Header fields in which proxies report the request that they received, and the server's own origin by them.
//!
//! The sidecar reads them on its own port, and the app before a hand-off, by the same rule. The caller decides whether the
//! proxies are trusted.

// The type alone, without sockets.
use core::net::IpAddr;

use crate::origin::Origin;

/// Names of the fields of [`Forwarded`], in its order and in lower case.
pub const FIELDS: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-ssl",
    "forwarded",
];

/// Values of [`FIELDS`], empty for a missing field. A field that comes several times is joined by commas.
#[derive(Clone, Debug, Default)]
pub struct Forwarded([String; 6]);

impl Forwarded {
    /// Reads each field with `get`.
    pub fn read(get: impl Fn(&'static str) -> String) -> Self {
        Self(FIELDS.map(get))
    }

    /// Address of the client behind the proxy at `peer`: the nearest address in X-Forwarded-For that is not a trusted proxy's,
    /// or the farthest if all are. `None` if `peer` is not trusted, or if the nearest entry is no address.
    pub fn client(&self, peer: IpAddr, trusts: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let mut client = None;
        for address in self.addresses().rev() {
            match address {
                Some(address) if trusts(client.unwrap_or(peer)) => client = Some(address),
                _ => break,
            }
        }
        client
    }

    /// Addresses in X-Forwarded-For, the nearest proxy's last. `None` for an entry that is no address.
    fn addresses(&self) -> impl DoubleEndedIterator<Item = Option<IpAddr>> {
        entries(self.field("x-forwarded-for")).map(parse_address)
    }

    /// Origin of the server for a request with this `scheme` and `Host`: as the outermost trusted proxy received it.
    ///
    /// Each proxy can append a value to a field. `client` is the address in X-Forwarded-For behind which all proxies are
    /// trusted. The values that these proxies have appended are known by their number; without a known client, the first value
    /// counts.
    #[must_use]
    pub fn server_origin(
        &self,
        scheme: &str,
        host: &str,
        client: Option<IpAddr>,
    ) -> Option<Origin> {
        let hops = client.and_then(|client| self.hops_behind(client));
        let forwarded_host = outermost(self.field("x-forwarded-host"), hops)
            .or_else(|| self.parameter("host", hops))
            .unwrap_or(host);
        let schemes = [
            outermost(self.field("x-forwarded-proto"), hops),
            outermost(self.field("x-forwarded-scheme"), hops),
            outermost(self.field("x-forwarded-ssl"), hops)
                .filter(|value| value.eq_ignore_ascii_case("on"))
                .map(|_| "https"),
            self.parameter("proto", hops),
            Some(scheme),
        ];
        let mut origins = schemes
            .into_iter()
            .flatten()
            .map(|scheme| Origin::of(scheme, forwarded_host));
        origins.find_map(|origin| origin)
    }

    /// Number of proxies that are nearer than this address.
    fn hops_behind(&self, client: IpAddr) -> Option<usize> {
        let found = self
            .addresses()
            .rev()
            .position(|address| address == Some(client))?;
        Some(found + 1)
    }

    /// Parameter of the outermost element of `Forwarded` (RFC 7239 §4).
    fn parameter(&self, name: &str, hops: Option<usize>) -> Option<&str> {
        let element = outermost(self.field("forwarded"), hops)?;
        let mut pairs = element
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value.trim_matches('"')).filter(|value| !value.is_empty())
    }

    fn field(&self, name: &str) -> &str {
        let mut fields = FIELDS.iter().zip(&self.0);
        fields
            .find(|(known, _)| **known == name)
            .map_or("", |(_, value)| value)
    }
}

fn entries(list: &str) -> impl DoubleEndedIterator<Item = &str> {
    let entries = list.split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty())
}

/// Value that the outermost of `hops` proxies wrote, or the first value.
fn outermost(list: &str, hops: Option<usize>) -> Option<&str> {
    let count = entries(list).count();
    entries(list).nth(hops.map_or(0, |hops| count.saturating_sub(hops)))
}

/// Parses an address as proxies write it: with or without port, brackets, quotes and zone. An IPv4 address that is mapped to
/// IPv6 is returned as IPv4.
#[must_use]
pub fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        // More than one colon is an IPv6 address without port.
        None if text.matches(':').count() == 1 => text.split(':').next().unwrap_or_default(),
        None => text,
    };
    let address = bare.split('%').next().unwrap_or_default();
    address
        .parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
