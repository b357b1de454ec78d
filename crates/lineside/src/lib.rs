//! The sidecar and its command.
//!
//! ```text
//! publishers ─ link ─▶ session ─▶ broker ─▶ inbox ─▶ shard ─▶ browsers
//!                                 (hub)    (per thread)
//! ```
//!
//! [`command`] reads the command line, and `serve` starts everything. The [`link`] receives frames from publishers and
//! sockets from the app; the [`broker`] puts entries into the journal and hands them to each [`shard`], a thread with some of
//! the connections; [`dialects`] are the protocols that connections speak; `http` upgrades browsers and serves operators.
//!
//! Only the command is an interface. Other items are public for the tests in `tests/` and the targets in `fuzz/`.

#![forbid(unsafe_code)]

pub mod broker;
pub mod clock;
pub mod command;
mod descriptors;
pub mod dialects;
pub mod head;
mod http;
pub mod keyring;
pub mod link;
mod listener;
mod log;
mod memory;
mod metrics;
pub mod origin;
pub mod route_keys;
mod serve;
pub mod session;
pub mod settings;
pub mod shard;
mod text;
