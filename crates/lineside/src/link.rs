//! The link: the Unix socket where the app's processes meet the sidecar, and the three things that come over it.
//!
//! [`socket`] is the listener and its lock; [`ingress`] serves publishers, [`hand_off`] takes browsers' sockets from the app,
//! [`tail`] shows publications to an operator.

pub(crate) mod hand_off;
pub mod ingress;
pub(crate) mod socket;
pub(crate) mod tail;
