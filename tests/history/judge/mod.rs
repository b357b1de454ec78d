//! Checks a log in two passes: positions of the publications, then the events of each page.

mod page;
mod publications;
mod subscription;
mod undelivered;

use std::collections::BTreeMap;

use super::event::Event;
use super::verdict::{Fault, Judgement};
use page::Page;
use publications::Publications;

/// Parsed cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct At<'a> {
    epoch: &'a str,
    position: u64,
}

impl<'a> At<'a> {
    /// Parses a cursor. Returns None for any other text, including `unknown`.
    fn read(cursor: &'a str) -> Option<Self> {
        let (epoch, position) = cursor.split_once('.')?;
        let position = position.parse().ok()?;
        Some(Self { epoch, position })
    }

    /// Returns the later of both cursors; if the epochs differ, `other`.
    fn later(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.epoch == self.epoch => self.max(other),
            other => other.unwrap_or(self),
        }
    }

    /// Parses a cursor of the log. An invalid one becomes position 0 of an epoch of that text.
    fn of(cursor: &'a str) -> Self {
        Self::read(cursor).unwrap_or(Self {
            epoch: cursor,
            position: 0,
        })
    }
}

/// Current line of the log, with the state that it is checked against.
struct Line<'j, 'a> {
    number: usize,
    publications: &'j Publications<'a>,
    judgement: &'j mut Judgement,
}

impl Line<'_, '_> {
    /// Records a broken promise that this line and `others` prove.
    fn find<const N: usize>(&mut self, fault: Fault, others: [usize; N], what: String) {
        let mut lines = others.to_vec();
        lines.push(self.number);
        self.judgement.find(fault, lines, what);
    }
}

/// Checks a log against the promises listed in the [module](super).
#[must_use]
pub fn judge(events: &[Event]) -> Judgement {
    let mut judgement = Judgement::default();
    let publications = Publications::read(events, &mut judgement);
    let mut pages = BTreeMap::<&str, Page<'_>>::new();
    for (number, event) in (1..).zip(events) {
        let mut line = Line {
            number,
            publications: &publications,
            judgement: &mut judgement,
        };
        if let Event::Settled = event {
            for page in pages.values_mut() {
                page.settle(&mut line);
            }
        } else if let Some(browser) = browser(event) {
            let page = pages.entry(browser).or_insert_with(|| Page::new(browser));
            page.note(event, &mut line);
        }
    }
    for page in pages.values() {
        undelivered::judge(page, &publications, &mut judgement);
    }
    judgement
}

/// Returns the page that wrote the line, if a page did.
fn browser(event: &Event) -> Option<&str> {
    match event {
        Event::Fetched { browser, .. }
        | Event::Connect { browser, .. }
        | Event::Granted { browser, .. }
        | Event::Welcome { browser, .. }
        | Event::Subscribe { browser, .. }
        | Event::Subscribed { browser, .. }
        | Event::Forbidden { browser, .. }
        | Event::Message { browser, .. }
        | Event::CaughtUp { browser, .. }
        | Event::Unsubscribed { browser, .. }
        | Event::Refreshed { browser, .. }
        | Event::Lost { browser, .. }
        | Event::Ping { browser, .. }
        | Event::Closed { browser } => Some(browser),
        Event::Sent { .. }
        | Event::Declined { .. }
        | Event::Acked { .. }
        | Event::Receipt { .. }
        | Event::Refused { .. }
        | Event::Dropped { .. }
        | Event::GivenUp { .. }
        | Event::Gone { .. }
        | Event::SignedOut { .. }
        | Event::Settled => None,
    }
}
