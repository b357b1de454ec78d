//! Account of the memory of one process: pools with their sizes, the ceiling, and the stages in which memory is given up
//! near it.
//!
//! Code that holds memory of a pool adds and subtracts it. Code that can release memory asks whether it
//! [must](Memory::is_short). docs/decisions/0028-one-account-of-memory.md has the shares and the order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Share of the ceiling that all backlogs together may take, in percent.
const BACKLOGS_PERCENT: usize = 25;

/// Share of the ceiling that all unfinished messages together may take, in percent.
const MESSAGES_PERCENT: usize = 12;

/// Share of the ceiling that the history may take, in percent.
const HISTORY_PERCENT: usize = 50;

/// Share of the ceiling that the pools must hold before publishers wait, in percent. With less, a wait would release nothing.
const WAIT_PERCENT: usize = 5;

/// Memory that the process holds for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Publications in the journal.
    History,
    /// Publications, in the journal or evicted from it but not sent yet.
    Publications,
    /// Queues of connections beside the publications in them: pointers and frames.
    Queues,
    /// Unfinished messages of browsers.
    Messages,
    /// Memory of the process that no other pool counts.
    Other,
}

/// Number of pools.
const POOLS: usize = 5;

/// Stages in which memory is given up, in order. Each begins when the stages before it do not suffice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The oldest publications of the history are evicted.
    History,
    /// Slow connections with large backlogs are ended.
    Backlogs,
    /// Connections with large unfinished messages are ended.
    Messages,
    /// New connections are refused.
    Connections,
    /// Publishers are not read.
    Publishers,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 5] = [
        Self::History,
        Self::Backlogs,
        Self::Messages,
        Self::Connections,
        Self::Publishers,
    ];

    /// Name, for the log and the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Backlogs => "backlogs",
            Self::Messages => "messages",
            Self::Connections => "connections",
            Self::Publishers => "publishers",
        }
    }

    /// Use of the ceiling at which the stage begins, in percent.
    fn percent(self) -> usize {
        match self {
            Self::History => 80,
            Self::Backlogs => 85,
            Self::Messages => 88,
            Self::Connections => 91,
            Self::Publishers => 95,
        }
    }
}

/// Account of the memory of one process. Shared by all of its threads.
#[derive(Debug)]
pub struct Memory {
    bytes_max: AtomicUsize,
    pools: [AtomicUsize; POOLS],
    given_up: [AtomicU64; Stage::ALL.len()],
}

impl Default for Memory {
    /// An account without a ceiling.
    fn default() -> Self {
        Self {
            bytes_max: AtomicUsize::new(usize::MAX),
            pools: Default::default(),
            given_up: Default::default(),
        }
    }
}

impl Memory {
    /// Sets the ceiling, in bytes.
    pub fn limit(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Ceiling, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// Part of a ceiling that the history may take, in bytes.
    #[must_use]
    pub fn history_bytes_max(bytes_max: usize) -> usize {
        bytes_max / 100 * HISTORY_PERCENT
    }

    /// Part of a ceiling that all backlogs together may take, in bytes.
    #[must_use]
    pub fn backlogs_bytes_max(bytes_max: usize) -> usize {
        bytes_max / 100 * BACKLOGS_PERCENT
    }

    /// Size of a pool, in bytes.
    #[must_use]
    pub fn size(&self, pool: Pool) -> usize {
        self.pools[pool as usize].load(Ordering::Relaxed)
    }

    /// Sets the size of a pool that one thread at a time changes.
    pub fn set(&self, pool: Pool, bytes: usize) {
        self.pools[pool as usize].store(bytes, Ordering::Relaxed);
    }

    /// Replaces the caller's part of a pool.
    pub fn change(&self, pool: Pool, before: usize, now: usize) {
        let pool = &self.pools[pool as usize];
        if now > before {
            pool.fetch_add(now - before, Ordering::Relaxed);
        } else if before > now {
            pool.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// Memory that pools count, in bytes, without [`Pool::Other`].
    #[must_use]
    pub fn counted(&self) -> usize {
        let pools = [Pool::Publications, Pool::Queues, Pool::Messages];
        pools.map(|pool| self.size(pool)).iter().sum()
    }

    /// Memory in use, in bytes.
    #[must_use]
    pub fn used(&self) -> usize {
        self.counted() + self.size(Pool::Other)
    }

    /// Memory of publications that are evicted from the history but not sent yet, in bytes.
    #[must_use]
    pub fn retained(&self) -> usize {
        let history = self.size(Pool::History);
        self.size(Pool::Publications).saturating_sub(history)
    }

    /// Whether a stage has begun.
    #[must_use]
    pub fn is_short(&self, stage: Stage) -> bool {
        self.used() > self.part(stage.percent())
    }

    /// Whether slow connections must be ended: the backlogs exceed their share, or the stage has begun.
    #[must_use]
    pub fn is_short_for_backlogs(&self) -> bool {
        let backlogs = self.retained() + self.size(Pool::Queues);
        backlogs > self.part(BACKLOGS_PERCENT) || self.is_short(Stage::Backlogs)
    }

    /// Whether publishers must wait: the stage has begun, and pools hold memory that they can release meanwhile.
    #[must_use]
    pub fn must_wait(&self) -> bool {
        self.is_short(Stage::Publishers) && self.counted() > self.part(WAIT_PERCENT)
    }

    /// Maximum size of all unfinished messages, in bytes.
    #[must_use]
    pub fn messages_bytes_max(&self) -> usize {
        self.part(MESSAGES_PERCENT)
    }

    /// Maximum memory of all replays beside publications, in bytes: half of the share of backlogs.
    #[must_use]
    pub fn replays_bytes_max(&self) -> usize {
        self.part(BACKLOGS_PERCENT) / 2
    }

    /// Counts publications, connections, requests, or pauses of a publisher that a stage gave up.
    pub fn note(&self, stage: Stage, count: usize) {
        self.given_up[stage as usize].fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Number of publications, connections, requests or pauses that a stage gave up.
    #[must_use]
    pub fn given_up(&self, stage: Stage) -> u64 {
        self.given_up[stage as usize].load(Ordering::Relaxed)
    }

    fn part(&self, percent: usize) -> usize {
        self.bytes_max() / 100 * percent
    }
}

/// Account to which a publication is charged until it is freed.
#[derive(Debug, Default)]
pub struct Charged {
    memory: Option<Arc<Memory>>,
}

impl Charged {
    pub(crate) fn new(memory: &Arc<Memory>, bytes: usize) -> Self {
        memory.change(Pool::Publications, 0, bytes);
        Self {
            memory: Some(Arc::clone(memory)),
        }
    }

    pub(crate) fn release(&self, bytes: usize) {
        if let Some(memory) = &self.memory {
            memory.change(Pool::Publications, bytes, 0);
        }
    }
}

#[cfg(test)]
mod tests;
