//! Acked publications that a page never received. If no message shows the position of one, the log gives bounds for it: the
//! neighbouring calls of its publisher and its ack.

use super::page::Page;
use super::publications::Publications;
use crate::history::verdict::{Fault, Judgement};

/// Reports acked publications that the page should have received and did not.
pub(super) fn judge<'a>(
    page: &Page<'a>,
    publications: &Publications<'a>,
    judgement: &mut Judgement,
) {
    for (number, publication) in publications.all.iter().enumerate() {
        let Some((acked, ack)) = publication.acked else {
            continue;
        };
        if page.received.contains_key(&number)
            || publication.is_exempt
            || publications.shares_id(number)
            || publications.position(number, ack.epoch).is_some()
                && page.fetched(publication.channel).is_none()
        {
            continue;
        }
        let lines = [publication.line, acked];
        if is_expected(page, number, ack.epoch, publications) {
            let what = format!(
                "{} was acked, and page {} did not receive it on {}",
                publication.id, page.name, publication.channel
            );
            judgement.find(Fault::Lost, lines, what);
        } else if page.subscribed_at_end.contains(&publication.channel)
            && page
                .fetched(publication.channel)
                .is_some_and(|fetched| fetched < publication.line)
        {
            let what = format!(
                "page {} shows a state of {} older than {}, and did not receive that",
                page.name, publication.channel, publication.id
            );
            judgement.find(Fault::Lost, lines, what);
        }
    }
}

/// Returns true if no page received the publication and the page's ranges cover every position that it can have.
fn is_expected(
    page: &Page<'_>,
    number: usize,
    epoch: &str,
    publications: &Publications<'_>,
) -> bool {
    let publication = &publications.all[number];
    if publications.position(number, epoch).is_some() {
        return false;
    }
    let (before, behind) = publications.neighbours(number);
    let position = |number: &usize| publications.position(*number, epoch);
    let known = publication.known.filter(|known| known.epoch == epoch);
    let above = before.iter().rev().find_map(position);
    let above = above.max(known.map(|known| known.position)).unwrap_or(0);
    let acked = publication.acked.map(|(_, ack)| ack.position);
    let below = behind.iter().find_map(position).map(|it| it - 1);
    let Some(through) = [acked, below].into_iter().flatten().min() else {
        return false;
    };
    let mut expected: Vec<(u64, u64)> = page
        .expected
        .iter()
        .filter(|((channel, of), _)| *channel == publication.channel && *of == epoch)
        .flat_map(|(_, expected)| expected.iter().copied())
        .collect();
    expected.sort_unstable();
    // Joins adjacent ranges.
    let mut joined: Option<(u64, u64)> = None;
    for (from, to) in expected {
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
