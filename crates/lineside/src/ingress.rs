//! From the link into the journal: one task a publisher ([`Session`]), and what all of them share.
//!
//! Everything that one read brought is inspected outside the hub's lock, taken into the journal under it, put into every
//! shard's inbox under it too, and acked at once. A publisher whose link we cannot read (a shard is behind) or write (it
//! reads no acks) waits in its own spool, and nobody else does.

mod session;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use interprocess::local_socket::tokio::Stream;
use lineside_hub::Hub;
use lineside_protocol::Position;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::inbox::Inbox;
use crate::keyring::Keyring;
use crate::log::{Level, event};
use session::{End, Session};

/// What all links share.
#[derive(Debug)]
pub(crate) struct Ingress {
    hub: Arc<Mutex<Hub>>,
    shards: Vec<Arc<Inbox>>,
    keys: Arc<Keyring>,
    clock: Clock,
    newest: watch::Sender<Position>,
    stop: watch::Sender<bool>,
    links: Mutex<HashMap<u64, Arc<Notify>>>,
    next_link: AtomicU64,
    /// As many as were reported.
    gaps: AtomicU64,
}

impl Ingress {
    pub(crate) fn new(
        hub: Arc<Mutex<Hub>>,
        shards: Vec<Arc<Inbox>>,
        keys: Arc<Keyring>,
        clock: Clock,
    ) -> Self {
        Self {
            hub,
            shards,
            keys,
            clock,
            newest: watch::Sender::new(Position::default()),
            stop: watch::Sender::new(false),
            links: Mutex::default(),
            next_link: AtomicU64::new(1),
            gaps: AtomicU64::new(0),
        }
    }

    /// The next link's number. A publisher's newest link is the one with the highest, so they are given in the order in
    /// which links are accepted.
    pub(crate) fn number_link(&self) -> u64 {
        self.next_link.fetch_add(1, Ordering::Relaxed)
    }

    /// Serves one link until it ends.
    pub(crate) async fn serve(&self, number: u64, stream: Stream) {
        let replaced = Arc::new(Notify::new());
        let mut session = Session::new(self, &stream, number);
        let end = tokio::select! {
            end = session.run(&replaced) => end,
            () = replaced.notified() => End::replaced(),
        };
        session.close(end).await;
    }

    /// Ends every link after what it has sent so far, and takes no more.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Forgets what is too old, and reports what was never received; to be called now and then.
    pub(crate) fn look_after(&self) {
        let gaps = {
            let mut hub = self.hub();
            hub.journal.expire(self.clock.now_ms());
            hub.revocations.expire(self.clock.wall_ms());
            hub.publishers.gaps()
        };
        if self.gaps.swap(gaps, Ordering::Relaxed) != gaps {
            let meaning =
                "a publisher's sequence jumped: frames were lost between it and this sidecar";
            event(
                Level::Error,
                "sequence_gap",
                &[("gaps", &gaps), ("meaning", &meaning)],
            );
        }
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn links(&self) -> MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
