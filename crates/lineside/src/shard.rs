//! What one thread does for its connections: their time-outs, and the turn in which they are read and written.
//!
//! One loop, no tasks and no locks per delivery. Each turn offers publications to outboxes and writes one slice of
//! connections, each with one gathering write of frames that all share. What is delivered and in which order is decided in
//! [`lineside_hub`]; what a browser's words mean, in the connection.
//!
//! A [`Worker`] opens no socket, waits for nothing and asks no clock: sockets are its own but of a kind that its driver
//! chooses ([`Socket`]), and the driver says what time it is and which sockets are ready. In the sidecar that is a thread with
//! mio's poll (`reactor.rs`). With sockets in memory, a clock that is turned by hand and seeded names a run can be repeated to
//! the byte (docs/decisions/0017-worker-over-sockets.md):
//!
//! ```text
//! let mut worker = Worker::new(Plan { hub, rules, limits, random: Random::from_fn(seeded), dispatched });
//! loop {
//!     worker.set_time(Now { ms, wall_ms });           // it stands still until it is set again
//!     worker.admit(Arrival { socket, … });            // returns the connection's id, and id.slot() names the socket below
//!     worker.readable(slot); worker.writable(slot);   // edges: once for each time a socket becomes ready
//!     worker.take(entries);                           // in journal order, at most worker.room() of them
//!     worker.turn();
//!     worker.due_ms();                                // when it wants its next turn, if nothing happens before
//! }
//! ```
//!
//! Two duties go with it. What [`Hub::publish`] lands is given to every worker in one order, as is each revocation. And an
//! edge is never lost: a socket that refused a read or a write with `WouldBlock` is told of when it would not any more; so is a
//! new one that has something to read.

pub(crate) mod connection;
mod ending;
pub(crate) mod inbox;
mod peer;
pub(crate) mod random;
mod reactor;
mod reading;
mod revoking;
mod socket;
mod timing;
pub mod websocket;
mod writing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use lineside_hub::{ConnectionId, Hub, PASS_PUBLICATIONS_MAX, Resumed, SLICE_CONNECTIONS, Shard};
use lineside_protocol::Position;
use lineside_protocol::codes;

use crate::log::{Level, event};
use crate::metrics::ShardCounts;
use crate::shard::connection::{Connection, Ending, Turn};
use peer::Peer;
use revoking::Users;

pub use crate::clock::Now;
pub use crate::settings::Limits;
pub use crate::shard::connection::Rules;
pub use crate::shard::inbox::{Arrival, Entry, Inbox, Place, Waiting};
pub use crate::shard::random::Random;
pub(crate) use reactor::Reactor;
pub use socket::Socket;

/// What a worker needs from the start.
#[derive(Debug)]
pub struct Plan {
    /// The journal, for replays, and who is signed out.
    pub hub: Arc<Mutex<Hub>>,
    /// What connections are judged by.
    pub rules: Arc<Rules>,
    /// What bounds them.
    pub limits: Limits,
    /// Names connections, and spreads the times at which they come back.
    pub random: Random,
    /// The journal's newest position when the worker begins.
    pub dispatched: Position,
}

/// The connections of one thread, over sockets of the kind `S`.
#[derive(Debug)]
pub struct Worker<S> {
    plan: Plan,
    /// The time of this turn.
    now: Now,
    shard: Shard,
    /// By slot.
    peers: Vec<Option<Box<Peer<S>>>>,
    connections: usize,
    /// Who they belong to.
    users: Users,
    /// When to look at a connection again, in milliseconds. Entries that no longer agree with their peer are stale.
    timers: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    /// Taken, not yet dispatched.
    entries: VecDeque<Entry>,
    /// Connections that the kernel holds more bytes of than one turn reads.
    unread: Vec<ConnectionId>,
    /// What a read fills.
    scratch: Box<[u8]>,
    drain: bool,
    draining: bool,
    counts: Arc<ShardCounts>,
}

