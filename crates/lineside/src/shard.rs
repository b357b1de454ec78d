//! A thread that owns some of the connections: their sockets, their time-outs, and the turn in which they are written.
//!
//! One loop, no tasks and no locks per delivery. Each round takes what the kernel and the inbox have, offers publications
//! to outboxes, and writes one slice of connections, each with one gathering write of frames that all share. What is
//! delivered and in which order is decided in [`lineside_hub`]; what a browser's words mean, in [`crate::connection`].

mod ending;
mod peer;
mod reading;
mod revoking;
mod timing;
mod writing;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lineside_hub::{ConnectionId, Hub, PASS_PUBLICATIONS_MAX, Resumed, SLICE_CONNECTIONS, Shard};
use lineside_protocol::Position;
use lineside_protocol::codes;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::clock::Clock;
use crate::connection::{Connection, Ending, Rules, Turn};
use crate::inbox::{Arrival, Entry, Inbox};
use crate::log::{Level, event};
use crate::settings::Limits;
use peer::Peer;
use revoking::Users;

/// Longest sleep without an event, in milliseconds: a bound on how late anything forgotten is noticed.
const TICK_MS: u64 = 1000;

/// Events taken from the kernel at a time; more wait for the next round.
const EVENTS_MAX: usize = 1024;

/// The token of the waker; connections have the number of their slot.
const WAKER: Token = Token(usize::MAX);

/// What a shard needs from the start.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The journal, for replays, and who is signed out.
    pub(crate) hub: Arc<Mutex<Hub>>,
    /// What connections are judged by.
    pub(crate) rules: Arc<Rules>,
    /// What bounds them.
    pub(crate) limits: Limits,
    /// The sidecar's clock.
    pub(crate) clock: Clock,
    /// The journal's newest position when the shard begins.
    pub(crate) dispatched: Position,
}

/// The thread's own.
#[derive(Debug)]
pub(crate) struct Worker {
    plan: Plan,
    poll: Poll,
    inbox: Arc<Inbox>,
    shard: Shard,
    /// By slot.
    peers: Vec<Option<Box<Peer>>>,
    connections: usize,
    /// Who they belong to.
    users: Users,
    /// When to look at a connection again, in milliseconds. Entries that no longer agree with their peer are stale.
    timers: BinaryHeap<Reverse<(u64, ConnectionId)>>,
    /// Taken from the inbox, not yet dispatched.
    entries: VecDeque<Entry>,
    /// Connections that the kernel holds more bytes of than one round reads.
    unread: Vec<ConnectionId>,
    /// What a read fills.
    scratch: Box<[u8]>,
    drain: bool,
    draining: bool,
}

impl Worker {
    /// Prepares a shard and the way into it.
    pub(crate) fn new(plan: Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        let inbox = Arc::new(Inbox::new(Waker::new(poll.registry(), WAKER)?));
        let shard = Shard::new(plan.dispatched, plan.limits.outbox_bytes_max);
        Ok(Self {
            plan,
            poll,
            inbox,
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
        })
    }

