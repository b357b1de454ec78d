//! HTTP, as far as the sidecar speaks it: the upgrade to WebSocket, health and metrics.

pub(crate) mod admin;
pub(crate) mod exchange;
pub mod head;
pub(crate) mod upgrade;
