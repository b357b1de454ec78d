//! What the tests are written in: a [`Sidecar`] in its [`Place`], a [`Publisher`], a [`Browser`]; and for what well-behaved
//! peers never send, a [`RawLink`] and a [`RawBrowser`].

mod browser;
mod dial;
mod forge;
mod publisher;
mod raw_browser;
mod raw_link;
mod sidecar;

use std::time::{Duration, Instant};

pub(crate) use browser::{Browser, Heard};
pub(crate) use dial::{Dial, read_answer};
pub(crate) use forge::{channel_token, claims, forge, now_ms, sign, signed_at, token_for};
pub(crate) use publisher::{Publisher, is_ahead, position};
pub(crate) use raw_browser::{RawBrowser, frame};
pub(crate) use raw_link::{PUBLISH, RawLink, hello, option, publication, publish, raw_frame};
pub(crate) use sidecar::{Place, Sidecar, listening_ports, place, sidecar};

/// No step takes this long on the slowest machine, the protocol's own longest wait (11 s of heartbeat) included; reaching
/// it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The secret of every sidecar of these tests.
pub(crate) const SECRET: &str = "the secret of these tests: 0123456789";

/// Waits until `look` finds something.
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
