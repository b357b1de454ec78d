//! Log of one run for the history checker.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use lineside_tests::history::{Counts, Item, judge};
use serde_json::Value;

pub(crate) use lineside_tests::history::Event;

/// Maximum number of findings in a failure message.
const FINDINGS_SHOWN_MAX: usize = 10;

/// Shared log. Clones write to the same log.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Event>>>);

impl Record {
    /// Prefix of the ids of markers.
    pub(crate) const MARKER: &str = "marker.";

    pub(crate) fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// Records an envelope that a page received.
    pub(crate) fn received(&self, browser: &str, envelope: &Value) {
        if let Some(event) = Event::from_envelope(browser, envelope) {
            self.push(event);
        }
    }

    /// Records a call of `publish` with one item.
    pub(crate) fn sent(&self, publisher: &str, sequence: u64, channel: &str, id: &str) {
        self.push(Event::Sent {
            publisher: publisher.into(),
            sequence,
            items: vec![Item {
                channel: channel.into(),
                id: id.into(),
            }],
            once: None,
            known: None,
        });
    }

    /// Records a receipt, which acks all earlier calls too.
    pub(crate) fn receipt(&self, publisher: &str, sequence: u64, cursor: &str, duplicate: bool) {
        self.push(Event::Receipt {
            publisher: publisher.into(),
            sequence,
            cursor: cursor.into(),
            duplicate,
        });
        self.push(Event::Acked {
            publisher: publisher.into(),
            through: sequence,
            cursor: cursor.into(),
        });
    }

    /// Counts the accepted publications to these channels that a page did not receive, without those of ended publishers.
    /// Independent of the checker.
    pub(crate) fn undelivered(&self, page: &str, channels: &[String]) -> u64 {
        let events = self.0.lock().unwrap();
        let mut received = HashSet::new();
        let mut not_published = HashSet::new();
        let mut gone = HashSet::new();
        for event in events.iter() {
            match event {
                Event::Message { browser, id, .. } if browser == page => drop(received.insert(id)),
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
                    not_published.insert((publisher, sequence));
                }
                Event::Receipt {
                    publisher,
                    sequence,
                    duplicate: true,
                    ..
                } => {
                    not_published.insert((publisher, sequence));
                }
                Event::Gone { publisher } => drop(gone.insert(publisher)),
                _ => {}
            }
        }
        let missing = events.iter().filter(|event| match event {
            Event::Sent {
                publisher,
                sequence,
                items,
                ..
            } => {
                !gone.contains(publisher)
                    && !not_published.contains(&(publisher, sequence))
                    && items
                        .iter()
                        .any(|it| channels.contains(&it.channel) && !received.contains(&it.id))
            }
            _ => false,
        });
        u64::try_from(missing.count()).unwrap()
    }

    /// Checks the log. Returns its counts.
    ///
    /// # Panics
    /// Panics if a promise was broken, with the findings and the path of the whole log.
    #[track_caller]
    pub(crate) fn judge(&self, what: &str) -> Counts {
        let mut events = std::mem::take(&mut *self.0.lock().unwrap());
        events.push(Event::Settled);
        let judgement = judge(&events);
        if judgement.findings.is_empty() {
            return judgement.counts;
        }
        let path =
            std::env::temp_dir().join(format!("lineside-{what}-{}.jsonl", std::process::id()));
        let file = std::fs::File::create(&path).unwrap();
        lineside_tests::history::write(&events, std::io::BufWriter::new(file)).unwrap();
        let mut shown = String::new();
        for finding in judgement.findings.iter().take(FINDINGS_SHOWN_MAX) {
            writeln!(shown, "{finding}").unwrap();
        }
        panic!(
            "{} findings; the log is {}\n{shown}",
            judgement.findings.len(),
            path.display()
        );
    }
}
