//! What must hold at the end, beside what the history checker judges.

use std::collections::{HashMap, HashSet};

use lineside_tests::history::{Counts, Event, judge};

use super::World;

impl World {
    /// Nothing was lost, repeated, reordered or misdelivered, and every page shows what the database holds.
    ///
    /// Gives how much was judged.
    pub(crate) fn check(&self) -> Counts {
        let judgement = judge(&self.log);
        assert!(judgement.findings.is_empty(), "{judgement}");
        self.check_pages();
        judgement.counts
    }

    /// Every listener that is live has, in its state or applied to that, everything of its channel that landed.
    fn check_pages(&self) {
        let landed = landed(&self.log);
        for tab in self.tabs.iter().filter(|tab| !tab.is_over()) {
            for applied in tab.applied.values().filter(|it| !it.is_refused) {
                let channel = tab.channel(applied).filter(|it| tab.is_subscribed(it));
                let Some(channel) = channel else {
                    continue;
                };
                let from = applied.rows.get(&channel).copied().unwrap_or(0);
                for row in &self.app.rows[from..] {
                    let is_missing = row.channel == channel
                        && landed.contains(row.id.as_str())
                        && !applied.ids.contains_key(&row.id);
                    assert!(
                        !is_missing,
                        "{} shows {channel} without {}, which landed",
                        tab.name, row.id
                    );
                }
            }
        }
    }
}

/// What was acked and must have landed: not declined, refused or dropped, and of its own, without a `once` id.
fn landed(log: &[Event]) -> HashSet<&str> {
    let mut calls: HashMap<(&str, u64), Vec<&str>> = HashMap::new();
    let mut acked: HashMap<&str, u64> = HashMap::new();
    let mut landed = HashSet::new();
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
            } => landed.extend(
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
                    landed.extend(call.into_iter().flatten());
                }
            }
            _ => {}
        }
    }
    landed
}
