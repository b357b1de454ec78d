//! What these runs share with the end-to-end tests: the sidecar's real binary in a folder of its own, and tokens.

#[path = "../e2e/support/forge.rs"]
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "as the end-to-end tests want it, and forged tokens are their business"
)]
mod forge;
#[path = "../e2e/support/sidecar.rs"]
#[allow(
    dead_code,
    clippy::needless_pass_by_value,
    reason = "as the end-to-end tests want it, and the rest of it is their business"
)]
mod sidecar;

use std::time::{Duration, Instant};

pub(crate) use forge::{now_ms, sign};
pub(crate) use sidecar::{Place, Sidecar, place};

/// No step takes this long on the slowest machine under full load; reaching it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The secret of every sidecar of these runs.
pub(crate) const SECRET: &str = "the secret of the fault runs: 0123456789";

/// Waits until `look` finds something.
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

/// How often a run repeats what it is about: a few times on every run, and often in the long form.
pub(crate) fn rounds(short: u64, long: u64) -> u64 {
    if std::env::var_os("LINESIDE_FAULTS_LONG").is_some() {
        long
    } else {
        short
    }
}
