//! The broker: the only access to the hub. It owns the hub's lock, the inboxes of the shards, the tails, the queues of the
//! app links and the signal of the newest position.
//!
//! Links, connections, the admin listener and the snapshot hold one [`Broker`] and call it. Every entry passes through
//! [`Broker::propose`]: the hub [accepts](Hub::propose) it, the engine orders it, and the hub
//! [applies](Hub::apply) it. The engine in memory orders each entry at once, so all of this happens under one lock. Inboxes,
//! tails and queues are filled under the same lock, so all of them receive entries in one order.
//!
//! No call does IO, encodes or merges a replay, or waits for anything but the lock, except [`Broker::save`].

mod app_links;
mod inbox;
pub mod runners;
mod settles;
mod tails;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lineside_hub::{
    Begin, Confirmed, Counts, Encode, Greeting, Hub, MarkKey, MarkedConnection, Memory, Ordered,
    Origin, Outcome, Proposal, Proposed, Publication, PublishersFull, ReplayAnswer, ReplayRequest,
    SavedAt, Stage, Want,
};
use lineside_protocol::{Cursor, Position};
use tokio::sync::oneshot;

use crate::clock::Now;
use crate::log::{Level, event};
use app_links::AppLinks;
use runners::Runners;
use tails::Tails;

pub use app_links::AppQueue;
pub(crate) use app_links::{AppLinksFull, Overflowed};
pub use inbox::{Inbox, InboxEntry, Taken};
pub use settles::{Settle, Standing};
pub(crate) use tails::{Filter, Tail, TailsFull};

/// Maximum number of publications that one [`Broker::relieve`] evicts: about a millisecond under the lock.
const EVICTIONS_MAX: usize = 1_000;

/// Time between two looks at the memory while links are not read, in milliseconds.
const MEMORY_PAUSE_MS: u64 = 20;

/// Shortest time between two looks at the inboxes of other shards while links are not read, in milliseconds.
const ROOM_PAUSE_MS: u64 = 3;

/// Publications that an app link sends when it follows channels, in this order. Those after the seam are in its queue.
#[derive(Debug)]
pub(crate) struct AppReplay {
    /// Publications of other channels that the link followed before, up to the seam.
    pub(crate) earlier: VecDeque<Arc<Publication>>,
    /// The journal's answer, for the reply and the replay.
    pub(crate) answer: ReplayAnswer,
    /// The replay ends here.
    pub(crate) seam: Cursor,
}

/// The only access to the hub. Shared by links, connections, the admin listener and the snapshot.
#[derive(Debug)]
pub struct Broker {
    hub: Mutex<Hub>,
    shards: Vec<Arc<Inbox>>,
    tails: Tails,
    app_links: AppLinks,
    runners: Runners,
    /// Position of the newest entry. Written under the hub's lock.
    newest: AtomicU64,
    /// No further entry is applied. Written under the hub's lock.
    is_closed: AtomicBool,
    encode: Encode,
    memory: Arc<Memory>,
    reported_gaps: AtomicU64,
    reported_all_users: AtomicBool,
}

impl Broker {
    /// Creates a broker that hands every applied entry to each of the shards. `encode` makes the body of a publication.
    #[must_use]
    pub fn new(hub: Hub, shards: Vec<Arc<Inbox>>, encode: Encode) -> Self {
        Self {
            memory: Arc::clone(hub.memory()),
            newest: AtomicU64::new(hub.cursor().position.0),
            is_closed: AtomicBool::new(false),
            hub: Mutex::new(hub),
            runners: Runners::new(shards.clone()),
            shards,
            tails: Tails::default(),
            app_links: AppLinks::default(),
            encode,
            reported_gaps: AtomicU64::new(0),
            reported_all_users: AtomicBool::new(false),
        }
    }

