//! Publications of a log, with the journal positions that receipts and messages show.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use super::At;
use crate::history::event::Event;
use crate::history::verdict::{Fault, Judgement};

/// One published item.
#[derive(Debug)]
pub(super) struct Publication<'a> {
    /// Line of its `sent`.
    pub(super) line: usize,
    pub(super) publisher: &'a str,
    pub(super) sequence: u64,
    pub(super) channel: &'a str,
    pub(super) id: &'a str,
    pub(super) once: Option<&'a str>,
    /// Newest cursor that its publisher knew before the call.
    pub(super) known: Option<At<'a>>,
    /// Line and reason why it must never be delivered.
    pub(super) banned: Option<(usize, &'static str)>,
    /// True if it may be missing: its publisher gave up, or its `once` id was a duplicate.
    pub(super) is_exempt: bool,
    /// Line of its ack, and the newest position at that time.
    pub(super) acked: Option<(usize, At<'a>)>,
}

/// Sign-out in the journal.
#[derive(Debug)]
struct SignOut<'a> {
    line: usize,
    user: &'a str,
    session: Option<&'a str>,
    until_ms: u64,
    at: At<'a>,
}

/// State that is independent of the pages.
#[derive(Debug, Default)]
pub(super) struct Publications<'a> {
    /// All publications in the order of the log, which keeps the order of each publisher's calls.
    pub(super) all: Vec<Publication<'a>>,
    by_id: HashMap<&'a str, usize>,
    /// Publications by publisher.
    calls: HashMap<&'a str, Vec<usize>>,
    /// Number of acked publications by publisher.
    acked: HashMap<&'a str, usize>,
    /// Publication and proving line by epoch and position.
    journals: HashMap<&'a str, BTreeMap<u64, (usize, usize)>>,
    /// Publication by epoch and channel, then position.
    channels: HashMap<(&'a str, &'a str), BTreeMap<u64, usize>>,
    /// Position by publication and epoch.
    positions: HashMap<(usize, &'a str), u64>,
    /// Number of publications by channel and `once` id.
    once_counts: HashMap<(&'a str, &'a str), usize>,
    sign_outs: Vec<SignOut<'a>>,
    gone: HashSet<&'a str>,
}

impl<'a> Publications<'a> {
    pub(super) fn read(events: &'a [Event], judgement: &mut Judgement) -> Self {
        let mut publications = Self::default();
        for (line, event) in (1..).zip(events) {
            publications.note_call(event, line, judgement);
        }
        for (line, event) in (1..).zip(events) {
            publications.note_answer(event, line, judgement);
        }
        publications.check_order(judgement);
        publications.check_once(judgement);
        for publication in &publications.all {
            judgement.counts.acked += u64::from(publication.acked.is_some());
        }
        publications
    }

    pub(super) fn by_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Returns the known publications of a channel after `after` and up to `through`, with their positions.
    pub(super) fn between(
        &self,
        epoch: &'a str,
        channel: &'a str,
        after: u64,
        through: u64,
    ) -> impl Iterator<Item = (u64, usize)> {
        let range = (Bound::Excluded(after), Bound::Included(through));
        let landed = self.channels.get(&(epoch, channel));
        landed
            .filter(|_| after < through)
            .into_iter()
            .flat_map(move |landed| landed.range(range))
            .map(|(position, publication)| (*position, *publication))
    }

    /// Returns the position of a publication in an epoch, if the log shows it.
    pub(super) fn position(&self, publication: usize, epoch: &str) -> Option<u64> {
        self.positions.get(&(publication, epoch)).copied()
    }

    /// Returns true if another publication has the same `once` id: the log shows only by a message which one is in the journal.
    pub(super) fn shares_id(&self, publication: usize) -> bool {
        let Publication { channel, once, .. } = &self.all[publication];
        once.is_some_and(|once| {
            self.once_counts
                .get(&(*channel, once))
                .is_some_and(|it| *it > 1)
        })
    }

