//! What was published, and where in which journal it landed, as far as anybody saw.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

use super::At;
use crate::history::event::Event;
use crate::history::verdict::{Fault, Judgement};

/// One item.
#[derive(Debug)]
pub(super) struct Publication<'a> {
    /// Where the log says that it was sent.
    pub(super) line: usize,
    pub(super) publisher: &'a str,
    pub(super) sequence: u64,
    pub(super) channel: &'a str,
    pub(super) id: &'a str,
    pub(super) once: Option<&'a str>,
    /// The newest cursor that its publisher knew before.
    pub(super) known: Option<At<'a>>,
    /// Why it must never land, and the line that says so.
    pub(super) banned: Option<(usize, &'static str)>,
    /// Nobody knows whether it landed, or it is known that another one had under its `once` id.
    pub(super) is_exempt: bool,
    /// When it was acked, and the newest position then.
    pub(super) acked: Option<(usize, At<'a>)>,
}

/// A sign-out.
#[derive(Debug)]
struct SignOut<'a> {
    line: usize,
    user: &'a str,
    session: Option<&'a str>,
    until_ms: u64,
    at: At<'a>,
}

/// Everything that does not depend on who reads.
#[derive(Debug, Default)]
pub(super) struct Landings<'a> {
    /// In the order of the log, so that those of one publisher are in the order of its calls.
    pub(super) publications: Vec<Publication<'a>>,
    by_id: HashMap<&'a str, usize>,
    /// By publisher.
    calls: HashMap<&'a str, Vec<usize>>,
    /// How many of these are covered by acks.
    acked: HashMap<&'a str, usize>,
    /// Which publication stands where, and a line that shows it.
    journals: HashMap<&'a str, BTreeMap<u64, (usize, usize)>>,
    /// The same, of one channel.
    channels: HashMap<(&'a str, &'a str), BTreeMap<u64, usize>>,
    /// Where a publication stands in an epoch.
    places: HashMap<(usize, &'a str), u64>,
    /// How many carry each `once` id of a channel.
    onces: HashMap<(&'a str, &'a str), usize>,
    sign_outs: Vec<SignOut<'a>>,
    gone: HashSet<&'a str>,
}

impl<'a> Landings<'a> {
    pub(super) fn read(events: &'a [Event], judgement: &mut Judgement) -> Self {
        let mut landings = Self::default();
        for (line, event) in (1..).zip(events) {
            landings.note_call(event, line, judgement);
        }
        for (line, event) in (1..).zip(events) {
            landings.note_answer(event, line, judgement);
        }
        landings.judge_order(judgement);
        landings.judge_once(judgement);
        for publication in &landings.publications {
            judgement.counts.acked += u64::from(publication.acked.is_some());
        }
        landings
    }

