//! The link: the Unix socket on which the app's processes reach the sidecar.
//!
//! [`socket`] is the listener with its lock, in the link's [`folder`]. [`ingress`] gives links to what serves them: those of
//! publishers to the shards, [`hand_off`] receives browsers' sockets from the app, [`app`] sends publications to the app, [`tail`] to
//! `lineside tail`. [`description`] answers `lineside check`, and [`settle`] system tests.

mod app;
pub(crate) mod description;
mod first_frame;
pub(crate) mod folder;
pub(crate) mod hand_off;
pub(crate) mod ingress;
mod settle;
pub(crate) mod socket;
mod tail;

/// Deadline of a short exchange with a local process, in milliseconds: receiving its first frame, sending an answer, or
/// sending the reason for closing a link that is not a publisher's.
const EXCHANGE_MS_MAX: u64 = 1000;
