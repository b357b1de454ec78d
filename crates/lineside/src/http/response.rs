//! HTTP/1.1 on a listener: reads the head of one request, sends one response, and closes.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::head::{HEAD_BYTES_MAX, Head, HeadError};

/// Deadline for a complete head after the accept, in milliseconds.
const HEAD_MS_MAX: u64 = 5000;

/// Deadline for sending a response, in milliseconds.
pub(crate) const RESPONSE_MS_MAX: u64 = 1000;

/// Value of `Retry-After`, in seconds.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Error of a request that ends within its head.
pub(crate) const TRUNCATED: &str = "the request ends before its head does";

/// Media type of a line of text.
const LINE: &str = "text/plain; charset=utf-8";

/// Response to a request that is not upgraded.
#[derive(Debug)]
pub(crate) struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Response {
    /// Response with one line of text.
    pub(crate) fn line(status: u16, text: &str) -> Self {
        Self::page(status, LINE, format!("{text}\n"))
    }

    /// Response with a body of this media type.
    pub(crate) fn page(status: u16, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            content_type,
            body,
        }
    }

    /// Sends the response (without its body for HEAD) and closes. A client that disconnects early gets none.
    pub(crate) async fn send(self, mut stream: TcpStream, method: &Method) {
        let text = self.text(method);
        let finish = async {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            // Unread bytes would turn the close into a reset, which drops the response.
            tokio::io::copy(
                &mut stream.take(HEAD_BYTES_MAX as u64),
                &mut tokio::io::sink(),
            )
            .await
        };
        let _sent = tokio::time::timeout(Duration::from_millis(RESPONSE_MS_MAX), finish).await;
    }

    fn text(&self, method: &Method) -> String {
        let Self {
            status,
            content_type,
            body,
        } = self;
        let reason = StatusCode::from_u16(*status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default();
        let more = match status {
            405 => "Allow: GET, HEAD\r\n".to_owned(),
            426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".to_owned(),
            503 => format!("Retry-After: {RETRY_AFTER_SECONDS}\r\n"),
            _ => String::new(),
        };
        let bytes = body.len();
        // A proxy with a cache would keep a health check or a 404 by default (RFC 9111 §4.2.2).
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {bytes}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n{more}\r\n"
        );
        if method == Method::HEAD {
            head
        } else {
            head + body
        }
    }
}

impl From<&HeadError> for Response {
    fn from(error: &HeadError) -> Self {
        Self::line(error.status, &error.message)
    }
}

/// Reads a head, and the bytes that came behind it. `None` if the client sent nothing, as the TCP checks of load balancers do.
pub(crate) async fn read_head(
    stream: &mut TcpStream,
) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
    let deadline = Duration::from_millis(HEAD_MS_MAX);
    let read = tokio::time::timeout(deadline, read_whole_head(stream)).await;
    read.unwrap_or_else(|_| {
        let message = format!("no complete request came within {HEAD_MS_MAX} ms");
        Err(HeadError::new(408, message))
    })
}

async fn read_whole_head(stream: &mut TcpStream) -> Result<Option<(Head, Vec<u8>)>, HeadError> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(head) = Head::parse(&bytes)? {
            bytes.drain(..head.bytes);
            return Ok(Some((head, bytes)));
        }
        let room = HEAD_BYTES_MAX - bytes.len();
        match (&mut *stream).take(room as u64).read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) if bytes.is_empty() => return Ok(None),
            Ok(0) | Err(_) => {
                return Err(HeadError::new(400, TRUNCATED));
            }
        }
    }
}
