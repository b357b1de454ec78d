//! Counts of a finished run.

use std::time::Duration;

use lineside_tests::history::Counts;
use serde_json::Value;

/// Counts of a run without findings.
pub(crate) struct Report {
    pub(crate) counts: Counts,
    /// Accepted publications that a page of their channel did not receive, summed over the pages.
    pub(crate) undelivered: u64,
    /// Duration of the run.
    pub(crate) took: Duration,
    /// Counts of each publishing process, in the order of their start.
    pub(crate) statuses: Vec<Value>,
}

impl Report {
    /// Prints the counts, which docs/reliability.md quotes.
    pub(crate) fn print(&self, what: &str) {
        let Counts {
            sent,
            deliveries,
            recovered,
            lost,
            false_alarms,
            repeated,
            ..
        } = self.counts;
        println!(
            "{what}: {sent} published, {} frames resent; {deliveries} delivered, {repeated} of them repeated; \
             {recovered} channels recovered, {lost} lost ({false_alarms} needlessly); in {:.0} s",
            self.total("resent"),
            self.took.as_secs_f64(),
        );
    }

    /// Asserts that no page was told `lost`, received a repeat, or misses a publication by the run's own count.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) {
        assert_eq!(
            (self.counts.lost, self.counts.repeated, self.undelivered),
            (0, 0, 0),
            "lost, repeated, missing"
        );
    }

    /// Returns the sum of one count over all publishing processes.
    pub(crate) fn total(&self, count: &str) -> u64 {
        let counts = self.statuses.iter().map(|it| it[count].as_u64().unwrap());
        counts.sum()
    }
}
