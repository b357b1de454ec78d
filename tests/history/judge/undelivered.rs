//! Publications that nobody, or not everybody, heard of: nothing says where in the journal they stand, so that it is
//! judged between which positions they must.

use super::landings::Landings;
use super::page::Page;
use crate::history::verdict::{Fault, Judgement};

/// Finds what was acked and never reached a page that was owed it.
pub(super) fn judge<'a>(page: &Page<'a>, landings: &Landings<'a>, judgement: &mut Judgement) {
    for (number, publication) in landings.publications.iter().enumerate() {
        let Some((acked, ack)) = publication.acked else {
            continue;
        };
        if page.received.contains_key(&number)
            || publication.is_exempt
            || landings.shares_id(number)
            || landings.position(number, ack.epoch).is_some()
                && page.fetched(publication.channel).is_none()
        {
            continue;
        }
        let lines = [publication.line, acked];
        if is_owed(page, number, ack.epoch, landings) {
            let what = format!(
                "{} was acked, and page {} never heard it on {}",
                publication.id, page.name, publication.channel
            );
            judgement.find(Fault::Lost, lines, what);
        } else if page.settled.contains(&publication.channel)
            && page
                .fetched(publication.channel)
                .is_some_and(|fetched| fetched < publication.line)
        {
            let what = format!(
                "page {} shows a state of {} from before {}, and never heard of that",
                page.name, publication.channel, publication.id
            );
            judgement.find(Fault::Lost, lines, what);
        }
    }
}

/// Whether the page was owed everything wherever the publication can stand, and nobody saw where it does.
fn is_owed(page: &Page<'_>, number: usize, epoch: &str, landings: &Landings<'_>) -> bool {
    let publication = &landings.publications[number];
    if landings.position(number, epoch).is_some() {
        return false;
    }
    let (before, behind) = landings.neighbours(number);
    let position = |number: &usize| landings.position(*number, epoch);
    let known = publication.known.filter(|known| known.epoch == epoch);
    let above = before.iter().rev().find_map(position);
    let above = above.max(known.map(|known| known.position)).unwrap_or(0);
    let acked = publication.acked.map(|(_, ack)| ack.position);
    let below = behind.iter().find_map(position).map(|it| it - 1);
    let Some(through) = [acked, below].into_iter().flatten().min() else {
        return false;
    };
    let mut owed: Vec<(u64, u64)> = page
        .owed
        .iter()
        .filter(|((channel, of), _)| *channel == publication.channel && *of == epoch)
        .flat_map(|(_, owed)| owed.iter().copied())
        .collect();
    owed.sort_unstable();
    // Ranges that touch are one.
    let mut joined: Option<(u64, u64)> = None;
    for (from, to) in owed {
        joined = match joined {
            Some((first, last)) if from <= last => Some((first, last.max(to))),
            _ => Some((from, to)),
        };
        if joined.is_some_and(|(from, to)| from <= above && through <= to) {
            return true;
        }
    }
    false
}
