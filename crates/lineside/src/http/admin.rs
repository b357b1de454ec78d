//! Admin listener: `/metrics` and `/up`. Read-only, and shows no payload.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use http::header::HOST;
use http::{Method, uri::Authority};
use tokio::net::TcpStream;

use super::response::{Response, read_head};
use super::slots::Slots;
use super::upgrade::Upgrades;
use crate::head::{Head, HeadError};
use crate::listener::Listener;
use crate::log::{Level, event};
use crate::metrics::{Metrics, exposition};
use crate::settings::HEALTH_PATH;

/// Maximum number of requests under way. A further one ends the oldest.
const REQUESTS_MAX: usize = 16;

/// Path of the metrics.
const METRICS_PATH: &str = "/metrics";

/// Admin listener's pages.
#[derive(Debug)]
pub(crate) struct Admin {
    metrics: Arc<Metrics>,
    upgrades: Arc<Upgrades>,
    hosts: Vec<String>,
    under_way: Arc<Slots>,
}

impl Admin {
    /// `hosts` are the allowed names in `Host`, beside localhost and addresses.
    pub(crate) fn new(metrics: Metrics, upgrades: Arc<Upgrades>, hosts: Vec<String>) -> Self {
        Self {
            metrics: Arc::new(metrics),
            upgrades,
            hosts,
            under_way: Arc::default(),
        }
    }

    /// Serves requests until the sidecar stops.
    pub(crate) async fn accept(self: &Arc<Self>, listener: &Listener) -> Infallible {
        loop {
            let (stream, _) = listener.accept().await;
            let (slot, _) = self.under_way.take(REQUESTS_MAX).await;
            let admin = Arc::clone(self);
            tokio::spawn(slot.run(async move { admin.serve(stream).await }));
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        let (method, response) = match read_head(&mut stream).await {
            Ok(None) => return,
            Ok(Some((head, _))) => {
                let response = self.response(&head).await;
                (head.request.method().clone(), response)
            }
            Err(error) => (Method::GET, Err(error)),
        };
        let response = response.unwrap_or_else(|error| {
            event!(
                Level::Warn,
                "admin_refused",
                status = error.status,
                message = error.message
            );
            Response::from(&error)
        });
        response.send(stream, &method).await;
    }

    async fn response(&self, head: &Head) -> Result<Response, HeadError> {
        self.check_host(head)?;
        if !matches!(*head.request.method(), Method::GET | Method::HEAD) {
            return Err(HeadError::new(405, "this can only be read, by GET or HEAD"));
        }
        match head.request.uri().path() {
            HEALTH_PATH => Ok(self.upgrades.health()),
            METRICS_PATH => {
                let metrics = Arc::clone(&self.metrics);
                // Counting many file descriptors takes a while.
                let text = tokio::task::spawn_blocking(move || metrics.render()).await;
                let text = text.map_err(|error| HeadError::new(500, error.to_string()))?;
                Ok(Response::page(200, exposition::CONTENT_TYPE, text))
            }
            path => Err(HeadError::new(
                404,
                format!("nothing is at {path:?}; there are {METRICS_PATH} and {HEALTH_PATH}"),
            )),
        }
    }

    /// Refuses unknown hosts. A web page could point its own name at this address (DNS rebinding) and read the response.
    fn check_host(&self, head: &Head) -> Result<(), HeadError> {
        let text = head.only(&HOST)?.unwrap_or_default();
        let authority: Option<Authority> = text.parse().ok();
        let host = authority.as_ref().map(Authority::host).unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let mut known = ["localhost"]
            .into_iter()
            .chain(self.hosts.iter().map(String::as_str));
        if address.parse::<IpAddr>().is_ok() || known.any(|name| name.eq_ignore_ascii_case(host)) {
            return Ok(());
        }
        Err(HeadError::new(
            403,
            format!(
                "the host {text:?} is not known here: ask by localhost or an address, or name it in LINESIDE_ADMIN_HOSTS"
            ),
        ))
    }
}
