//! Shard: one thread with some of the connections, and some of the publishers' links (`links.rs`). Reads, dispatches, writes, and
//! keeps their time-outs.
//!
//! One loop, no tasks, and no locks per delivery. Each turn offers publications to outboxes and writes one slice of
//! connections, each with one gathered write of shared frames. Order of delivery is decided by [`FanOut`], and the meaning of
//! requests by the connection's [dialect](crate::dialects).
//!
//! A [`Worker`] opens no socket, waits for nothing and reads no clock. Its driver chooses the kind of [`Socket`], sets the time,
//! and says which sockets are ready. In the sidecar the driver is a thread with mio's poll (`reactor.rs`). With sockets in
//! memory, a manual clock and seeded names, a run can be repeated to the byte
//! (docs/decisions/0017-worker-over-sockets.md):
//!
//! ```text
//! let mut worker = Worker::new(Plan { shard, broker, start, rules, limits, random: Random::from_fn(seeded) });
//! loop {
//!     worker.set_time(Now { ms, wall_ms });           // stays until it is set again
//!     worker.admit(Arrival { socket, … });            // returns the connection's id; id.slot() names the socket below
//!     worker.readable(slot); worker.writable(slot);   // edges: once each time a socket becomes ready
//!     worker.enqueue(entries);                        // in journal order, at most worker.room() of them
//!     worker.turn();
//!     worker.due_ms();                                // latest time of the next turn
//! }
//! ```
//!
//! The driver has two duties. Every worker must receive every applied entry, in journal order. And no edge may be lost: the
//! driver reports when a socket that returned `WouldBlock` is ready again, and when a new socket is readable.

mod arrivals;
mod ending;
mod links;
mod peer;
mod random;
mod reactor;
mod reading;
mod relief;
mod revoking;
mod settling;
mod socket;
mod timing;
pub mod websocket;
mod writing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lineside_hub::{ConnectionId, FanOut, Interest, PASS_PUBLICATIONS_MAX, SLICE_CONNECTIONS};
use lineside_protocol::codes;
use lineside_protocol::{Cursor, Position};

use crate::broker::runners::RunnerEvent;
use crate::broker::{Broker, InboxEntry};
use crate::clock::Now;
use crate::dialects::{Connection, Ending, Rules, Turn};
use crate::log::{Level, event};
use crate::metrics::ShardCounts;
use crate::settings::Limits;
use peer::Peer;
use reading::Cost;
use relief::Held;
use revoking::Users;
use settling::Settling;

pub(crate) use arrivals::Arrivals;
pub use arrivals::{Arrival, Place};
pub(crate) use links::{LinkQueue, NewLink};
pub use random::Random;
pub(crate) use reactor::Reactor;
pub use socket::Socket;

/// Inputs of a new worker.
#[derive(Debug)]
pub struct Plan {
    /// Number of the shard, from 0.
    pub shard: usize,
    /// Access to the hub.
    pub broker: Arc<Broker>,
    /// Cursor of the newest entry when the broker was created. The worker receives every later entry.
    pub start: Cursor,
    /// Rules for all connections.
    pub rules: Arc<Rules>,
    /// Limits of a connection.
    pub limits: Limits,
    /// Source of connection names and reconnect delays.
    pub random: Random,
}

/// Event loop of one shard, over sockets of the kind `S`.
#[derive(Debug)]
pub struct Worker<S> {
    plan: Plan,
    /// Time of this turn.
    now: Now,
    fan_out: FanOut,
    /// By slot.
    peers: Vec<Option<Box<Peer<S>>>>,
    connections: usize,
    users: Users,
    /// Next timer of each connection, in milliseconds. An entry that differs from its peer's timer is stale.
    timers: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    /// Entries to dispatch.
    entries: VecDeque<InboxEntry>,
    /// Connections to read, each once, the longest waiting first. Closed ones may be among them.
    unread: VecDeque<ConnectionId>,
    /// Cost of the requests of this turn.
    cost: Cost,
    /// A millisecond, and the number of writes of replays that are left in it.
    replays: (u64, usize),
    /// Buffer of one read.
    scratch: Box<[u8]>,
    /// Memory of the connections.
    held: Held,
    /// Waits for connections that are under way.
    settling: Vec<Settling>,
    drain: bool,
    draining: bool,
    counts: Arc<ShardCounts>,
}

