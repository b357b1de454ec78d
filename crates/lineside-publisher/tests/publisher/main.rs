//! The publisher against a scripted sidecar on a real socket.

#![expect(
    clippy::unwrap_used,
    reason = "what a test calls fails as the test does"
)]

mod delivery;
mod holding;
mod limits;
mod links;
mod resend;
mod sidecar;
mod sign_out;
mod waiting;
