//! The sidecar and its command.
//!
//! ```text
//! publishers ─ link ─▶ ingress ─▶ hub's journal ─▶ inbox ─▶ shard ─▶ browsers
//!                                     (lock)       (per thread)
//! ```
//!
//! [`serve`](crate::command) puts together: the [`link`]'s socket, [`ingress`] (one task a publisher), [`browsers`] (the
//! listener and the upgrade: [`head`], [`origin`]), [`hand_off`] (sockets that come from the app), and the [`shard`]s, each a thread that owns its connections:
//! [`websocket`] turns bytes into messages, [`connection`] knows what they mean. [`state`] is the file by which a planned stop
//! hands all that to its successor.
//!
//! The command is all that anybody uses. What else is public is so for the tests in `tests/` and the targets in `fuzz/`.

#![forbid(unsafe_code)]

mod clock;
pub mod command;
pub mod http;
pub mod keyring;
pub mod link;
mod listener;
mod log;
mod metrics;
pub mod origin;
mod serve;
pub mod settings;
pub mod shard;
mod state;