impl<S: Socket> Worker<S> {
    /// A worker without connections, at time zero.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let shard = Shard::new(plan.dispatched, plan.limits.outbox_bytes_max);
        let counts = Arc::new(ShardCounts::default());
        counts.dispatched.set(plan.dispatched.0);
        Self {
            plan,
            now: Now::default(),
            shard,
            peers: Vec::new(),
            connections: 0,
            users: Users::default(),
            timers: BinaryHeap::new(),
            entries: VecDeque::new(),
            unread: Vec::new(),
            scratch: vec![0; reading::READ_BYTES].into(),
            drain: false,
            draining: false,
            counts,
        }
    }

    /// What it counts, for whoever wants to look.
    pub(crate) fn counts(&self) -> Arc<ShardCounts> {
        Arc::clone(&self.counts)
    }

    /// Says what time it is. Until the next call, everything happens at this moment.
    pub fn set_time(&mut self, now: Now) {
        self.now = now;
    }

    /// Takes a browser over: its connect, and what came behind the request. It may be gone again at once.
    pub fn admit(&mut self, arrival: Arrival<S>) -> ConnectionId {
        let Arrival {
            socket,
            peer: address,
            received,
            connect,
            identity,
            place,
        } = arrival;
        let id = self.shard.open();
        let now_ms = self.now.ms;
        let connection = Connection::new(self.plan.random.bytes(), identity);
        let mut peer = Peer::new(id, (socket, address, place), connection, now_ms);
        peer.ping_at_ms = now_ms + self.plan.limits.heartbeat_seconds * 1000;
        if !received.is_empty() {
            peer.reader.receive(&received);
        }
        if self.peers.len() <= id.slot() {
            self.peers.resize_with(id.slot() + 1, || None);
        }
        self.peers[id.slot()] = Some(Box::new(peer));
        self.connections += 1;
        self.counts.opened.add(1);
        self.look_again(id, now_ms + timing::CONNECT_MS_MAX);
        if let Some(connect) = connect {
            self.act(id, |connection, turn| connection.connect(connect, turn));
        }
        self.guarded(id, Self::listen);
        if self.draining {
            self.end(id, &codes::CLOSE_DRAIN.into());
        }
        id
    }

    /// The socket of a connection, as long as it is not gone.
    pub fn socket(&mut self, id: ConnectionId) -> Option<&mut S> {
        peer(&mut self.peers, id).map(|peer| &mut peer.socket)
    }

    /// Notes that the socket in a slot has bytes, has ended or has failed.
    pub fn readable(&mut self, slot: usize) {
        if let Some(id) = self.at(slot) {
            self.guarded(id, Self::note_readable);
        }
    }

    /// Notes that the socket in a slot takes bytes again.
    pub fn writable(&mut self, slot: usize) {
        if let Some(id) = self.at(slot) {
            self.guarded(id, Self::note_writable);
        }
    }

    /// How many entries may be taken now. None when it is behind, so that a backlog stays where publishers notice it.
    #[must_use]
    pub fn room(&self) -> usize {
        let pass = usize::try_from(PASS_PUBLICATIONS_MAX).unwrap_or(usize::MAX);
        pass.saturating_sub(self.entries.len())
    }

    /// Takes the next entries of the journal, in its order.
    pub fn take(&mut self, entries: impl IntoIterator<Item = Entry>) {
        self.entries.extend(entries);
    }

    /// Asks it to say goodbye to everybody, who comes later too, once all that it took is dispatched.
    pub fn drain(&mut self) {
        self.drain = true;
    }

    /// Whether it was drained, and nobody is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.draining && self.connections == 0
    }

    /// How many connections it has.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// One round of its work: what was not all read, the offer, one slice of writes, and what is due. Of the sockets that
    /// became ready before [now](Self::set_time) all have been told by then, or the silent are judged too early.
    pub fn turn(&mut self) {
        for id in std::mem::take(&mut self.unread) {
            self.guarded(id, Self::read);
        }
        self.dispatch();
        self.flush();
        self.end_slow();
        self.keep_time();
        self.begin_drain();
        self.show();
    }

    /// When its next turn is due, in milliseconds of its clock, if nothing is taken and no socket becomes ready before:
    /// zero when there is work left, `u64::MAX` when there is nothing to wait for.
    #[must_use]
    pub fn due_ms(&self) -> u64 {
        if !self.entries.is_empty() || !self.unread.is_empty() || self.shard.has_flush() {
            return 0;
        }
        let next = self.timers.peek();
        next.map_or(u64::MAX, |Reverse((at_ms, _))| *at_ms)
    }

    /// Whether the next turn looks at a connection because its time has come.
    #[must_use]
    pub fn has_due(&self) -> bool {
        let next = self.timers.peek();
        next.is_some_and(|Reverse((at_ms, _))| *at_ms <= self.now.ms)
    }

    /// Lets go of a connection: its socket closes with it.
    pub fn close(&mut self, id: ConnectionId) {
        self.shard.close(id);
        self.forget_user(id);
        if let Some(peer) = peer(&mut self.peers, id) {
            self.counts.close(peer.close_code);
            self.peers[id.slot()] = None;
            self.connections -= 1;
        }
    }

    /// Sets what is shown of the state that this turn leaves.
    fn show(&self) {
        let Self { shard, counts, .. } = self;
        counts.subscriptions.set(shard.subscription_count() as u64);
        counts.channels.set(shard.channel_count() as u64);
        counts.dispatched.set(shard.dispatched().0);
    }

    /// The offer: pointers into outboxes, as long as nobody lies too far behind for our own sake. A revocation takes its
    /// turn between them, so that nothing behind it reaches whom it means.
    fn dispatch(&mut self) {
        while self.shard.offered_since_pass() < PASS_PUBLICATIONS_MAX {
            match self.entries.pop_front() {
                None => break,
                Some(Entry::Publication(publication)) => {
                    let offered = self.shard.dispatch(&publication);
                    self.counts.deliveries.add(offered as u64);
                }
                Some(Entry::Revocation(position, revocation)) => {
                    self.shard.pass(position);
                    self.revoke(&revocation);
                }
            }
        }
        while let Some((id, resumed)) = self.next_resumed() {
            self.act(id, |connection, turn| {
                connection.resumed(resumed, turn);
                Ok(())
            });
        }
    }

    fn next_resumed(&mut self) -> Option<(ConnectionId, Resumed)> {
        if !self.shard.has_ready() {
            return None;
        }
        let hub = self.plan.hub.lock().unwrap_or_else(PoisonError::into_inner);
        self.shard.ready(&hub.journal)
    }

    /// The flush: one slice of connections, one write each.
    fn flush(&mut self) {
        for _ in 0..SLICE_CONNECTIONS {
            let Some(id) = self.shard.next_flush() else {
                break;
            };
            self.guarded(id, Self::write);
        }
    }

    /// Ends those to whom too much is owed, and the kernel takes nothing of it.
    fn end_slow(&mut self) {
        while let Some(id) = self.shard.next_slow() {
            self.end(id, &codes::CLOSE_SLOW.into());
        }
    }

    /// Once nothing is left to dispatch, says goodbye to everybody.
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

    /// Lets a connection act, and ends it if it must end.
    fn act(
        &mut self,
        id: ConnectionId,
        act: impl FnOnce(&mut Connection, &mut Turn<'_>) -> Result<(), Ending>,
    ) {
        self.guarded(id, |worker, id| {
            let Some(peer) = peer(&mut worker.peers, id) else {
                return;
            };
            let mut turn = Turn {
                id,
                shard: &mut worker.shard,
                hub: &worker.plan.hub,
                rules: &worker.plan.rules,
                wall_ms: worker.now.wall_ms,
                counts: &worker.counts,
            };
            if let Err(ending) = act(&mut peer.connection, &mut turn) {
                return worker.end(id, &ending);
            }
            worker.note_user(id);
            worker.watch(id);
        });
    }

    /// Runs what concerns one connection; if that panics, it ends this connection only.
    fn guarded(&mut self, id: ConnectionId, run: impl FnOnce(&mut Self, ConnectionId)) {
        if catch_unwind(AssertUnwindSafe(|| run(self, id))).is_err() {
            event(Level::Error, "connection_panicked", &[("slot", &id.slot())]);
            self.close(id);
        }
    }

    /// The connection in a slot.
    fn at(&self, slot: usize) -> Option<ConnectionId> {
        self.peers.get(slot)?.as_ref().map(|peer| peer.id)
    }
}

/// The peer of a connection that still lives. Not a method, so that the shard can be borrowed beside it.
fn peer<S>(peers: &mut [Option<Box<Peer<S>>>], id: ConnectionId) -> Option<&mut Peer<S>> {
    peers
        .get_mut(id.slot())?
        .as_deref_mut()
        .filter(|peer| peer.id == id)
}

#[cfg(test)]
mod tests;
