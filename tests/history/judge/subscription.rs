//! One channel on one connection, from its subscription to its end, or to the next answer that begins it anew.

use std::collections::BTreeMap;

use super::{At, Line};
use crate::history::verdict::Fault;

/// What is owed is everything between `from` and `through`, and the page has it but for what is `missing`.
#[derive(Debug)]
pub(super) struct Stint<'a> {
    pub(super) epoch: &'a str,
    pub(super) channel: &'a str,
    /// The line of the answer that began it.
    pub(super) line: usize,
    /// Both are unknown until something says where it began.
    pub(super) known: Option<(u64, u64)>,
    /// Where its last message stands.
    heard: Option<u64>,
    /// The replay of a `subscribe` is coming.
    pub(super) is_replaying: bool,
    /// What should have come, and may still: where it was noticed, and what its absence is.
    missing: BTreeMap<u64, (usize, usize, Fault)>,
}

impl<'a> Stint<'a> {
    pub(super) fn new(epoch: &'a str, channel: &'a str, line: usize, after: Option<u64>) -> Self {
        Self {
            epoch,
            channel,
            line,
            known: after.map(|after| (after, after)),
            heard: None,
            is_replaying: false,
            missing: BTreeMap::new(),
        }
    }

    /// Everything before `position` should have come.
    fn note_missing(&mut self, position: u64, fault: Fault, line: &Line<'_, 'a>) {
        let Some((_, through)) = self.known else {
            return;
        };
        let before = position.saturating_sub(1);
        for (position, publication) in
            line.landings
                .between(self.epoch, self.channel, through, before)
        {
            self.missing
                .insert(position, (publication, line.number, fault));
        }
    }

    /// The connection has come to `position`.
    pub(super) fn reach(&mut self, position: u64, fault: Fault, line: &Line<'_, 'a>) {
        self.note_missing(position.saturating_add(1), fault, line);
        match &mut self.known {
            None => self.known = Some((position, position)),
            Some((_, through)) => *through = position.max(*through),
        }
    }

    /// A message of this channel; what is wrong with its place.
    pub(super) fn take(
        &mut self,
        position: u64,
        fault: Fault,
        line: &Line<'_, 'a>,
    ) -> Option<Fault> {
        if self.missing.remove(&position).is_some() {
            return Some(Fault::Reordered);
        }
        if self.known.is_some_and(|(_, through)| position <= through) {
            return Some(Fault::Doubled);
        }
        self.note_missing(position, fault, line);
        self.heard = Some(position);
        let from = self.known.map_or(position, |(from, _)| from);
        self.known = Some((from, position));
        None
    }

    /// What was not sent by now never will be, and the page was told: it has everything through its last message.
    pub(super) fn forgive(&mut self) {
        if let Some((from, through)) = &mut self.known {
            let heard = self.heard.unwrap_or(*from);
            *through = heard.max(*from);
            self.missing.retain(|position, _| *position < heard);
        }
    }

    /// What never came.
    pub(super) fn end(&mut self, page: &str, line: &mut Line<'_, 'a>) {
        for (position, (publication, noticed, fault)) in std::mem::take(&mut self.missing) {
            let publication = &line.landings.publications[publication];
            let what = format!(
                "page {page} missed {} on {}, at {position} of epoch {}",
                publication.id, self.channel, self.epoch
            );
            line.judgement
                .find(fault, [publication.line, self.line, noticed], what);
        }
    }

    /// Everything up to here the page has.
    pub(super) fn through(&self) -> Option<At<'a>> {
        let (_, position) = self.known?;
        Some(At {
            epoch: self.epoch,
            position,
        })
    }
}