    /// Returns the earlier and later publications of the same publisher.
    pub(super) fn neighbours(&self, publication: usize) -> (&[usize], &[usize]) {
        let calls = &self.calls[self.all[publication].publisher];
        let at = calls.partition_point(|it| *it < publication);
        (&calls[..at], &calls[at + 1..])
    }

    /// Returns the line of the sign-out that revokes a token before a position.
    pub(super) fn sign_out(
        &self,
        user: &str,
        session: Option<&str>,
        issued_ms: u64,
        at: At<'_>,
    ) -> Option<usize> {
        let forbids = |it: &&SignOut<'_>| {
            it.user == user
                && it.session.is_none_or(|of| session == Some(of))
                && issued_ms <= it.until_ms
                && it.at.epoch == at.epoch
                && it.at.position < at.position
        };
        self.sign_outs.iter().find(forbids).map(|it| it.line)
    }

    fn note_call(&mut self, event: &'a Event, line: usize, judgement: &mut Judgement) {
        let Event::Sent {
            publisher,
            sequence,
            items,
            once,
            known,
        } = event
        else {
            return;
        };
        for item in items {
            let number = self.all.len();
            self.all.push(Publication {
                line,
                publisher,
                sequence: *sequence,
                channel: &item.channel,
                id: &item.id,
                once: once.as_deref(),
                known: known.as_deref().and_then(At::read),
                banned: None,
                is_exempt: false,
                acked: None,
            });
            if let Some(once) = once {
                *self.once_counts.entry((&item.channel, once)).or_default() += 1;
            }
            if self.by_id.insert(&item.id, number).is_some() {
                let what = format!("the log has two publications with id {}", item.id);
                judgement.find(Fault::NotPublished, [line], what);
            }
            self.calls.entry(publisher).or_default().push(number);
            judgement.counts.sent += 1;
        }
    }

    fn note_answer(&mut self, event: &'a Event, line: usize, judgement: &mut Judgement) {
        match event {
            Event::Declined {
                publisher,
                sequence,
            } => self.ban(publisher, *sequence, (line, "declined")),
            Event::Refused {
                publisher,
                sequence,
            } => self.ban(publisher, *sequence, (line, "refused")),
            Event::Dropped {
                publisher,
                sequence,
            } => self.ban(publisher, *sequence, (line, "dropped")),
            Event::Acked {
                publisher,
                through,
                cursor,
            } => self.ack(publisher, *through, (line, At::of(cursor))),
            Event::Receipt {
                publisher,
                sequence,
                cursor,
                duplicate,
            } => {
                let call = self.of_call(publisher, *sequence);
                for publication in &call {
                    self.ack_one(*publication, (line, At::of(cursor)));
                    self.all[*publication].is_exempt |= *duplicate;
                }
                // The receipt for a `once` id may have the cursor of an earlier call.
                let last = call.last().filter(|_| !duplicate);
                if let Some(last) = last.filter(|it| self.all[**it].once.is_none()) {
                    self.append(*last, At::of(cursor), line, judgement);
                }
            }
            Event::Message { cursor, id, .. } => {
                if let Some(publication) = self.by_id(id) {
                    self.append(publication, At::of(cursor), line, judgement);
                }
            }
            Event::SignedOut {
                user,
                session,
                until_ms,
                cursor,
            } => self.sign_outs.push(SignOut {
                line,
                user,
                session: session.as_deref(),
                until_ms: *until_ms,
                at: At::of(cursor),
            }),
            Event::GivenUp {
                publisher,
                sequence,
            } => {
                for publication in self.of_call(publisher, *sequence) {
                    self.all[publication].is_exempt = true;
                }
            }
            Event::Gone { publisher } => {
                self.gone.insert(publisher);
            }
            Event::Settled => self.check_answers(line, judgement),
            _ => {}
        }
    }

    fn of_call(&self, publisher: &str, sequence: u64) -> Vec<usize> {
        let calls = self.calls.get(publisher).map_or(&[][..], Vec::as_slice);
        let from = calls.partition_point(|it| self.all[*it].sequence < sequence);
        let to = calls.partition_point(|it| self.all[*it].sequence <= sequence);
        calls[from..to].to_vec()
    }

    fn ban(&mut self, publisher: &str, sequence: u64, ban: (usize, &'static str)) {
        for publication in self.of_call(publisher, sequence) {
            self.all[publication].banned = Some(ban);
        }
    }

    fn ack(&mut self, publisher: &'a str, through: u64, ack: (usize, At<'a>)) {
        let calls = self.calls.get(publisher).map_or(&[][..], Vec::as_slice);
        let to = calls.partition_point(|it| self.all[*it].sequence <= through);
        let from = self.acked.insert(publisher, to).unwrap_or(0);
        let newly = calls[from.min(to)..to].to_vec();
        for publication in newly {
            self.ack_one(publication, ack);
        }
    }

    fn ack_one(&mut self, publication: usize, ack: (usize, At<'a>)) {
        let publication = &mut self.all[publication];
        if publication.acked.is_none() && publication.banned.is_none() {
            publication.acked = Some(ack);
        }
    }

    fn append(&mut self, number: usize, at: At<'a>, line: usize, judgement: &mut Judgement) {
        let publication = &self.all[number];
        let journal = self.journals.entry(at.epoch).or_default();
        let (first, seen) = *journal.entry(at.position).or_insert((number, line));
        if first != number {
            let what = format!(
                "position {} of epoch {} holds both {} and {}",
                at.position, at.epoch, self.all[first].id, publication.id
            );
            return judgement.find(Fault::Repeated, [seen, line], what);
        }
        let channel = self.channels.entry((at.epoch, publication.channel));
        channel.or_default().insert(at.position, number);
        let position = *self
            .positions
            .entry((number, at.epoch))
            .or_insert(at.position);
        if position != at.position {
            let what = format!(
                "{} is at positions {position} and {} of epoch {}",
                publication.id, at.position, at.epoch
            );
            judgement.find(Fault::Repeated, [publication.line, line], what);
        }
    }

    /// Reports accepted calls without an answer.
    fn check_answers(&self, line: usize, judgement: &mut Judgement) {
        for publication in &self.all {
            if publication.acked.is_none()
                && publication.banned.is_none()
                && !publication.is_exempt
                && !self.gone.contains(publication.publisher)
            {
                let what = format!("{} was accepted and got no answer", publication.id);
                judgement.find(Fault::Unfinished, [publication.line, line], what);
            }
        }
    }

    /// Reports publications of one publisher that are not in the order of its calls.
    fn check_order(&self, judgement: &mut Judgement) {
        for (epoch, journal) in &self.journals {
            let mut newest = HashMap::<&str, usize>::new();
            for (position, (number, line)) in journal {
                let publication = &self.all[*number];
                let before = newest.entry(publication.publisher).or_insert(*number);
                if *before > *number {
                    let what = format!(
                        "{} is before {} of the same publisher, at position {position} of epoch {epoch}",
                        self.all[*before].id, publication.id
                    );
                    judgement.find(Fault::Reordered, [publication.line, *line], what);
                }
                *before = (*before).max(*number);
            }
        }
    }

    /// Reports two publications with the same `once` id and channel in one epoch.
    fn check_once(&self, judgement: &mut Judgement) {
        for (epoch, journal) in &self.journals {
            let mut landed = HashMap::<(&str, &str), usize>::new();
            for (number, line) in journal.values() {
                let publication = &self.all[*number];
                let Some(once) = publication.once else {
                    continue;
                };
                let first = *landed.entry((publication.channel, once)).or_insert(*number);
                if first != *number {
                    let first = &self.all[first];
                    let what = format!(
                        "{} and {} with the once id {once} are both in epoch {epoch}",
                        first.id, publication.id
                    );
                    judgement.find(Fault::Repeated, [first.line, publication.line, *line], what);
                }
            }
        }
    }
}
