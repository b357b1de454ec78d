//! The thread around a worker: it sleeps until the kernel or the inbox has something, and tells what it is.

use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Arrival, Plan, Socket, Worker};
use crate::clock::Clock;
use crate::log::{Level, event};
use crate::metrics::ShardCounts;
use crate::shard::inbox::Inbox;

/// Longest sleep without an event, in milliseconds: a bound on how late anything forgotten is noticed.
const TICK_MS: u64 = 1000;

/// Events taken from the kernel at a time; more wait for the next turn.
const EVENTS_MAX: usize = 256;

/// The token of the waker; connections have the number of their slot.
const WAKER: Token = Token(usize::MAX);

impl Socket for TcpStream {
    fn reset_on_close(&mut self) {
        // Without this the kernel would keep megabytes for a reader that never comes. If it fails, it does.
        let _kept = socket2::SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

/// Ends the sleep of a thread in its poll.
struct Bell(mio::Waker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // The shard looks again within its next tick even if this should fail.
        let _late = self.0.wake();
    }
}

/// A worker over the kernel's sockets, with its inbox and the real clock.
#[derive(Debug)]
pub(crate) struct Reactor {
    worker: Worker<TcpStream>,
    poll: Poll,
    inbox: Arc<Inbox>,
    clock: Clock,
}

impl Reactor {
    /// Prepares a shard and the way into it.
    pub(crate) fn new(plan: Plan, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let bell = Bell(mio::Waker::new(poll.registry(), WAKER)?);
        let inbox = Arc::new(Inbox::new(Waker::from(Arc::new(bell))));
        Ok(Self {
            worker: Worker::new(plan),
            poll,
            inbox,
            clock,
        })
    }

    /// The way into it.
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// What it counts.
    pub(crate) fn counts(&self) -> Arc<ShardCounts> {
        self.worker.counts()
    }

    /// Runs until it is drained.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.worker.is_drained() {
            self.hear(&mut events);
            self.take_inbox();
            self.worker.turn();
        }
    }

    /// Waits, and tells the worker what came. Before it judges anybody by the time, it is told all that came until then:
    /// after a pause of our own, which may have begun anywhere in here, the events at hand are old.
    fn hear(&mut self, events: &mut Events) {
        self.poll(events, self.sleep_ms());
        self.inbox.woke();
        self.worker.set_time(self.clock.now());
        self.tell(events);
        if self.worker.has_due() {
            // In as many batches as all connections fill, each that is ready comes once.
            for _ in 0..=self.worker.connections() / EVENTS_MAX {
                self.poll(events, 0);
                self.tell(events);
                if events.iter().count() < EVENTS_MAX {
                    break;
                }
            }
        }
    }

    fn poll(&mut self, events: &mut Events, sleep_ms: u64) {
        let mut sleep = Duration::from_millis(sleep_ms);
        while let Err(error) = self.poll.poll(events, Some(sleep)) {
            if error.kind() != io::ErrorKind::Interrupted {
                return event(Level::Error, "shard_poll_failed", &[("error", &error)]);
            }
            // By a signal: what came before it is still to be heard.
            sleep = Duration::ZERO;
        }
    }

    fn tell(&mut self, events: &Events) {
        for event in events {
            let slot = event.token().0;
            if event.is_writable() {
                self.worker.writable(slot);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.worker.readable(slot);
            }
        }
    }

    /// How long there is nothing to do, in milliseconds.
    fn sleep_ms(&self) -> u64 {
        let sleep_ms = self.worker.due_ms().saturating_sub(self.clock.now_ms());
        if sleep_ms == 0 || !self.inbox.may_sleep() {
            return 0;
        }
        sleep_ms.min(TICK_MS)
    }

    fn take_inbox(&mut self) {
        let waiting = self.inbox.take(self.worker.room());
        self.worker.take(waiting.entries);
        if waiting.drain {
            self.worker.drain();
        }
        for arrival in waiting.arrivals {
            self.admit(arrival);
        }
    }

    fn admit(&mut self, arrival: Arrival<std::net::TcpStream>) {
        let address = arrival.peer;
        let id = self.worker.admit(arrival.map(TcpStream::from_std));
        let Some(socket) = self.worker.socket(id) else {
            return;
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self
            .poll
            .registry()
            .register(socket, Token(id.slot()), both);
        if let Err(error) = registered {
            let fields: [(_, &dyn std::fmt::Display); 2] = [("peer", &address), ("error", &error)];
            event(Level::Error, "connection_lost", &fields);
            self.worker.close(id);
        }
    }
}
