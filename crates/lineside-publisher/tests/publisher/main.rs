//! Tests of the publisher with a scripted sidecar on a real socket.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

mod delivery;
mod holding;
mod limits;
mod links;
mod resend;
mod revocation;
mod sidecar;

mod waiting;
