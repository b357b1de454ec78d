//! Head of an HTTP request, and the answer that upgrades it to a WebSocket.

use std::net::{IpAddr, SocketAddr};

use http::header::{COOKIE, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request as HttpRequest};
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};

use crate::origin::Origin;
use crate::settings::Settings;
use crate::text::redact;

/// Maximum size of a head, in bytes: a token of 8 KiB in the URL, a cookie of 4 KiB, and other fields.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of header fields. Browsers and proxies send about 30.
const HEADERS_MAX: usize = 100;

/// Header to which each proxy appends the client address.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A complete request head.
#[derive(Debug)]
pub struct Head {
    /// Method, target and header fields.
    pub request: HttpRequest<()>,
    /// Size of the head, in bytes. The bytes behind it belong to the WebSocket.
    pub bytes: usize,
}

/// Source of the server's own origin, with which the origin of a page is compared.
#[derive(Debug)]
pub enum ServerOrigin {
    /// The request's `Host`, and the X-Forwarded fields if the peer at this address is a trusted proxy.
    OfRequest(IpAddr),
    /// The app, which handed the socket over and knows its own proxies.
    OfApp(Origin),
}

/// Reason for refusing a request.
#[derive(Debug, PartialEq, Eq)]
pub struct HeadError {
    /// HTTP status of the answer.
    pub status: u16,
    /// The problem and the remedy, for people.
    pub message: String,
}

impl HeadError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        // The client may have put a token into its path or its origin.
        let message = redact(&message.into()).into_owned();
        Self { status, message }
    }
}

impl Head {
    /// Reads a head from the front of `bytes`. `None` if it is incomplete.
    ///
    /// # Errors
    /// 400 if the bytes are not HTTP, 431 if the head is larger than [`HEAD_BYTES_MAX`].
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, HeadError> {
        let bad = |error: &dyn std::fmt::Display| {
            HeadError::new(400, format!("not an HTTP request: {error}"))
        };
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut fields);
        let length = match parsed.parse(bytes).map_err(|error| bad(&error))? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial if bytes.len() >= HEAD_BYTES_MAX => {
                return Err(HeadError::new(
                    431,
                    format!("the head is larger than {HEAD_BYTES_MAX} bytes"),
                ));
            }
            httparse::Status::Partial => return Ok(None),
        };
        let mut request = HttpRequest::builder()
            .method(parsed.method.unwrap_or_default())
            .uri(parsed.path.unwrap_or_default())
            .version(if parsed.version == Some(1) {
                http::Version::HTTP_11
            } else {
                http::Version::HTTP_10
            })
            .body(())
            .map_err(|error| bad(&error))?;
        for field in parsed.headers.iter() {
            let name =
                HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| bad(&error))?;
            let value = HeaderValue::from_bytes(field.value).map_err(|error| bad(&error))?;
            request.headers_mut().append(name, value);
        }
        Ok(Some(Self {
            request,
            bytes: length,
        }))
    }

    /// Whether the request asks for an upgrade to WebSocket.
    pub(crate) fn is_upgrade(&self) -> bool {
        let upgrade = self.request.headers().get(http::header::UPGRADE);
        upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }

    /// Address of the client behind `peer`, for the log: the nearest address in X-Forwarded-For that is not a trusted
    /// proxy's. Its port is zero if it comes from the header. No decision depends on it.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, settings: &Settings) -> SocketAddr {
        let fields = self.request.headers().get_all(FORWARDED_FOR).iter();
        let told: Vec<&str> = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(',').map(str::trim))
            .collect();
        let mut client = peer;
        for hop in told.iter().rev() {
            match hop.parse() {
                Ok(address) if settings.trusts(client.ip()) => client = SocketAddr::new(address, 0),
                _ => break,
            }
        }
        client
    }

    /// Origin of the page that sent the request, as text. `None` if the client is not a browser.
    ///
    /// # Errors
    /// 400 if the field comes twice or is not text.
    pub fn origin(&self) -> Result<Option<&str>, HeadError> {
        self.only(&ORIGIN)
    }

    /// Origin of this server.
    ///
    /// # Errors
    /// 400 if a field that decides it comes twice or is not text.
    pub(crate) fn server_origin(
        &self,
        source: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Option<Origin>, HeadError> {
        let peer = match source {
            ServerOrigin::OfApp(origin) => return Ok(Some(origin.clone())),
            ServerOrigin::OfRequest(peer) => *peer,
        };
        let trusted = settings.trusts(peer);
        let forwarded = |name: &'static str| {
            let name = HeaderName::from_static(name);
            if trusted { self.only(&name) } else { Ok(None) }
        };
        let host = forwarded("x-forwarded-host")?
            .or(self.only(&HOST)?)
            .unwrap_or_default();
        let scheme = forwarded("x-forwarded-proto")?.unwrap_or("http");
        Ok(Origin::of(scheme, host))
    }

    /// Answer that upgrades the connection to a WebSocket. It names `subprotocol` if the client offered it.
    ///
    /// # Errors
    /// 400 if a field is missing that RFC 6455 §4.2.1 requires.
    pub fn upgrade(&self, subprotocol: &'static str) -> Result<Vec<u8>, HeadError> {
        let mut response = create_response(&self.request).map_err(|error| {
            HeadError::new(400, format!("not an upgrade to WebSocket: {error}"))
        })?;
        if self.subprotocols().any(|offered| offered == subprotocol) {
            response.headers_mut().insert(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(subprotocol),
            );
        }
        let mut answer = Vec::new();
        write_response(&mut answer, &response)
            .map_err(|error| HeadError::new(400, error.to_string()))?;
        Ok(answer)
    }

    /// Names and raw values of the query. [`percent_decode`] decodes a value.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        let query = self.request.uri().query().unwrap_or_default();
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// Value of a cookie. `None` if it comes more than once, because another site of the domain may have set one of them.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        let fields = self.request.headers().get_all(COOKIE);
        let pairs = fields
            .iter()
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut found = pairs.filter(|(found, _)| *found == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => Some(value),
            _ => None,
        }
    }

    /// Subprotocols that the client offers.
    pub(crate) fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let fields = self.request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        fields
            .iter()
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(',').map(str::trim))
    }

    /// Value of a field that must not come twice.
    pub(crate) fn only(&self, name: &HeaderName) -> Result<Option<&str>, HeadError> {
        let mut values = self.request.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value
                .to_str()
                .map(Some)
                .map_err(|_| HeadError::new(400, format!("{name} is not text"))),
            (Some(_), Some(_)) => Err(HeadError::new(400, format!("more than one {name}"))),
        }
    }
}

/// Decodes a value of the query (application/x-www-form-urlencoded, as `URLSearchParams` writes).
///
/// # Errors
/// 400 if it is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Result<String, HeadError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex = rest
                    .as_slice()
                    .get(..2)
                    .and_then(|hex| std::str::from_utf8(hex).ok());
                let value = hex.filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let value = value.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                rest = rest.as_slice().get(2..).unwrap_or_default().iter();
                value.ok_or_else(|| {
                    HeadError::new(
                        400,
                        "a % in the URL is not followed by two hexadecimal digits",
                    )
                })?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| HeadError::new(400, "the URL is not UTF-8"))
}

#[cfg(test)]
mod tests;
