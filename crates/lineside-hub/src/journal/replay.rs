//! Replays: publications that a resume needs, collected under the hub's lock and merged outside it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lineside_protocol::{After, Epoch, Position};

use super::history::{History, Run};
use super::{Journal, Publication};
use crate::memory::Memory;

/// Maximum number of pointers to chunks and publications that all unfinished replays hold together, beside
/// [`REPLAY_POINTERS_FREE`] each: 32 MiB. Beyond it a channel resumes as lost. A chunk that the journal evicts meanwhile stays
/// in memory with its publications, uncounted.
///
/// Each channel counts 30 pointers for its bookkeeping. A resume of 256 channels with full histories of 1,000 publications
/// counts at most 28,160.
pub const REPLAY_POINTERS_MAX: usize = 4 * 1024 * 1024;

/// Number of pointers that a replay may hold uncounted: 8 KiB per connection, or about 30 channels that missed little. So
/// connections with large replays that do not read cannot make the resumes of others lost, if these missed little.
const REPLAY_POINTERS_FREE: usize = 1024;

/// Size of a pointer, in bytes.
const POINTER_BYTES: usize = size_of::<usize>();

/// One channel of a resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Name of the channel.
    pub channel: Arc<str>,
    /// Cursor of the newest publication that the reader has. Without it nothing is replayed.
    pub after: Option<After>,
}

/// Result of a resume for one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No cursor was given. Publications after the seam follow.
    Fresh,
    /// Everything after the cursor follows, in order, once.
    Recovered,
    /// Publications are missing, so the reader must refetch. Publications after the seam follow.
    Lost,
}

/// Request of a shard for a replay.
#[derive(Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// The channels. No two have the same name.
    pub wants: Vec<Want>,
    /// The seam: the replay ends here, and live publications begin.
    pub through: Position,
}

/// The journal's answer to a [`ReplayRequest`].
#[derive(Debug)]
pub struct ReplayAnswer {
    /// One verdict per channel, in the order of the request.
    pub verdicts: Vec<Verdict>,
    /// Lowest cursor among the recovered channels.
    pub floor: Option<Position>,
    /// Missed publications of the recovered channels.
    pub replay: Replay,
}

/// Publications to replay, in journal order. They stay in memory until they are taken, even if the journal evicts them.
#[derive(Debug, Default)]
pub struct Replay {
    /// Runs with a publication left, the one with the lowest position on top.
    runs: BinaryHeap<Reverse<Ranked>>,
    left: usize,
    reservation: Option<Reservation>,
}

/// A run, ordered by its next position.
#[derive(Debug)]
struct Ranked {
    position: Position,
    run: Run,
}

/// Pointers that the replays of a journal hold.
#[derive(Clone, Debug)]
pub(super) struct PointerBudget {
    /// Number of counted pointers.
    taken: Arc<AtomicUsize>,
    /// Number of uncounted pointers per replay.
    free: usize,
    memory: Arc<Memory>,
}

/// Share of the budget that one replay holds.
#[derive(Debug)]
struct Reservation {
    budget: PointerBudget,
    pointers: usize,
}

impl PointerBudget {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        Self {
            taken: Arc::default(),
            free: REPLAY_POINTERS_FREE,
            memory: Arc::clone(memory),
        }
    }

    /// Maximum number of counted pointers: [`REPLAY_POINTERS_MAX`], or less under a low ceiling of memory.
    fn pointers_max(&self) -> usize {
        REPLAY_POINTERS_MAX.min(self.memory.replays_bytes_max() / POINTER_BYTES)
    }
}

impl Journal {
    /// Collects everything that each channel missed after its own cursor, up to and including `request.through`.
    ///
    /// A channel is lost if its cursor is unknown, of another epoch, ahead of the journal or older than an evicted
    /// publication of that channel, or if [`REPLAY_POINTERS_MAX`] is reached. A channel without history shares its
    /// evicted position with others, so it may be reported lost although nothing is missing, but never the opposite.
    ///
    /// Costs two binary searches per channel, and one pointer per 64 publications and per publication of the newest 63.
    #[must_use]
    pub fn replay(&self, request: &ReplayRequest) -> ReplayAnswer {
        let mut answer = ReplayAnswer {
            verdicts: Vec::with_capacity(request.wants.len()),
            floor: None,
            replay: Replay::default(),
        };
        for Want { channel, after } in &request.wants {
            let verdict = match after {
                None => Verdict::Fresh,
                Some(after) => self.recover(channel, after, request.through, &mut answer),
            };
            answer.verdicts.push(verdict);
        }
        answer
    }

