//! Counts of faults and situations over all seeds. A run in which one of them is too rare fails.

use std::collections::BTreeMap;

/// Count of each situation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// Every fault and situation, with its minimum count in 1,000 seeds.
const EXPECTED: &[(&str, u64)] = &[
    ("a link ended", 500),
    ("a link was cut", 200),
    ("a duplicate by its once id", 50),
    ("a receipt", 1_000),
    ("a publication dropped for its age", 20),
    ("a publication declined", 100),
    ("a planned restart", 200),
    ("an interrupted planned restart", 50),
    ("a kill", 200),
    ("a stalled shard", 200),
    ("a lagging shard", 200),
    ("a refused connect", 200),
    ("a browser's connection cut", 200),
    ("a browser's connection reset", 200),
    ("a black hole", 200),
    ("a page that does not read", 200),
    ("a sleeping page", 200),
    ("an offline page", 200),
    ("a page in the back and forward cache", 100),
    ("a Turbo visit", 200),
    ("another user signed in", 50),
    ("a sign-out", 200),
    ("a sign-out of one session", 50),
    ("a page loaded again", 50),
    ("a token fetched", 500),
    ("a failed token request", 50),
    ("a refresh", 70),
    ("changed grants", 200),
    ("a clock step forward", 100),
    ("a clock step back", 50),
    ("a publication within a render", 100),
    ("a connect recovered", 1_000),
    ("a connect lost", 500),
    ("a connect lost in part", 100),
    ("a connect in a new epoch", 200),
    ("a connect recovered after a planned restart", 20),
    ("a subscribe recovered", 50),
    ("a subscribe lost", 20),
    ("a replayed message", 1_000),
    ("a live message", 1_000),
    ("a resent message", 50),
    ("a plain client", 200),
    ("a cut within a replay", 1),
    ("a refused channel", 50),
    ("an unsolicited unsubscribed", 5),
    ("a refreshed reply", 50),
    ("a close for a drain", 50),
    ("a close for a slow reader", 3),
    ("a close for a heartbeat time-out", 3),
    ("a close for an expired token", 20),
    ("a close for a sign-out", 50),
    ("a killed process", 100),
    ("a refetched page", 200),
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

    /// Asserts the minimum count of each situation for a number of seeds.
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
