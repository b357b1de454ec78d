//! HTTP: the upgrade to WebSocket, the health check and the metrics.

pub(crate) mod admin;
mod response;
mod slots;
pub(crate) mod upgrade;
mod waiting;

pub(crate) use response::RESPONSE_MS_MAX;
