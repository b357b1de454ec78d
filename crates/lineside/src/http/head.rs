//! The head of a browser's HTTP request, and what of it opens a WebSocket.

use std::net::{IpAddr, SocketAddr};

use http::header::{COOKIE, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request as HttpRequest};
use lineside_protocol::After;
use lineside_protocol::request::{Connect, Subscribe};
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};

use crate::origin::Origin;
use crate::settings::Settings;

/// Largest head of a request, in bytes: a token of 8 KiB in the URL, a cookie of 4 KiB, and the rest.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header fields; browsers and proxies send some 30.
const HEADERS_MAX: usize = 100;

/// The subprotocol that this sidecar speaks.
const SUBPROTOCOL: &str = "lineside-v1";

/// The cookie in which a browser brings its user's identity.
const IDENTITY_COOKIE: &str = "lineside";

/// Where proxies write who asked them, each behind the others.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// A token may come as a second subprotocol behind this prefix.
const TOKEN_SUBPROTOCOL: &str = "lineside.token.";

/// A request head that was read whole.
#[derive(Debug)]
pub struct Head {
    /// Method, target and header fields.
    pub request: HttpRequest<()>,
    /// Its length in bytes; what follows belongs to the WebSocket.
    pub bytes: usize,
}

/// Where this server is, for the page whose origin must equal it.
#[derive(Debug)]
pub enum Own {
    /// As the request says, and its proxy, if the one at this address is trusted.
    Asked(IpAddr),
    /// As the app says, which knows its proxies itself.
    Told(Origin),
}

/// Why a head does not open a socket: an HTTP status and a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub struct HeadError {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong and what to do.
    pub message: String,
}

impl HeadError {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }
}

impl Head {
    /// Reads a head from the front of `bytes`; `None` when it is not whole yet.
    ///
    /// # Errors
    /// 400 for what is not HTTP, 431 when it is larger than [`HEAD_BYTES_MAX`].
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
                    format!("the head is over {HEAD_BYTES_MAX} bytes"),
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

    /// Tests who asks: a page whose origin may not, or that cannot be told, is refused.
    ///
    /// # Errors
    /// 403 with the origin and the remedy; 400 when the fields that decide it come twice or are not text.
    pub fn check_origin(&self, own: &Own, settings: &Settings) -> Result<(), HeadError> {
        let Some(text) = self.only(&ORIGIN)? else {
            return Ok(());
        };
        let own = match own {
            Own::Asked(peer) => self.own_origin(*peer, settings)?,
            Own::Told(origin) => Some(origin.clone()),
        };
        let origin = Origin::parse(text);
        if origin.is_some() && origin == own {
            return Ok(());
        }
        if origin.is_some_and(|origin| {
            settings
                .allowed_origins
                .iter()
                .any(|rule| rule.allows(&origin))
        }) {
            return Ok(());
        }
        let own = own.map_or_else(|| "unknown".to_owned(), |own| own.to_string());
        Err(HeadError::new(
            403,
            format!(
                "the origin {text:?} is not allowed here: this server is {own}; name the page's origin in \
                 LINESIDE_ALLOWED_ORIGINS, or let the proxy pass Host and X-Forwarded-Proto"
            ),
        ))
    }

    /// Where the browser is that asks through `peer`: the nearest address that is no trusted proxy's, as X-Forwarded-For
    /// tells. Its port, which no proxy tells, is zero then. For the log: nobody is let in or refused by it.
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

    /// This server's origin, as the request and trusted proxies name it.
    fn own_origin(&self, peer: IpAddr, settings: &Settings) -> Result<Option<Origin>, HeadError> {
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

    /// The answer that makes a WebSocket of the connection. It names our subprotocol if the client does.
    ///
    /// # Errors
    /// 400 for what RFC 6455 §4.2.1 asks of a client and is missing.
    pub fn upgrade(&self) -> Result<Vec<u8>, HeadError> {
        let mut response = create_response(&self.request).map_err(|error| {
            HeadError::new(400, format!("not an upgrade to WebSocket: {error}"))
        })?;
        if self.subprotocols().any(|offered| offered == SUBPROTOCOL) {
            response.headers_mut().insert(
                SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(SUBPROTOCOL),
            );
        }
        let mut answer = Vec::new();
        write_response(&mut answer, &response)
            .map_err(|error| HeadError::new(400, error.to_string()))?;
        Ok(answer)
    }

    /// The connect that URL or subprotocol make, if they do.
    ///
    /// # Errors
    /// 400 when the URL is not encoded as URLs are.
    pub fn connect(&self) -> Result<Option<Connect>, HeadError> {
        let mut connect = Connect::default();
        let mut found = false;
        for pair in self.request.uri().query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "token" => connect.token = Some(percent_decode(value)?),
                "after" => connect.after = Some(After::parse(&percent_decode(value)?)),
                "channel" => {
                    let channel = percent_decode(value)?;
                    connect.subscribe.push(Subscribe {
                        channel,
                        token: None,
                        after: None,
                    });
                }
                _ => continue,
            }
            found |= name != "after";
        }
        if let Some(token) = self
            .subprotocols()
            .find_map(|offered| offered.strip_prefix(TOKEN_SUBPROTOCOL))
        {
            connect.token = Some(token.to_owned());
            found = true;
        }
        Ok(found.then_some(connect))
    }

    /// The identity that a browser's page brings in its cookie, not verified yet. Ask after [`check_origin`](Self::check_origin).
    ///
    /// `None` without an `Origin`: that is no page, and whoever can write a cookie can write a token. `None`, too, when the
    /// cookie comes more than once: another site of the domain may have set one, and which is whose cannot be told.
    pub fn identity(&self) -> Option<&str> {
        self.request.headers().get(ORIGIN)?;
        let fields = self.request.headers().get_all(COOKIE);
        let pairs = fields
            .iter()
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let mut found = pairs.filter(|(name, _)| *name == IDENTITY_COOKIE);
        match (found.next(), found.next()) {
            (Some((_, identity)), None) => Some(identity),
            _ => None,
        }
    }

    fn subprotocols(&self) -> impl Iterator<Item = &str> {
        let fields = self.request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
        fields
            .iter()
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(',').map(str::trim))
    }

    /// The value of a field that may come once.
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

/// Decodes `%41` and `+` of a query's value (application/x-www-form-urlencoded, as `URLSearchParams` writes).
fn percent_decode(text: &str) -> Result<String, HeadError> {
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