    /// The way into it.
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Runs until it is drained.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !(self.draining && self.connections == 0) {
            let sleep = Duration::from_millis(self.sleep_ms());
            match self.poll.poll(&mut events, Some(sleep)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => event(Level::Error, "shard_poll_failed", &[("error", &error)]),
            }
            self.inbox.woke();
            for event in &events {
                if let Some(id) = self.at(event.token().0) {
                    self.guarded(id, |worker, id| worker.ready(id, event));
                }
            }
            for id in std::mem::take(&mut self.unread) {
                self.guarded(id, Self::read);
            }
            self.take_inbox();
            self.dispatch();
            self.flush();
            self.keep_time();
            self.begin_drain();
        }
    }

    /// How long there is nothing to do, in milliseconds.
    fn sleep_ms(&mut self) -> u64 {
        let is_busy = !self.entries.is_empty() || !self.unread.is_empty() || self.shard.has_flush();
        if is_busy || !self.inbox.may_sleep() {
            return 0;
        }
        let next = self
            .timers
            .peek()
            .map_or(u64::MAX, |Reverse((at_ms, _))| *at_ms);
        next.saturating_sub(self.plan.clock.now_ms()).min(TICK_MS)
    }

    fn take_inbox(&mut self) {
        let pass = usize::try_from(PASS_PUBLICATIONS_MAX).unwrap_or(usize::MAX);
        let waiting = self.inbox.take(pass.saturating_sub(self.entries.len()));
        self.entries.extend(waiting.entries);
        self.drain |= waiting.drain;
        for arrival in waiting.arrivals {
            self.admit(arrival);
        }
    }

    /// The offer: pointers into outboxes, as long as nobody lies too far behind for our own sake. A revocation takes its
    /// turn between them, so that nothing behind it reaches whom it means.
    fn dispatch(&mut self) {
        while self.shard.offered_since_pass() < PASS_PUBLICATIONS_MAX {
            match self.entries.pop_front() {
                None => break,
                Some(Entry::Publication(publication)) => self.shard.dispatch(&publication),
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
            self.guarded(id, Self::listen);
        }
        while let Some(id) = self.shard.next_slow() {
            self.cut(id);
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
                return;
            };
            self.guarded(id, Self::write);
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

    /// Takes a browser over.
    fn admit(&mut self, arrival: Arrival) {
        let mut socket = TcpStream::from_std(arrival.socket);
        let id = self.shard.open();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut socket, Token(id.slot()), both)
        {
            self.shard.close(id);
            return event(
                Level::Error,
                "connection_lost",
                &[("peer", &arrival.peer), ("error", &error)],
            );
        }
        let now_ms = self.plan.clock.now_ms();
        let mut peer = Peer::new(id, socket, Connection::new(random()), now_ms);
        peer.address = Some((arrival.peer, arrival.place));
        peer.ping_at_ms = now_ms + self.plan.limits.heartbeat_seconds * 1000;
        if !arrival.received.is_empty() {
            peer.reader.receive(&arrival.received);
        }
        if self.peers.len() <= id.slot() {
            self.peers.resize_with(id.slot() + 1, || None);
        }
        self.peers[id.slot()] = Some(Box::new(peer));
        self.connections += 1;
        self.look_again(id, now_ms + timing::CONNECT_MS_MAX);
        if let Some(connect) = arrival.connect {
            self.act(id, |connection, turn| connection.connect(connect, turn));
        }
        self.guarded(id, Self::listen);
        if self.draining {
            self.end(id, &codes::CLOSE_DRAIN.into());
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
            let Plan {
                hub, rules, clock, ..
            } = &worker.plan;
            let mut turn = Turn {
                id,
                shard: &mut worker.shard,
                hub,
                rules,
                wall_ms: clock.wall_ms(),
            };
            if let Err(ending) = act(&mut peer.connection, &mut turn) {
                return worker.end(id, &ending);
            }
            worker.note_user(id);
            worker.watch_expiry(id);
        });
    }

    /// Runs what concerns one connection; if that panics, it ends this connection only.
    fn guarded(&mut self, id: ConnectionId, run: impl FnOnce(&mut Self, ConnectionId)) {
        if catch_unwind(AssertUnwindSafe(|| run(self, id))).is_err() {
            event(Level::Error, "connection_panicked", &[("slot", &id.slot())]);
            self.drop_peer(id);
        }
    }

    /// The connection in a slot.
    fn at(&self, slot: usize) -> Option<ConnectionId> {
        self.peers.get(slot)?.as_ref().map(|peer| peer.id)
    }
}

/// The peer of a connection that still lives. Not a method, so that the shard can be borrowed beside it.
fn peer(peers: &mut [Option<Box<Peer>>], id: ConnectionId) -> Option<&mut Peer> {
    peers
        .get_mut(id.slot())?
        .as_deref_mut()
        .filter(|peer| peer.id == id)
}

/// Eight random bytes; zeros where the system has none, as nothing secret hangs on them.
fn random() -> [u8; 8] {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = [0; 8];
    }
    bytes
}
