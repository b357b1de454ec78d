//! Thread around a worker: waits for the kernel, the inbox, new connections and new links, and drives the worker and its
//! links.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::task::{Wake, Waker};
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Token};

use super::links::{LinkQueue, Links, NewLink};
use super::{Arrival, Arrivals, Plan, Socket, Worker};
use crate::broker::Inbox;
use crate::clock::{Clock, Now};
use crate::log::{Level, event};
use crate::metrics::ShardCounts;

/// Maximum sleep without an event, in milliseconds.
const TICK_MS: u64 = 1000;

/// Time after the last entry in which publications without a subscriber do not wake a shard, in milliseconds. Of many shards, a
/// publication to one user wakes one.
const QUIET_MS: u64 = 10;

/// Maximum number of events taken from the kernel at a time.
const EVENTS_MAX: usize = 256;

/// Token of the waker. Connections have the number of their slot.
const WAKER: Token = Token(usize::MAX);

/// Token of the link with the number zero.
const LINKS: usize = usize::MAX / 2;

impl Socket for TcpStream {
    fn reset_on_close(&mut self) {
        // Otherwise the kernel would keep megabytes for a browser that does not read. If this fails, it does.
        let _kept = socket2::SockRef::from(&*self).set_linger(Some(Duration::ZERO));
    }
}

/// Wakes a thread that waits in its poll.
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // If this fails, the shard wakes up at its next tick.
        let _late = self.0.wake();
    }
}

/// One shard before its thread starts: its poll, its inbox, and its queues of new connections and links.
#[derive(Debug)]
pub(crate) struct Reactor {
    poll: Poll,
    inbox: Arc<Inbox>,
    arrivals: Arc<Arrivals>,
    arrived: Receiver<Arrival<std::net::TcpStream>>,
    link_queue: Arc<LinkQueue>,
    new_links: Receiver<NewLink<std::os::unix::net::UnixStream>>,
    counts: Arc<ShardCounts>,
    clock: Clock,
}

/// A running shard.
struct Running {
    worker: Worker<TcpStream>,
    links: Links<UnixStream>,
    poll: Poll,
    inbox: Arc<Inbox>,
    arrived: Receiver<Arrival<std::net::TcpStream>>,
    new_links: Receiver<NewLink<std::os::unix::net::UnixStream>>,
    clock: Clock,
    /// Time of this turn.
    now: Now,
    /// Time up to which publications without a subscriber do not wake the shard, in milliseconds.
    quiet_until_ms: u64,
}

impl Reactor {
    pub(crate) fn new(clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::from(Arc::new(PollWaker(mio::Waker::new(
            poll.registry(),
            WAKER,
        )?)));
        let (arrivals, arrived) = Arrivals::new(waker.clone());
        let (link_queue, new_links) = LinkQueue::new(waker.clone());
        Ok(Self {
            poll,
            inbox: Arc::new(Inbox::new(waker)),
            arrivals: Arc::new(arrivals),
            arrived,
            link_queue: Arc::new(link_queue),
            new_links,
            counts: Arc::default(),
            clock,
        })
    }

    /// Queue of entries for this shard.
    pub(crate) fn inbox(&self) -> Arc<Inbox> {
        Arc::clone(&self.inbox)
    }

    /// Queue of new connections for this shard.
    pub(crate) fn arrivals(&self) -> Arc<Arrivals> {
        Arc::clone(&self.arrivals)
    }

    /// Queue of new links for this shard.
    pub(crate) fn link_queue(&self) -> Arc<LinkQueue> {
        Arc::clone(&self.link_queue)
    }

    /// Counters of this shard.
    pub(crate) fn counts(&self) -> Arc<ShardCounts> {
        Arc::clone(&self.counts)
    }

    /// Runs the shard on the calling thread until it has drained.
    pub(crate) fn run(self, plan: Plan) {
        let broker = Arc::clone(&plan.broker);
        let keys = Arc::clone(&plan.rules.keys);
        let mut running = Running {
            links: Links::new(plan.shard, broker, keys),
            worker: Worker::with_counts(plan, self.counts),
            poll: self.poll,
            inbox: self.inbox,
            arrived: self.arrived,
            new_links: self.new_links,
            clock: self.clock,
            now: self.clock.now(),
            quiet_until_ms: 0,
        };
        running.inbox.set_interest(running.worker.interest());
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !running.worker.is_drained() {
            running.report(&mut events);
            // A connection begins at the dispatched position. So the inbox is taken after the arrivals, and dispatched before they
            // are admitted, as far as the turn allows.
            let arrived: Vec<_> = running.arrived.try_iter().collect();
            running.turn_links();
            running.take_inbox();
            running.worker.turn();
            for arrival in arrived {
                running.admit(arrival);
            }
        }
    }
}