    pub(super) fn by_id(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// What is known to stand on a channel from after `after` to `through`, with where.
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

    /// Where a publication stands in an epoch, if anybody saw it there.
    pub(super) fn position(&self, publication: usize, epoch: &str) -> Option<u64> {
        self.places.get(&(publication, epoch)).copied()
    }

    /// Whether another one carries its `once` id on its channel: which of them landed, nothing but a message says.
    pub(super) fn shares_id(&self, publication: usize) -> bool {
        let Publication { channel, once, .. } = &self.publications[publication];
        once.is_some_and(|once| self.onces.get(&(*channel, once)).is_some_and(|it| *it > 1))
    }

    /// What precedes and follows a publication among its publisher's.
    pub(super) fn neighbours(&self, publication: usize) -> (&[usize], &[usize]) {
        let calls = &self.calls[self.publications[publication].publisher];
        let at = calls.partition_point(|it| *it < publication);
        (&calls[..at], &calls[at + 1..])
    }

    /// The sign-out that forbids a token to hear what stands at a position.
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
            let number = self.publications.len();
            self.publications.push(Publication {
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
                *self.onces.entry((&item.channel, once)).or_default() += 1;
            }
            if self.by_id.insert(&item.id, number).is_some() {
                let what = format!("the log sends {} twice, and ids must differ", item.id);
                judgement.find(Fault::Phantom, [line], what);
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
                    self.publications[*publication].is_exempt |= *duplicate;
                }
                // Of what carries a `once` id it may name an earlier one.
                let last = call.last().filter(|_| !duplicate);
                if let Some(last) = last.filter(|it| self.publications[**it].once.is_none()) {
                    self.land(*last, At::of(cursor), line, judgement);
                }
            }
            Event::Message { cursor, id, .. } => {
                if let Some(publication) = self.by_id(id) {
                    self.land(publication, At::of(cursor), line, judgement);
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
                    self.publications[publication].is_exempt = true;
                }
            }
            Event::Gone { publisher } => {
                self.gone.insert(publisher);
            }
            Event::Settled => self.judge_answers(line, judgement),
            _ => {}
        }
    }

    fn of_call(&self, publisher: &str, sequence: u64) -> Vec<usize> {
        let calls = self.calls.get(publisher).map_or(&[][..], Vec::as_slice);
        let from = calls.partition_point(|it| self.publications[*it].sequence < sequence);
        let to = calls.partition_point(|it| self.publications[*it].sequence <= sequence);
        calls[from..to].to_vec()
    }

    fn ban(&mut self, publisher: &str, sequence: u64, ban: (usize, &'static str)) {
        for publication in self.of_call(publisher, sequence) {
            self.publications[publication].banned = Some(ban);
        }
    }

    fn ack(&mut self, publisher: &'a str, through: u64, ack: (usize, At<'a>)) {
        let calls = self.calls.get(publisher).map_or(&[][..], Vec::as_slice);
        let to = calls.partition_point(|it| self.publications[*it].sequence <= through);
        let from = self.acked.insert(publisher, to).unwrap_or(0);
        let newly = calls[from.min(to)..to].to_vec();
        for publication in newly {
            self.ack_one(publication, ack);
        }
    }

    fn ack_one(&mut self, publication: usize, ack: (usize, At<'a>)) {
        let publication = &mut self.publications[publication];
        if publication.acked.is_none() && publication.banned.is_none() {
            publication.acked = Some(ack);
        }
    }

    fn land(&mut self, number: usize, at: At<'a>, line: usize, judgement: &mut Judgement) {
        let publication = &self.publications[number];
        let journal = self.journals.entry(at.epoch).or_default();
        let (first, seen) = *journal.entry(at.position).or_insert((number, line));
        if first != number {
            let what = format!(
                "position {} of epoch {} is both {} and {}",
                at.position, at.epoch, self.publications[first].id, publication.id
            );
            return judgement.find(Fault::Doubled, [seen, line], what);
        }
        let channel = self.channels.entry((at.epoch, publication.channel));
        channel.or_default().insert(at.position, number);
        let place = *self.places.entry((number, at.epoch)).or_insert(at.position);
        if place != at.position {
            let what = format!(
                "{} stands at {place} and at {} of epoch {}",
                publication.id, at.position, at.epoch
            );
            judgement.find(Fault::Doubled, [publication.line, line], what);
        }
    }

    /// Accepted means answered in the end.
    fn judge_answers(&self, line: usize, judgement: &mut Judgement) {
        for publication in &self.publications {
            if publication.acked.is_none()
                && publication.banned.is_none()
                && !publication.is_exempt
                && !self.gone.contains(publication.publisher)
            {
                let what = format!("{} was accepted and never answered", publication.id);
                judgement.find(Fault::Unfinished, [publication.line, line], what);
            }
        }
    }

    /// In each epoch the publications of one publisher stand in the order of its calls.
    fn judge_order(&self, judgement: &mut Judgement) {
        for (epoch, journal) in &self.journals {
            let mut newest = HashMap::<&str, usize>::new();
            for (position, (number, line)) in journal {
                let publication = &self.publications[*number];
                let before = newest.entry(publication.publisher).or_insert(*number);
                if *before > *number {
                    let what = format!(
                        "{} stands before {} of the same publisher, at {position} of epoch {epoch}",
                        self.publications[*before].id, publication.id
                    );
                    judgement.find(Fault::Reordered, [publication.line, *line], what);
                }
                *before = (*before).max(*number);
            }
        }
    }

    /// Of all that carry one id on one channel, one lands in an epoch.
    fn judge_once(&self, judgement: &mut Judgement) {
        for (epoch, journal) in &self.journals {
            let mut landed = HashMap::<(&str, &str), usize>::new();
            for (number, line) in journal.values() {
                let publication = &self.publications[*number];
                let Some(once) = publication.once else {
                    continue;
                };
                let first = *landed.entry((publication.channel, once)).or_insert(*number);
                if first != *number {
                    let first = &self.publications[first];
                    let what = format!(
                        "{} and {} landed under the one id {once} in epoch {epoch}",
                        first.id, publication.id
                    );
                    judgement.find(Fault::Doubled, [first.line, publication.line, *line], what);
                }
            }
        }
    }
}