    /// Registers a publisher's link, and returns the newest cursor with its greeting.
    ///
    /// # Errors
    /// Returns an error if the table of publishers is full and every publisher is linked.
    pub(crate) fn greet(
        &self,
        origin: Origin,
        done: u64,
        now_ms: u64,
    ) -> Result<(Greeting, Cursor), PublishersFull> {
        let mut hub = self.hub();
        let greeting = hub.greet(origin, done, now_ms)?;
        Ok((greeting, hub.cursor()))
    }

    /// Registers the end of a publisher's link.
    pub(crate) fn unlink(&self, origin: Origin, now_ms: u64) {
        self.hub().unlink(origin, now_ms);
    }

    /// Proposes an entry, and returns its outcome once it is applied. After [`close`](Self::close) the outcome is
    /// [`Outcome::UnderWay`], which no publisher takes for an ack.
    pub(crate) fn propose(&self, origin: Origin, proposal: Proposal, now_ms: u64) -> Outcome {
        let mut hub = self.hub();
        if self.is_closed.load(Ordering::Relaxed) {
            return Outcome::UnderWay;
        }
        match hub.propose(origin, proposal) {
            Proposed::Answered(outcome) => outcome,
            Proposed::New(entry) => {
                let first = hub.next_position();
                let ordered = Ordered {
                    entry,
                    first,
                    at_ms: now_ms,
                };
                self.apply(&mut hub, ordered)
            }
        }
    }

    /// Applies an ordered entry, and hands it to every shard, tail and app link. Takes the locked hub, so that all receive entries in
    /// one order.
    fn apply(&self, hub: &mut Hub, ordered: Ordered) -> Outcome {
        let outcome = hub.apply(ordered, self.encode);
        match &outcome {
            Outcome::Landed { publications, .. } => {
                let Some(last) = publications.last() else {
                    return outcome;
                };
                self.newest.store(last.position.0, Ordering::Release);
                for shard in &self.shards {
                    shard.publish(publications);
                }
                self.tails.offer(publications);
                self.app_links.offer(publications);
            }
            Outcome::Revoked {
                position,
                revocation,
            } => {
                self.newest.store(position.0, Ordering::Release);
                for shard in &self.shards {
                    shard.revoke(*position, revocation);
                }
            }
            _ => {}
        }
        outcome
    }