impl Running {
    /// Waits for events, and reports them to the worker. If a timer is due, reports every event that is ready by now first:
    /// the process may have been suspended, and then the events at hand are older than the clock.
    fn report(&mut self, events: &mut Events) {
        self.poll(events, self.sleep_ms());
        self.inbox.woke();
        self.now = self.clock.now();
        self.worker.set_time(self.now);
        self.report_events(events);
        if self.worker.has_due() {
            // Each ready connection appears once, in as many batches as all connections fill.
            for _ in 0..=self.worker.connections() / EVENTS_MAX {
                self.poll(events, 0);
                self.report_events(events);
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
                return event!(Level::Error, "shard_poll_failed", error);
            }
            // Interrupted by a signal. Collect the events that came before it.
            sleep = Duration::ZERO;
        }
    }

    fn report_events(&mut self, events: &Events) {
        for event in events {
            let token = event.token();
            if token == WAKER {
                continue;
            }
            let is_ended = event.is_read_closed() || event.is_error();
            let is_readable = event.is_readable() || is_ended;
            if let Some(number) = token.0.checked_sub(LINKS) {
                let number = number as u64;
                if event.is_writable() {
                    self.links.writable(number, self.now);
                }
                if is_readable {
                    self.links.readable(number, is_ended);
                }
            } else {
                if event.is_writable() {
                    self.worker.writable(token.0);
                }
                if is_readable {
                    self.worker.readable(token.0);
                }
            }
        }
    }

    /// Time until there is work, in milliseconds.
    fn sleep_ms(&self) -> u64 {
        let now_ms = self.clock.now_ms();
        let quiet_until_ms = Some(self.quiet_until_ms).filter(|until_ms| now_ms < *until_ms);
        let due_ms = self.worker.due_ms().min(self.links.due_ms());
        let due_ms = due_ms.min(quiet_until_ms.unwrap_or(u64::MAX));
        let sleep_ms = due_ms.saturating_sub(now_ms);
        if sleep_ms == 0 || !self.inbox.may_sleep(quiet_until_ms) {
            return 0;
        }
        sleep_ms.min(TICK_MS)
    }

    /// Reads links before the inbox is taken, so that the connections of this shard receive their publications in the same turn.
    fn turn_links(&mut self) {
        while let Ok(link) = self.new_links.try_recv() {
            self.admit_link(link);
        }
        self.links.turn(self.now, self.worker.dispatched());
        self.watch_blocked();
    }

    /// Watches links whose kernel buffer has become full.
    fn watch_blocked(&mut self) {
        while let Some(number) = self.links.next_blocked() {
            let both = Interest::READABLE | Interest::WRITABLE;
            if let Some(socket) = self.links.socket(number) {
                let token = link_token(number);
                // If this fails, its publisher is sent nothing more, and connects again.
                let _unwatched = self.poll.registry().reregister(socket, token, both);
            }
        }
    }

    fn admit_link(&mut self, link: NewLink<std::os::unix::net::UnixStream>) {
        let number = link.number;
        let mut link = link.map(UnixStream::from_std);
        // Only readable: a publisher that reads its acks would wake the shard each time.
        let registry = self.poll.registry();
        let registered =
            registry.register(&mut link.socket, link_token(number), Interest::READABLE);
        match registered {
            Ok(()) => self.links.admit(link, self.now),
            Err(error) => event!(Level::Error, "link_lost", link = number, error),
        }
    }

    fn take_inbox(&mut self) {
        let taken = self.inbox.take(self.worker.room());
        if !taken.entries.is_empty() {
            self.quiet_until_ms = self.now.ms + QUIET_MS;
        }
        self.worker.enqueue(taken.entries);
        self.worker.handle_runner_events(taken.runner_events);
        self.worker.settle(taken.settles);
        for number in taken.replaced_links {
            self.links.replace(number, self.now);
        }
        if taken.stop_links {
            self.links.stop(self.now);
        }
        self.watch_blocked();
        if taken.drain {
            self.worker.drain();
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
            log_lost(address, &error);
            self.worker.close(id);
        }
    }
}

fn link_token(number: u64) -> Token {
    // Numbers grow by one for each link, so they stay small.
    Token(LINKS + usize::try_from(number).unwrap_or_default())
}

fn log_lost(peer: SocketAddr, error: &io::Error) {
    event!(Level::Error, "connection_lost", peer, error);
}
