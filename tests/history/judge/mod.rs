//! Reads a log twice: what landed where, then what each page heard of it.

mod landings;
mod page;
mod stint;
mod unseen;

use std::collections::BTreeMap;

use super::event::Event;
use super::verdict::{Fault, Judgement};
use landings::Landings;
use page::Page;

/// A cursor, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct At<'a> {
    epoch: &'a str,
    position: u64,
}

impl<'a> At<'a> {
    /// None for whatever is no cursor, `unknown` among it.
    fn read(cursor: &'a str) -> Option<Self> {
        let (epoch, position) = cursor.split_once('.')?;
        let position = position.parse().ok()?;
        Some(Self { epoch, position })
    }

    /// The one that stands further; of two epochs the other, which came later.
    fn later(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.epoch == self.epoch => self.max(other),
            other => other.unwrap_or(self),
        }
    }

    /// The same, of a log that lies.
    fn of(cursor: &'a str) -> Self {
        Self::read(cursor).unwrap_or(Self {
            epoch: cursor,
            position: 0,
        })
    }
}

/// The line that is being read, and all that it is judged with.
struct Line<'j, 'a> {
    number: usize,
    landings: &'j Landings<'a>,
    judgement: &'j mut Judgement,
}

impl Line<'_, '_> {
    /// A broken promise that this line shows, with others.
    fn find<const N: usize>(&mut self, fault: Fault, others: [usize; N], what: String) {
        let mut lines = others.to_vec();
        lines.push(self.number);
        self.judgement.find(fault, lines, what);
    }
}

/// Judges a log. What it looks for stands in the [module](super)'s documentation.
#[must_use]
pub fn judge(events: &[Event]) -> Judgement {
    let mut judgement = Judgement::default();
    let landings = Landings::read(events, &mut judgement);
    let mut pages = BTreeMap::<&str, Page<'_>>::new();
    for (number, event) in (1..).zip(events) {
        let mut line = Line {
            number,
            landings: &landings,
            judgement: &mut judgement,
        };
        if let Event::Settled = event {
            for page in pages.values_mut() {
                page.settle(&mut line);
            }
        } else if let Some(browser) = browser(event) {
            let page = pages.entry(browser).or_insert_with(|| Page::new(browser));
            page.hear(event, &mut line);
        }
    }
    for page in pages.values() {
        unseen::judge(page, &landings, &mut judgement);
    }
    judgement
}

/// Whose line it is, of those that pages write.
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