    /// Whether every inbox and the process's memory have room. Links must not be read otherwise.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.memory.must_wait() && self.shards.iter().all(|shard| shard.has_room())
    }

    /// Whether every inbox except that of one shard has room, and the process's memory. Returns the time after which to look
    /// again otherwise, in milliseconds.
    pub(crate) fn room_of_others(&self, shard: usize) -> Result<(), u64> {
        if self.memory.must_wait() {
            self.memory.note(Stage::Publishers, 1);
            return Err(MEMORY_PAUSE_MS);
        }
        let mut others = self.shards.iter().enumerate().filter(|it| it.0 != shard);
        if others.all(|(_, inbox)| inbox.has_room()) {
            return Ok(());
        }
        // Shards that wait for one inbox look again after different times, so that none is always the last.
        Err(ROOM_PAUSE_MS + shard as u64 % ROOM_PAUSE_MS)
    }

    /// Tells the shards to end a publisher's link, because a newer link replaces it.
    pub(crate) fn replace_link(&self, number: u64) {
        self.shards.iter().for_each(|it| it.replace_link(number));
    }

    /// Tells the shards to end the links of all publishers, present and future.
    pub(crate) fn stop_links(&self) {
        self.shards.iter().for_each(|it| it.stop_links());
    }

    /// Applies no further entry. Publishers send what is not acked again, to the next sidecar.
    pub(crate) fn close(&self) {
        let _hub = self.hub();
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Waits until every inbox and the process's memory have room.
    pub(crate) async fn room(&self) {
        while self.memory.must_wait() {
            self.memory.note(Stage::Publishers, 1);
            tokio::time::sleep(Duration::from_millis(MEMORY_PAUSE_MS)).await;
        }
        for shard in &self.shards {
            shard.room().await;
        }
    }

    /// Account of the process's memory.
    #[must_use]
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Evicts some history while memory is short. Returns whether it is still short and there is more to evict.
    pub(crate) fn relieve(&self) -> bool {
        self.memory.is_short(Stage::History) && self.hub().relieve(EVICTIONS_MAX)
    }

    /// Collects the publications that a resume needs.
    pub(crate) fn replay(&self, request: &ReplayRequest) -> ReplayAnswer {
        self.hub().replay(request)
    }

    /// Whether a token of the user with this session and issue time (milliseconds since the Unix epoch) is revoked.
    ///
    /// A revocation that is applied after this call reaches the calling shard as a later entry of its inbox.
    pub(crate) fn is_revoked(&self, user: &str, session: Option<&str>, issued_ms: u64) -> bool {
        self.hub().is_revoked(user, session, issued_ms)
    }

    /// Latest issue time of tokens from before the wall clock was set back. See [`Hub::set_back_from_ms`].
    pub(crate) fn set_back_from_ms(&self, wall_ms: u64) -> Option<u64> {
        self.hub().set_back_from_ms(wall_ms)
    }

    /// Cursor of the newest entry.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.hub().cursor()
    }

    /// Position of the newest entry. Takes no lock.
    #[must_use]
    pub fn newest(&self) -> Position {
        Position(self.newest.load(Ordering::Acquire))
    }

    /// Removes history and revocations that are too old, and logs new gaps in the sequences of publishers and a full table of
    /// revocations. Call it about once a second.
    pub fn expire(&self, now: Now) {
        let (gaps, all_users_ms) = {
            let mut hub = self.hub();
            hub.expire(now.ms, now.wall_ms);
            (hub.gaps(), hub.all_users_revoked_ms())
        };
        if self.reported_gaps.swap(gaps, Ordering::Relaxed) != gaps {
            let meaning =
                "the sequence of a publisher jumped: frames were lost on the way to this sidecar";
            event!(Level::Error, "sequence_gap", gaps, meaning);
        }
        let was_reported = self
            .reported_all_users
            .swap(all_users_ms.is_some(), Ordering::Relaxed);
        if let Some(until_ms) = all_users_ms.filter(|_| !was_reported) {
            let meaning = "more users and sessions were signed out within a day than the table holds: tokens of all users that \
                           were issued up to this time are refused";
            event!(Level::Warn, "revocations_full", until_ms, meaning);
        }
    }

    /// Counters since the start of the process, and the current sizes.
    pub(crate) fn counts(&self) -> Counts {
        self.hub().counts()
    }

    /// Opens a tail that receives every publication after the returned cursor that passes the filter.
    ///
    /// # Errors
    /// Returns an error if the maximum number of tails is open.
    pub(crate) fn open_tail(&self, filter: Filter) -> Result<(Arc<Tail>, Cursor), TailsFull> {
        // Nothing is applied while the hub is locked, so the tail misses nothing after the cursor.
        let hub = self.hub();
        let tail = self.tails.open(filter)?;
        Ok((tail, hub.cursor()))
    }

    /// Closes a tail.
    pub(crate) fn close_tail(&self, tail: &Arc<Tail>) {
        self.tails.close(tail);
    }

    /// Asks every shard which of its connections have everything up to the returned cursor. Each answers when all have, or at the
    /// deadline `until_ms`.
    pub(crate) fn settle(&self, until_ms: u64) -> (Cursor, Vec<oneshot::Receiver<Standing>>) {
        let cursor = self.cursor();
        let ask = |shard: &Arc<Inbox>| {
            let (settle, answer) = Settle::new(cursor.position, until_ms);
            shard.settle(settle);
            answer
        };
        let answers = self.shards.iter().map(ask).collect();
        (cursor, answers)
    }

    /// Where the subscription of a page begins. See [`Hub::begin_after`].
    pub(crate) fn begin_after(
        &self,
        key: &MarkKey,
        own: Position,
        connection: MarkedConnection,
        now_ms: u64,
    ) -> Begin {
        self.hub().begin_after(key, own, connection, now_ms)
    }

    /// Notes that a page has subscribed. See [`Hub::open_mark`].
    pub(crate) fn open_mark(
        &self,
        key: MarkKey,
        begun: Position,
        confirmed: Confirmed,
        connection: MarkedConnection,
    ) -> u64 {
        self.hub().open_mark(key, begun, confirmed, connection)
    }

    /// Notes the ends of a page's subscriptions, each by the key and number of its mark. See [`Hub::end_mark`].
    pub(crate) fn end_marks(
        &self,
        marks: impl IntoIterator<Item = (MarkKey, u64)>,
        sent: Option<Position>,
        now_ms: u64,
    ) {
        let mut hub = self.hub();
        for (key, number) in marks {
            hub.end_mark(key, number, sent, now_ms);
        }
    }

    /// Forgets how far a page has received its streams. See [`Hub::forget_mark`].
    pub(crate) fn forget_marks(&self, marks: impl IntoIterator<Item = (MarkKey, u64)>) {
        let mut hub = self.hub();
        for (key, number) in marks {
            hub.forget_mark(&key, number);
        }
    }

    /// Processes that run channel classes.
    #[must_use]
    pub fn runners(&self) -> &Runners {
        &self.runners
    }

    /// Opens an app link.
    ///
    /// # Errors
    /// Returns an error if the maximum number of app links is open.
    pub(crate) fn open_app_link(&self) -> Result<Arc<AppQueue>, AppLinksFull> {
        self.app_links.open()
    }

    /// Makes an app link follow channels, each after its own cursor. No two have the same name.
    pub(crate) fn follow(&self, queue: &Arc<AppQueue>, wants: Vec<Want>) -> AppReplay {
        // Nothing is applied while the hub is locked, so there is no gap between the replay and the queue.
        let hub = self.hub();
        let seam = hub.cursor();
        let request = ReplayRequest {
            wants,
            through: seam.position,
        };
        let answer = hub.replay(&request);
        let earlier = queue.take_all();
        for want in &request.wants {
            self.app_links.follow(queue, &want.channel);
        }
        AppReplay {
            earlier,
            answer,
            seam,
        }
    }

    /// Ends that an app link follows a channel. Its queue may still hold publications of it.
    pub(crate) fn unfollow(&self, queue: &Arc<AppQueue>, channel: &str) {
        self.app_links.unfollow(queue, channel);
    }

    /// Closes an app link that follows these channels.
    pub(crate) fn close_app_link<'a>(
        &self,
        queue: &Arc<AppQueue>,
        followed: impl Iterator<Item = &'a Arc<str>>,
    ) {
        for channel in followed {
            self.app_links.unfollow(queue, channel);
        }
        self.app_links.close();
    }

    /// Cursor up to which every publication was taken from the queue of an app link. `None` while some wait.
    pub(crate) fn cursor_of(&self, queue: &AppQueue) -> Option<Cursor> {
        let hub = self.hub();
        queue.is_empty().then(|| hub.cursor())
    }

    /// Number of open app links.
    pub(crate) fn app_links(&self) -> usize {
        self.app_links.count()
    }

    /// Writes a snapshot of the hub, and returns its size in bytes. Holds the hub's lock while it writes: call it only
    /// when every link has ended.
    ///
    /// # Errors
    /// Those of `out`; and when a thread panicked while it changed the hub, because the hub may be inconsistent then.
    pub fn save(&self, at: SavedAt, out: impl Write) -> io::Result<u64> {
        let inconsistent = |_| io::Error::other("an internal error left the hub inconsistent");
        self.hub.lock().map_err(inconsistent)?.save(at, out)
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
