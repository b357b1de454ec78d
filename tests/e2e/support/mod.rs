//! Test fixtures: a [`Sidecar`] in its [`Place`], a [`Publisher`] and a [`Browser`]; and a [`RawLink`] and a
//! [`RawBrowser`], which send arbitrary bytes.

mod browser;
mod forge;
mod publisher;
mod raw_browser;
mod raw_link;
mod request;
mod sidecar;

use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

pub(crate) use browser::{Browser, Received};
pub(crate) use forge::{
    channel_token, claims, forge, now_ms, sign, sign_with, signed_at, token_for,
};
pub(crate) use publisher::{Publisher, is_after, position};
pub(crate) use raw_browser::{RawBrowser, frame};
pub(crate) use raw_link::{PUBLISH, RawLink, hello, option, publication, publish, raw_frame};
pub(crate) use request::{Request, read_response};
pub(crate) use sidecar::{Place, Sidecar, listening_ports, place, sidecar};

/// Time-out of every wait. Longer than the longest wait of the protocol (11 s, a heartbeat) on a slow machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Secret of every sidecar in these tests.
pub(crate) const SECRET: &str = "the secret of these tests: 0123456789";

/// Polls until `look` returns a value; fails after [`TIMEOUT`].
pub(crate) fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + TIMEOUT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < end,
            "timed out after {} s: {what}",
            TIMEOUT.as_secs()
        );
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Runs a property test from a fixed seed, so that a failure repeats.
pub(crate) fn check_property<S: Strategy>(
    seed: u8,
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> TestCaseResult,
) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, rng)
        .run(strategy, test)
        .unwrap();
}
