//! Checks at the end of a run.

use std::collections::{HashMap, HashSet};

use lineside_tests::history::{Counts, Event, judge};

use super::World;

impl World {
    /// Asserts that the history checker has no findings, and that every page shows what the database has. Returns the checker's
    /// counts.
    pub(crate) fn check(&self) -> Counts {
        let judgement = judge(&self.log);
        assert!(judgement.findings.is_empty(), "{judgement}");
        self.check_pages();
        judgement.counts
    }

    /// Asserts that each subscribed listener has all published rows of its channel, in its state or as messages.
    fn check_pages(&self) {
        let published = published(&self.log);
        for tab in self.tabs.iter().filter(|tab| !tab.has_stopped()) {
            for applied in tab.applied.values().filter(|it| !it.is_refused) {
                let channel = tab.channel(applied).filter(|it| tab.is_subscribed(it));
                let Some(channel) = channel else {
                    continue;
                };
                let from = applied.rows.get(&channel).copied().unwrap_or(0);
                for row in &self.app.rows[from..] {
                    let is_missing = row.channel == channel
                        && published.contains(row.id.as_str())
                        && !applied.ids.contains_key(&row.id);
                    assert!(
                        !is_missing,
                        "{} shows {channel} without {}, which was published",
                        tab.name, row.id
                    );
                }
            }
        }
    }
}

/// Returns the ids that were certainly published: acked, not declined, refused or dropped, and without a `once` id.
fn published(log: &[Event]) -> HashSet<&str> {
    let mut calls: HashMap<(&str, u64), Vec<&str>> = HashMap::new();
    let mut acked: HashMap<&str, u64> = HashMap::new();
    let mut published = HashSet::new();
    for event in log {
        match event {
            Event::Sent {
                publisher,
                sequence,
                items,
                once: None,
                ..
            } => {
                let ids = items.iter().map(|item| item.id.as_str()).collect();
                calls.insert((publisher, *sequence), ids);
            }
            Event::Declined {
                publisher,
                sequence,
            }
            | Event::Refused {
                publisher,
                sequence,
            }
            | Event::Dropped {
                publisher,
                sequence,
            } => {
                calls.remove(&(publisher.as_str(), *sequence));
            }
            Event::Receipt {
                publisher,
                sequence,
                ..
            } => published.extend(
                calls
                    .get(&(publisher.as_str(), *sequence))
                    .into_iter()
                    .flatten(),
            ),
            Event::Acked {
                publisher, through, ..
            } => {
                let from = acked.insert(publisher, *through).unwrap_or(0);
                for sequence in from + 1..=*through {
                    let call = calls.get(&(publisher.as_str(), sequence));
                    published.extend(call.into_iter().flatten());
                }
            }
            _ => {}
        }
    }
    published
}
