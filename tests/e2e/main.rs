//! End-to-end tests against the real binary: a sidecar on a free port, publishers on its link, and browsers that follow
//! docs/protocol.md. No test sleeps: every wait is for a condition, and fails after [`support::TIMEOUT`]. To show that
//! something is not delivered, a test publishes a marker behind it and expects the marker next.

#![expect(clippy::unwrap_used, reason = "a helper that panics fails the test")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "most arguments are json! literals, which would all need a borrow"
)]
#![expect(
    clippy::print_stdout,
    reason = "cargo shows the output of a failed test"
)]

mod support;

mod admin;
mod app_link;
mod architecture;
mod cable;
mod cable_by_route;
mod check;
mod command;
mod crash;
mod drain;
mod expiry;
mod fan_out;
mod frames;
mod hand_off;
mod heartbeat;
mod hostile_link;
mod http;
mod identity;
mod link;
mod logs;
mod memory;
mod ownership;
mod planned_restart;
mod promises;
mod refresh;
mod replay;
mod requests;
mod resume;
mod rotation;
mod seam;
mod settings;
mod settle;
mod sign_out;
mod slow;
mod tail;
mod tokens;
mod welcome;
