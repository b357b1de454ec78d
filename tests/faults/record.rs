//! The log of one run, for the history checker: everybody writes into it, and at the end it is judged.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use lineside_tests::history::{Counts, judge};
use serde_json::Value;

pub(crate) use lineside_tests::history::Event;

/// Findings of one run that are shown; there is rarely a second cause.
const FINDINGS_SHOWN_MAX: usize = 10;

/// Cheap to clone; all clones are one log.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<Event>>>);

impl Record {
    /// Begins the ids of publications that a test waits for.
    pub(crate) const MARK: &str = "mark.";

    pub(crate) fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    /// What the sidecar said to a page.
    pub(crate) fn heard(&self, browser: &str, envelope: &Value) {
        let browser = browser.to_owned();
        let text = |name: &str| envelope[name].as_str().expect(name).to_owned();
        let texts = |name: &str| {
            envelope[name].as_array().map(|all| {
                all.iter()
                    .map(|it| it.as_str().unwrap().to_owned())
                    .collect()
            })
        };
        let event = match envelope["type"].as_str().expect("a type") {
            "welcome" => Event::Welcome {
                browser,
                channels: texts("channels").expect("channels"),
                cursor: text("cursor"),
                recovered: envelope["recovered"].as_bool(),
                lost: texts("lost"),
            },
            "message" => Event::Message {
                browser,
                channel: text("channel"),
                cursor: text("cursor"),
                id: envelope["data"]["id"].as_str().expect("an id").to_owned(),
                resent: envelope["resent"] == true,
            },
            "caught_up" => Event::CaughtUp {
                browser,
                cursor: text("cursor"),
                channel: envelope["channel"].as_str().map(ToOwned::to_owned),
            },
            "ping" => Event::Ping {
                browser,
                cursor: text("cursor"),
            },
            // Says nothing of what was or will be delivered; the end itself is noted by who notices it.
            _ => return,
        };
        self.push(event);
    }

    /// Publications to these channels that this page has never heard, without the checker's help: of those that were accepted
    /// by publishers that are still there.
    pub(crate) fn unheard(&self, page: &str, channels: &[String]) -> u64 {
        let events = self.0.lock().unwrap();
        let mut heard = HashSet::new();
        let mut void = HashSet::new();
        let mut gone = HashSet::new();
        for event in events.iter() {
            match event {
                Event::Message { browser, id, .. } if browser == page => drop(heard.insert(id)),
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
                    void.insert((publisher, sequence));
                }
                Event::Receipt {
                    publisher,
                    sequence,
                    duplicate: true,
                    ..
                } => {
                    void.insert((publisher, sequence));
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
                    && !void.contains(&(publisher, sequence))
                    && items
                        .iter()
                        .any(|it| channels.contains(&it.channel) && !heard.contains(&it.id))
            }
            _ => false,
        });
        u64::try_from(missing.count()).unwrap()
    }

    /// Nothing more will happen: says what was counted.
    ///
    /// # Panics
    /// When a promise was broken, with the lines that show it; the whole log is kept in a file.
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
            "{} promises were broken; the log is {}\n{shown}",
            judgement.findings.len(),
            path.display()
        );
    }
}
