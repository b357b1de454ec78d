//! Fault runs: the sidecar's binary, publishing processes and pages, with kills, stops, and a network that fails on command
//! ([`proxy`]). All publications, messages and replies go into one log, which the history checker reads: lost, repeated,
//! reordered and misdelivered publications, and false replies.
//!
//! A run waits for events (a number of publications, all pages reconnected), never for a fixed time. docs/reliability.md
//! explains the counts. `LINESIDE_FAULTS_LONG` repeats each fault more often.

#![expect(clippy::unwrap_used, reason = "a failing call fails the test")]
#![expect(clippy::print_stdout, reason = "the runs print their counts")]

mod browser;
mod cgroup;
mod load;
mod proxy;
mod publishing;
mod record;
mod support;

mod kills;
mod links;
mod memory;
mod network;
mod puma;
mod restarts;
mod resumes;
mod rights;
mod ruby;
mod slow;
