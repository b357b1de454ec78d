//! Head of an HTTP request, and the answer that upgrades it to a WebSocket.

use std::net::{IpAddr, SocketAddr};

use http::header::{
    CONNECTION, COOKIE, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Request as HttpRequest};
use lineside_protocol::forwarded::Forwarded;
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};

use crate::origin::Origin;
use crate::settings::Settings;
use crate::text::redact;

/// Maximum size of a head, in bytes: a token of 8 KiB in the URL, a cookie of 4 KiB, and other fields.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Maximum number of header fields. Browsers and proxies send about 30.
const HEADERS_MAX: usize = 100;

/// Version of the WebSocket protocol.
const VERSION: &str = "13";

/// Remedy for both versions of the PROXY protocol.
const PROXY_REMEDY: &str =
    "this is the PROXY protocol, which is not supported: turn it off in the proxy for this server";

/// First bytes of other protocols than HTTP/1, and the remedy.
const FOREIGN: [(&[u8], &str); 4] = [
    (b"PROXY ", PROXY_REMEDY),
    (b"\r\n\r\n\0\r\nQUIT\n", PROXY_REMEDY),
    (
        b"PRI * HTTP/2",
        "this is HTTP/2, which is not supported: let the proxy use HTTP/1.1 for this server",
    ),
    (
        b"\x16\x03",
        "this is TLS, which is not supported: let the proxy use http:// for this server",
    ),
];

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
    /// The app, which handed the socket over and knows its own proxies. `None` if the request has no valid host.
    OfApp(Option<Origin>),
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
            let foreign = FOREIGN.iter().find(|(first, _)| bytes.starts_with(first));
            HeadError::new(
                400,
                match foreign {
                    Some((_, remedy)) => format!("not an HTTP request: {remedy}"),
                    None => format!("not an HTTP request: {error}"),
                },
            )
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
        self.lists(&UPGRADE, "websocket")
    }

    /// Address of the client behind `peer`: the nearest address in X-Forwarded-For that is not a trusted proxy's. Its port is
    /// zero if it comes from the header.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, settings: &Settings) -> SocketAddr {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        match self
            .forwarded()
            .client(peer.ip(), |proxy| settings.trusts(proxy))
        {
            Some(address) => SocketAddr::new(address, 0),
            None => peer,
        }
    }

    /// Fields of the proxies, each with all its values.
    fn forwarded(&self) -> Forwarded {
        Forwarded::read(|name| {
            let values = self.request.headers().get_all(name).iter();
            let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
            values.join(",")
        })
    }

    /// Origin of the page that sent the request, as text. `None` if the client is not a browser.
    ///
    /// # Errors
    /// 400 if the field comes twice or is not text.
    pub fn origin(&self) -> Result<Option<&str>, HeadError> {
        self.only(&ORIGIN)
    }

    /// Origin of this server. `None` if it cannot be determined, or if `LINESIDE_HOSTS` does not have its host.
    ///
    /// # Errors
    /// 400 if `Host` comes twice or is not text.
    pub(crate) fn server_origin(
        &self,
        source: &ServerOrigin,
        settings: &Settings,
    ) -> Result<Option<Origin>, HeadError> {
        let peer = match source {
            ServerOrigin::OfApp(origin) => return Ok(origin.clone()),
            ServerOrigin::OfRequest(peer) => *peer,
        };
        let host = self.only(&HOST)?.unwrap_or_default();
        let origin = if settings.trusts(peer) {
            let forwarded = self.forwarded();
            let client = forwarded.client(peer, |proxy| settings.trusts(proxy));
            forwarded.server_origin("http", host, client)
        } else {
            Origin::of("http", host)
        };
        Ok(origin.filter(|origin| settings.knows_host(origin.host())))
    }

    /// Answer that upgrades the connection to a WebSocket. It names `subprotocol` if the client offered it.
    ///
    /// # Errors
    /// 426 if the client asks for another version of the protocol, 400 if a field is missing that RFC 6455 §4.2.1 requires.
    pub fn upgrade(&self, subprotocol: &'static str) -> Result<Vec<u8>, HeadError> {
        if self.request.version() < http::Version::HTTP_11 {
            let message = "not an upgrade to WebSocket: the request is HTTP/1.0; let the proxy use HTTP/1.1 (nginx: \
                           proxy_http_version 1.1)";
            return Err(HeadError::new(400, message));
        }
        let headers = self.request.headers();
        if headers.contains_key(SEC_WEBSOCKET_VERSION)
            && !self.lists(&SEC_WEBSOCKET_VERSION, VERSION)
        {
            let message = format!("only version {VERSION} of the WebSocket protocol is supported");
            return Err(HeadError::new(426, message));
        }
        let mut response = create_response(&self.canonical()).map_err(|error| {
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

    /// The request with one value in each field of the upgrade. These fields are lists, which proxies extend and split.
    fn canonical(&self) -> HttpRequest<()> {
        let mut request = HttpRequest::new(());
        *request.method_mut() = self.request.method().clone();
        *request.version_mut() = self.request.version();
        for (name, value) in [
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, VERSION),
        ] {
            if self.lists(&name, value) {
                let value = HeaderValue::from_static(value);
                request.headers_mut().insert(name, value);
            }
        }
        if let Some(key) = self.request.headers().get(SEC_WEBSOCKET_KEY) {
            request.headers_mut().insert(SEC_WEBSOCKET_KEY, key.clone());
        }
        request
    }

    /// Names and raw values of the query. [`percent_decode`] decodes a value.
    pub(crate) fn query(&self) -> impl Iterator<Item = (&str, &str)> {
        let query = self.request.uri().query().unwrap_or_default();
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// Values of the cookies `<name>` and `<name>_<anything>`. Other cookies may hold any bytes.
    pub(crate) fn cookies(&self, name: &str) -> impl Iterator<Item = &str> {
        let fields = self.request.headers().get_all(COOKIE).iter();
        fields
            .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
            .filter_map(move |pair| {
                let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                let equals = rest.iter().position(|byte| *byte == b'=')?;
                let (suffix, value) = rest.split_at_checked(equals)?;
                let is_named = suffix.is_empty() || suffix.starts_with(b"_");
                str::from_utf8(value.get(1..)?).ok().filter(|_| is_named)
            })
    }

    /// Subprotocols that the client offers.
    pub(crate) fn subprotocols(&self) -> impl Iterator<Item = &str> {
        self.tokens(&SEC_WEBSOCKET_PROTOCOL)
    }

    /// Tokens of a field that is a list. The field may come several times (RFC 9110 §5.3).
    fn tokens(&self, name: &HeaderName) -> impl Iterator<Item = &str> {
        let fields = self.request.headers().get_all(name).iter();
        fields
            .flat_map(|field| field.as_bytes().split(|byte| b", \t".contains(byte)))
            .filter(|token| !token.is_empty())
            .filter_map(|token| str::from_utf8(token).ok())
    }

    /// Whether a field that is a list has this token. The comparison ignores case.
    fn lists(&self, name: &HeaderName, token: &str) -> bool {
        self.tokens(name)
            .any(|listed| listed.eq_ignore_ascii_case(token))
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
