//! What a run comes to.

use std::time::Duration;

use lineside_tests::history::Counts;
use serde_json::Value;

/// What a run that went well gives.
pub(crate) struct Settled {
    pub(crate) counts: Counts,
    /// Accepted publications that a page that reads their channel has never heard, once for each such page.
    pub(crate) unheard: u64,
    /// How long it all took.
    pub(crate) took: Duration,
    /// What each publishing process counted, in the order of their start.
    pub(crate) statuses: Vec<Value>,
}

impl Settled {
    /// Says what was counted; docs/reliability.md has it from there.
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
            "{what}: {sent} published, {} sent again; {deliveries} delivered, {repeated} of them repeated; \
             {recovered} channels resumed whole, {lost} lost ({false_alarms} needlessly); in {:.0} s",
            self.total("resent"),
            self.took.as_secs_f64(),
        );
    }

    /// Nothing may be missing or come twice in the eyes of any page, by a second count than the checker's.
    #[track_caller]
    pub(crate) fn nothing_lost(&self) {
        assert_eq!(
            (self.counts.lost, self.counts.repeated, self.unheard),
            (0, 0, 0),
            "lost, repeated, unheard"
        );
    }

    /// The sum of one count over all publishing processes.
    pub(crate) fn total(&self, count: &str) -> u64 {
        let counts = self.statuses.iter().map(|it| it[count].as_u64().unwrap());
        counts.sum()
    }
}