impl<S: Socket> Worker<S> {
    /// Creates a worker without connections, at time zero.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self::with_counts(plan, Arc::default())
    }

    /// Creates a worker that counts in `counts`.
    pub(crate) fn with_counts(plan: Plan, counts: Arc<ShardCounts>) -> Self {
        counts.dispatched.set(plan.start.position.0);
        let fan_out = FanOut::new(plan.start.clone(), plan.limits.outbox_bytes_max);
        Self {
            plan,
            now: Now::default(),
            fan_out,
            peers: Vec::new(),
            connections: 0,
            users: Users::default(),
            timers: BinaryHeap::new(),
            entries: VecDeque::new(),
            unread: VecDeque::new(),
            cost: Cost::default(),
            replays: (0, writing::REPLAY_WRITES_PER_MS),
            scratch: vec![0; reading::READ_BYTES].into(),
            held: Held::default(),
            settling: Vec::new(),
            drain: false,
            draining: false,
            counts,
        }
    }

    /// Sets the time. Everything until the next call happens at this time.
    pub fn set_time(&mut self, now: Now) {
        self.now = now;
    }

    /// Adds a connection, and handles its opening and the bytes behind its request. It may be closed again at once.
    pub fn admit(&mut self, arrival: Arrival<S>) -> ConnectionId {
        let Arrival {
            socket,
            peer: address,
            received,
            opening,
            place,
        } = arrival;
        let id = if opening.is_framed() {
            self.fan_out.open_framed()
        } else {
            self.fan_out.open()
        };
        let now_ms = self.now.ms;
        let connection = Connection::new(opening, self.plan.random.bytes());
        let connect_by_ms = now_ms + connection.connect_ms_max();
        let ping_at_ms = now_ms + connection.ping_interval_ms(&self.plan.rules);
        let mut peer = Peer::new(id, (socket, address, place), connection, now_ms);
        peer.ping_at_ms = ping_at_ms;
        if !received.is_empty() {
            peer.reader.receive(&received);
        }
        if self.peers.len() <= id.slot() {
            self.peers.resize_with(id.slot() + 1, || None);
        }
        self.peers[id.slot()] = Some(Box::new(peer));
        self.connections += 1;
        self.counts.opened.add(1);
        self.settle_too(id);
        self.set_timer(id, connect_by_ms);
        self.act(id, Connection::begin);
        self.guarded(id, Self::receive);
        if self.draining {
            self.end(id, &codes::CLOSE_DRAIN.into());
        }
        id
    }

    /// Socket of an open connection.
    pub fn socket(&mut self, id: ConnectionId) -> Option<&mut S> {
        peer(&mut self.peers, id).map(|peer| &mut peer.socket)
    }

    /// Reports that the socket in a slot is readable, has ended or has failed.
    pub fn readable(&mut self, slot: usize) {
        if let Some(id) = self.at(slot) {
            self.guarded(id, Self::note_readable);
        }
    }

    /// Reports that the socket in a slot is writable again.
    pub fn writable(&mut self, slot: usize) {
        if let Some(id) = self.at(slot) {
            self.guarded(id, Self::note_writable);
        }
    }

    /// Number of entries that may be enqueued now. Zero when the worker is behind, so that the backlog stays where publishers
    /// notice it.
    #[must_use]
    pub fn room(&self) -> usize {
        let pass = usize::try_from(PASS_PUBLICATIONS_MAX).unwrap_or(usize::MAX);
        pass.saturating_sub(self.entries.len())
    }

    /// Position up to which entries are dispatched.
    #[must_use]
    pub fn dispatched(&self) -> Position {
        self.fan_out.dispatched()
    }

    /// Channels that have a subscriber here, for the [inbox](crate::broker::Inbox::set_interest).
    #[must_use]
    pub fn interest(&self) -> Arc<Interest> {
        Arc::clone(self.fan_out.interest())
    }

    /// Enqueues the next entries, in journal order.
    pub fn enqueue(&mut self, entries: impl IntoIterator<Item = InboxEntry>) {
        self.entries.extend(entries);
    }

    /// Handles events of the processes that run channel classes.
    pub fn handle_runner_events(&mut self, events: impl IntoIterator<Item = RunnerEvent>) {
        for event in events {
            match event {
                RunnerEvent::Sent { connection, .. } => self.tell(connection, event),
                RunnerEvent::Opened => self.tell_all(|| RunnerEvent::Opened),
                RunnerEvent::Closed { runner, is_clean } => {
                    self.tell_all(|| RunnerEvent::Closed { runner, is_clean });
                }
            }
        }
    }

    /// Starts the drain: ends all present and future connections once every enqueued entry is dispatched.
    pub fn drain(&mut self) {
        self.drain = true;
    }

    /// Whether the drain is complete.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.connections == 0
    }

    /// Number of connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Does one round of work: reads, dispatches, writes one slice, and runs timers. Report every socket that
    /// became ready before [now](Self::set_time) first, or connections may seem silent that are not.
    pub fn turn(&mut self) {
        self.cost = Cost::begin(self.fan_out.resumed_count(), self.fan_out.has_live_flush());
        self.resume_ready();
        self.read_queued();
        self.dispatch();
        self.flush();
        self.end_slow();
        self.relieve();
        self.run_timers();
        self.keep_settling();
        self.begin_drain();
        self.update_gauges();
    }

    /// Latest time of the next turn, in milliseconds: zero if there is work left, `u64::MAX` if there is no timer.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        let has_work = !self.entries.is_empty()
            || !self.unread.is_empty()
            || self.fan_out.has_live_flush()
            || self.fan_out.has_ready();
        if has_work {
            return 0;
        }
        let timer = self.timers.peek();
        let timer_ms = timer.map_or(u64::MAX, |Reverse((at_ms, _))| *at_ms);
        let others = [self.replay_due_ms(), self.settling_due_ms()];
        others.into_iter().flatten().fold(timer_ms, u64::min)
    }

    /// Time of the next write of a replay, in milliseconds, if one waits: zero, or the next millisecond.
    #[must_use]
    pub fn replay_due_ms(&self) -> Option<u64> {
        let due_ms = match self.replays {
            (ms, 0) => ms + 1,
            _ => 0,
        };
        self.fan_out.has_flush().then_some(due_ms)
    }

    /// Whether a timer is due.
    #[must_use]
    pub fn has_due(&self) -> bool {
        let next = self.timers.peek();
        next.is_some_and(|Reverse((at_ms, _))| *at_ms <= self.now.ms)
    }

    /// Closes a connection and its socket.
    pub fn close(&mut self, id: ConnectionId) {
        self.act_on(id, |connection, turn| connection.closed(turn));
        self.remove(id);
    }

    fn remove(&mut self, id: ConnectionId) {
        self.fan_out.close(id);
        self.forget_user(id);
        self.forget_message(id);
        if let Some(peer) = peer(&mut self.peers, id) {
            self.counts.close(peer.close_code);
            self.peers[id.slot()] = None;
            self.connections -= 1;
        }
    }

    fn tell(&mut self, id: ConnectionId, event: RunnerEvent) {
        let is_closing =
            peer(&mut self.peers, id).is_none_or(|peer| peer.closing_until_ms.is_some());
        if !is_closing {
            self.act(id, |connection, turn| connection.runner_event(event, turn));
            // Requests that waited for the runner may continue.
            self.queue_read(id);
        }
    }

    /// Costs a pass over all connections, which an event of a whole process is worth.
    fn tell_all(&mut self, event: impl Fn() -> RunnerEvent) {
        for slot in 0..self.peers.len() {
            if let Some(id) = self.at(slot) {
                self.tell(id, event());
            }
        }
    }

    /// Updates the gauges.
    fn update_gauges(&self) {
        let Self {
            fan_out, counts, ..
        } = self;
        counts
            .subscriptions
            .set(fan_out.subscription_count() as u64);
        counts.channels.set(fan_out.channel_count() as u64);
        counts.dispatched.set(fan_out.dispatched().0);
    }

    /// Dispatches entries until a connection has waited too long for its write. Revocations are handled in journal order, so
    /// that no later publication reaches a revoked connection.
    fn dispatch(&mut self) {
        while self.fan_out.offered_since_pass() < PASS_PUBLICATIONS_MAX {
            match self.entries.pop_front() {
                None => break,
                Some(InboxEntry::Publication(publication)) => {
                    let offered = self.fan_out.dispatch(&publication);
                    self.counts.deliveries.add(offered as u64);
                    while let Some(id) = self.fan_out.next_framed() {
                        self.act(id, |connection, turn| {
                            connection.publish(&publication, turn)
                        });
                    }
                }
                Some(InboxEntry::Revocation(position, revocation)) => {
                    self.fan_out.pass(position);
                    self.revoke(&revocation);
                }
            }
        }
    }

    /// Completes resumes that waited for a position, while the turn has room for them.
    fn resume_ready(&mut self) {
        while self.has_room_for_requests()
            && let Some((id, request)) = self.fan_out.next_ready()
        {
            let answer = self.plan.broker.replay(&request);
            let resumed = self.fan_out.complete(id, request, answer);
            self.act(id, |connection, turn| {
                connection.resumed(resumed, turn);
                Ok(())
            });
        }
    }

    /// Writes one slice of connections, one write each. Replays are paced, so that they leave processor time to everything else.
    fn flush(&mut self) {
        if self.replays.0 != self.now.ms {
            self.replays = (self.now.ms, writing::REPLAY_WRITES_PER_MS);
        }
        for _ in 0..SLICE_CONNECTIONS {
            let next = if self.replays.1 > 0 {
                self.fan_out.next_flush()
            } else {
                self.fan_out.next_live_flush()
            };
            let Some(id) = next else {
                break;
            };
            self.guarded(id, Self::write);
        }
    }

    /// Ends slow connections.
    fn end_slow(&mut self) {
        while let Some(id) = self.fan_out.next_slow() {
            self.end(id, &codes::CLOSE_SLOW.into());
        }
    }

    /// Ends all connections of a drain once everything is dispatched.
    fn begin_drain(&mut self) {
        if self.drain && !self.draining && self.entries.is_empty() {
            self.draining = true;
            for slot in 0..self.peers.len() {
                if let Some(id) = self.at(slot) {
                    self.end(id, &codes::CLOSE_DRAIN.into());
                }
            }
        }
    }

    /// Runs an event handler of a connection, and ends the connection if it returns an error.
    fn act(
        &mut self,
        id: ConnectionId,
        act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> Result<(), Ending>,
    ) {
        self.guarded(id, |worker, id| match worker.act_on(id, act) {
            None => {}
            Some(Err(ending)) => worker.end(id, &ending),
            Some(Ok(())) => {
                worker.note_user(id);
                worker.set_next_timer(id);
            }
        });
    }

    /// Runs code of an open connection.
    fn act_on<T>(
        &mut self,
        id: ConnectionId,
        act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let peer = peer(&mut self.peers, id)?;
        let mut turn = Turn {
            id,
            shard: self.plan.shard,
            fan_out: &mut self.fan_out,
            broker: &self.plan.broker,
            rules: &self.plan.rules,
            now: self.now,
            counts: &self.counts,
        };
        Some(act(&mut peer.connection, &mut turn))
    }

    /// Runs code for one connection. A panic ends this connection only.
    fn guarded(&mut self, id: ConnectionId, run: impl FnOnce(&mut Self, ConnectionId)) {
        if catch_unwind(AssertUnwindSafe(|| run(self, id))).is_err() {
            event!(Level::Error, "connection_panicked", slot = id.slot());
            self.remove(id);
        }
    }

    /// Connection in a slot.
    fn at(&self, slot: usize) -> Option<ConnectionId> {
        self.peers.get(slot)?.as_ref().map(|peer| peer.id)
    }
}

/// Peer of an open connection. A function, so that other fields of the worker can be borrowed beside it.
fn peer<S>(peers: &mut [Option<Box<Peer<S>>>], id: ConnectionId) -> Option<&mut Peer<S>> {
    peers
        .get_mut(id.slot())?
        .as_deref_mut()
        .filter(|peer| peer.id == id)
}

#[cfg(test)]
mod tests;
