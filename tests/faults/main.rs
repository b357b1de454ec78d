//! Real faults against real processes: the sidecar's binary, publishing processes and pages around it, a network between them
//! that fails when told to ([`proxy`]), and kills. Everything that is published and heard goes into one log, which the
//! history checker judges: what was lost, repeated, reordered or misdelivered, and whether anybody was deceived.
//!
//! A run waits for what it has caused, and never for time to pass: so many publications later, everybody back again. What the
//! counts mean stands in docs/reliability.md. `LINESIDE_FAULTS_LONG` repeats everything far more often.

#![expect(
    clippy::unwrap_used,
    reason = "what a test calls fails as the test does"
)]
#![expect(
    clippy::print_stdout,
    reason = "what was counted is what these runs are for"
)]

mod browser;
mod load;
mod proxy;
mod publishing;
mod record;
mod support;

mod kills;
mod links;
mod network;
mod puma;
mod restarts;
mod resumes;
mod rights;
mod ruby;
mod slow;
