//! What happened over all seeds, so that a simulation in which something never happens is noticed.

use std::collections::BTreeMap;

/// How often each thing happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Every fault and every situation that a thousand seeds must show, each this often.
const EXPECTED: &[(&str, u64)] = &[
    ("a link ended", 500),
    ("a link was cut", 200),
    ("a duplicate by its once id", 50),
    ("a receipt", 1_000),
    ("a publication dropped for its age", 20),
    ("a publication declined", 100),
    ("a planned restart", 200),
    ("a planned restart that was cut", 50),
    ("a kill", 200),
    ("a shard that stands still", 200),
    ("a dial to nobody", 200),
    ("a browser's connection cut", 200),
    ("a browser's connection reset", 200),
    ("a blackhole", 200),
    ("a deaf page", 200),
    ("a page asleep", 200),
    ("a page offline", 200),
    ("a page in the back and forward cache", 100),
    ("a Turbo visit", 200),
    ("a page for somebody else", 50),
    ("a sign-out", 200),
    ("a sign-out of one session", 50),
    ("a token fetched", 500),
    ("a token refused for a while", 50),
    ("a refresh", 100),
    ("other rights", 200),
    ("a clock step forward", 100),
    ("a clock step back", 50),
    ("a publication within a render", 100),
    ("a connect recovered", 1_000),
    ("a connect lost", 500),
    ("a connect lost in part", 100),
    ("a connect in a new epoch", 200),
    ("a connect recovered after a planned restart", 50),
    ("a subscribe recovered", 50),
    ("a subscribe lost", 20),
    ("a replayed message", 1_000),
    ("a live message", 1_000),
    ("a resent message", 50),
    ("a plain client", 200),
    ("a cut within a replay", 1),
    ("a refused channel", 50),
    ("an unsubscribed unasked", 5),
    ("a refreshed", 50),
    ("a close for a drain", 50),
    ("a close for slowness", 3),
    ("a close for a silence", 3),
    ("a close for an expired token", 20),
    ("a close for a sign-out", 50),
    ("a process gone", 100),
    ("a page refetched", 200),
];

impl Tally {
    pub(crate) fn note(&mut self, what: &'static str) {
        self.note_many(what, 1);
    }

    pub(crate) fn note_many(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            self.note_many(what, *count);
        }
    }

    /// Whether each thing happened as often as that many seeds should show it.
    pub(crate) fn assert_everything_happened(&self, seeds: u64) {
        let count = |what: &str| self.0.get(what).copied().unwrap_or_default();
        let missing: Vec<String> = EXPECTED
            .iter()
            .filter(|(what, least)| count(what) < least * seeds / 1_000)
            .map(|(what, least)| format!("{what}: {} of {least} in a thousand", count(what)))
            .collect();
        assert!(
            missing.is_empty(),
            "too rare in {seeds} seeds: {missing:#?}"
        );
        let unknown: Vec<_> = self
            .0
            .keys()
            .filter(|what| !EXPECTED.iter().any(|(it, _)| it == *what))
            .collect();
        assert!(unknown.is_empty(), "not expected: {unknown:?}");
    }
}
