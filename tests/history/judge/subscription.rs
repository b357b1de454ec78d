//! One channel on one connection: from `subscribed` to its end, or to the next reply that starts it again.

use std::collections::BTreeMap;

use super::{At, Line};
use crate::history::verdict::Fault;

/// Subscription of one page. It must deliver every publication in the `known` range; `missing` are those not yet received.
#[derive(Debug)]
pub(super) struct Subscription<'a> {
    pub(super) epoch: &'a str,
    pub(super) channel: &'a str,
    /// Line of the reply that started it.
    pub(super) line: usize,
    /// First (exclusive) and last position of the range. None until a reply gives the start.
    pub(super) known: Option<(u64, u64)>,
    /// Position of the last message.
    last_message: Option<u64>,
    /// True until the `caught_up` of a `subscribe`.
    pub(super) is_replaying: bool,
    /// Publications that should have arrived, by position: number, line at which they were missed, kind of finding.
    missing: BTreeMap<u64, (usize, usize, Fault)>,
}

impl<'a> Subscription<'a> {
    pub(super) fn new(epoch: &'a str, channel: &'a str, line: usize, after: Option<u64>) -> Self {
        Self {
            epoch,
            channel,
            line,
            known: after.map(|after| (after, after)),
            last_message: None,
            is_replaying: false,
            missing: BTreeMap::new(),
        }
    }

    /// Notes the publications before `position` that have not arrived.
    fn note_missing(&mut self, position: u64, fault: Fault, line: &Line<'_, 'a>) {
        let Some((_, through)) = self.known else {
            return;
        };
        let before = position.saturating_sub(1);
        for (position, publication) in
            line.publications
                .between(self.epoch, self.channel, through, before)
        {
            self.missing
                .insert(position, (publication, line.number, fault));
        }
    }

    /// Extends the range up to `position`.
    pub(super) fn reach(&mut self, position: u64, fault: Fault, line: &Line<'_, 'a>) {
        self.note_missing(position.saturating_add(1), fault, line);
        match &mut self.known {
            None => self.known = Some((position, position)),
            Some((_, through)) => *through = position.max(*through),
        }
    }

    /// Notes a message. Returns the finding if its position is wrong.
    pub(super) fn receive(
        &mut self,
        position: u64,
        fault: Fault,
        line: &Line<'_, 'a>,
    ) -> Option<Fault> {
        if self.missing.remove(&position).is_some() {
            return Some(Fault::Reordered);
        }
        if self.known.is_some_and(|(_, through)| position <= through) {
            return Some(Fault::Repeated);
        }
        self.note_missing(position, fault, line);
        self.last_message = Some(position);
        let from = self.known.map_or(position, |(from, _)| from);
        self.known = Some((from, position));
        None
    }

    /// Ends the range at the last message, because the page received an `unsubscribed` for its ended grant.
    pub(super) fn end_at_last_message(&mut self) {
        if let Some((from, through)) = &mut self.known {
            let last_message = self.last_message.unwrap_or(*from);
            *through = last_message.max(*from);
            self.missing.retain(|position, _| *position < last_message);
        }
    }

    /// Reports the missing publications.
    pub(super) fn end(&mut self, page: &str, line: &mut Line<'_, 'a>) {
        for (position, (publication, noticed, fault)) in std::mem::take(&mut self.missing) {
            let publication = &line.publications.all[publication];
            let what = format!(
                "page {page} did not receive {} on {}, at position {position} of epoch {}",
                publication.id, self.channel, self.epoch
            );
            line.judgement
                .find(fault, [publication.line, self.line, noticed], what);
        }
    }

    /// Returns the last position of the range.
    pub(super) fn through(&self) -> Option<At<'a>> {
        let (_, position) = self.known?;
        Some(At {
            epoch: self.epoch,
            position,
        })
    }
}