    fn recover(
        &self,
        channel: &str,
        after: &After,
        through: Position,
        answer: &mut ReplayAnswer,
    ) -> Verdict {
        let history = self.histories.get(channel);
        let forgotten = history.map_or_else(|| self.forgotten.of(channel), History::forgotten);
        let assigned = position_in(after, &self.epoch).filter(|after| *after <= self.newest);
        let Some(after) = assigned.filter(|after| *after >= forgotten) else {
            return Verdict::Lost;
        };
        let run = history.and_then(|history| history.run(after, through));
        if let Some(run) = run
            && !answer.replay.add(run, &self.replay_budget)
        {
            return Verdict::Lost;
        }
        answer.floor = Some(answer.floor.map_or(after, |floor| floor.min(after)));
        Verdict::Recovered
    }
}

/// Position of a cursor, if it belongs to `epoch`.
pub(crate) fn position_in(after: &After, epoch: &Epoch) -> Option<Position> {
    match after {
        After::Cursor(cursor) if cursor.epoch == *epoch => Some(cursor.position),
        After::Cursor(_) | After::Unknown => None,
    }
}

impl Replay {
    /// Adds a run; false if that exceeds [`REPLAY_POINTERS_MAX`].
    fn add(&mut self, run: Run, budget: &PointerBudget) -> bool {
        let Some(head) = run.head() else {
            return true;
        };
        let reservation = self.reservation.get_or_insert_with(|| Reservation {
            budget: budget.clone(),
            pointers: 0,
        });
        if !reservation.grow(run.pointers) {
            return false;
        }
        self.left += run.len();
        self.runs.push(Reverse(Ranked {
            position: head.position,
            run,
        }));
        true
    }

    /// Number of publications left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Memory of the replay beside its publications, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let reservation = self.reservation.as_ref();
        reservation.map_or(0, |it| it.pointers * POINTER_BYTES)
    }

    /// Size of the publications left, in bytes, estimated from the mean of each channel.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(|it| it.0.run.bytes()).sum()
    }

    /// Whether no publication is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Takes the publication with the lowest position. Costs the logarithm of the number of channels.
    pub fn take_next(&mut self) -> Option<Arc<Publication>> {
        let publication = {
            let mut top = self.runs.peek_mut()?;
            let publication = Arc::clone(top.0.run.head()?);
            let is_more = top.0.run.advance();
            let next = top.0.run.head().map(|head| head.position);
            match next.filter(|_| is_more) {
                Some(position) => top.0.position = position,
                None => {
                    let Reverse(finished) = PeekMut::pop(top);
                    if let Some(reservation) = &mut self.reservation {
                        reservation.shrink(finished.run.pointers);
                    }
                }
            }
            publication
        };
        self.left -= 1;
        Some(publication)
    }

    /// Drops every publication of a channel.
    pub(crate) fn forget(&mut self, channel: &str) {
        self.runs.retain(|Reverse(ranked)| {
            let head = ranked.run.head();
            head.is_some_and(|head| *head.channel != *channel)
        });
        let runs = || self.runs.iter().map(|it| &it.0.run);
        self.left = runs().map(Run::len).sum();
        let pointers: usize = runs().map(|run| run.pointers).sum();
        if let Some(reservation) = &mut self.reservation {
            reservation.shrink(reservation.pointers - pointers);
        }
    }
}

impl Reservation {
    /// Adds pointers; false if that exceeds [`REPLAY_POINTERS_MAX`].
    fn grow(&mut self, pointers: usize) -> bool {
        let more = self.counted(self.pointers + pointers) - self.counted(self.pointers);
        let pointers_max = self.budget.pointers_max();
        let grown = |taken: usize| Some(taken + more).filter(|it| *it <= pointers_max);
        let has_room = more == 0
            || self
                .budget
                .taken
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
                .is_ok();
        if has_room {
            self.pointers += pointers;
        }
        has_room
    }

    fn shrink(&mut self, pointers: usize) {
        let less = self.counted(self.pointers) - self.counted(self.pointers - pointers);
        self.budget.taken.fetch_sub(less, Ordering::Relaxed);
        self.pointers -= pointers;
    }

    /// Part of so many pointers that counts against [`REPLAY_POINTERS_MAX`].
    fn counted(&self, pointers: usize) -> usize {
        pointers.saturating_sub(self.budget.free)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.pointers);
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position.cmp(&other.position)
    }
}

#[cfg(test)]
mod tests;
