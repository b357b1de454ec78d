//! End to end across real processes: the sidecar's binary on a port of the system's choice, publishers on its link, and
//! browsers that speak `lineside-v1` as docs/protocol.md has it. Nothing here waits for time to pass: every wait is for a
//! condition, and fails after [`support::PATIENCE`]. What must not arrive is shown by what arrives instead, behind it.

#![expect(
    clippy::unwrap_used,
    reason = "what a test calls fails as the test does"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "values are written where they are used, with json!, and a borrow of each would only be in the way"
)]
#![expect(
    clippy::print_stdout,
    reason = "cargo shows what a test printed when it fails"
)]

mod support;

mod admin;
mod architecture;
mod check;
mod command;
mod crash;
mod drain;
mod expiry;
mod fan_out;
mod frames;
mod hand_off;
mod hostile_link;
mod http;
mod identity;
mod limits;
mod link;
mod logs;
mod names;
mod ownership;
mod planned_restart;
mod promises;
mod refresh;
mod replay;
mod requests;
mod resume;
mod rotation;
mod seam;
mod sign_out;
mod slow;
mod tail;
mod tokens;
mod welcome;
