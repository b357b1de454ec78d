//! Helpers shared with the end-to-end tests: sidecar processes, tokens and waiting.

#[path = "../e2e/support/forge.rs"]
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "shared with the end-to-end tests, which use the rest"
)]
mod forge;
#[path = "../e2e/support/sidecar.rs"]
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "shared with the end-to-end tests, which use the rest"
)]
mod sidecar;

use std::time::{Duration, Instant};

pub(crate) use forge::{now_ms, sign};
pub(crate) use sidecar::{Place, Sidecar, place};

/// Time-out of each wait; longer than any step takes on a slow machine under full load.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Secret of all sidecars of these runs.
pub(crate) const SECRET: &str = "the secret of the fault runs: 0123456789";

/// Waits until `look` returns a value.
#[track_caller]
pub(crate) fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "not within {} s: {what}",
            PATIENCE.as_secs()
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Returns the number of repetitions: `long` with `LINESIDE_FAULTS_LONG`, else `short`.
pub(crate) fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var_os("LINESIDE_FAULTS_LONG").is_some() {
        long
    } else {
        short
    }
}
