use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lineside_hub::{Checked, CheckedRevocation, Hub, PublishOutcome};
use lineside_protocol::Position;
use tokio::sync::watch;

use crate::clock::Now;
use crate::keyring::Keyring;
use crate::link::tail::Watches;
use crate::log::{Level, event};
use crate::shard::inbox::Inbox;

/// Where all sessions put what they take: the hub, and the way into every shard.
#[derive(Debug)]
pub struct Intake {
    pub(super) hub: Arc<Mutex<Hub>>,
    shards: Vec<Arc<Inbox>>,
    keys: Arc<Keyring>,
    pub(super) watches: Watches,
    newest: watch::Sender<Position>,
    /// As many as were reported.
    gaps: AtomicU64,
}

impl Intake {
    /// What lands in the hub goes to each of the shards; publishers are told the keys that tokens are verified with.
    #[must_use]
    pub fn new(hub: Arc<Mutex<Hub>>, shards: Vec<Arc<Inbox>>, keys: Arc<Keyring>) -> Self {
        Self {
            hub,
            shards,
            keys,
            watches: Watches::default(),
            newest: watch::Sender::new(Position::default()),
            gaps: AtomicU64::new(0),
        }
    }

    /// Whether no shard is behind by more than its limits. Otherwise nothing more is to be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shards.iter().all(|shard| shard.has_room())
    }

    /// Returns when there is room.
    pub(super) async fn room(&self) {
        for shard in &self.shards {
            shard.room().await;
        }
    }

    /// Forgets what is too old, and reports what was never received; to be called now and then.
    pub fn look_after(&self, now: Now) {
        let gaps = {
            let mut hub = self.hub();
            hub.journal.expire(now.ms);
            hub.revocations.expire(now.wall_ms);
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

    /// Takes a frame into the journal, and what is new there into every shard's inbox: under one lock, so that all see one
    /// order.
    pub(super) fn publish(
        &self,
        (publisher, link): ([u8; 16], u64),
        frame: &Checked,
        now_ms: u64,
    ) -> PublishOutcome {
        let mut hub = self.hub();
        let outcome = hub.publish(publisher, link, frame, now_ms);
        if let PublishOutcome::Landed { publications, .. } = &outcome {
            for shard in &self.shards {
                shard.publish(publications);
            }
            self.watches.offer(publications);
        }
        outcome
    }

    /// The same for a frame that signs somebody out.
    pub(super) fn revoke(
        &self,
        (publisher, link): ([u8; 16], u64),
        frame: &CheckedRevocation,
    ) -> PublishOutcome {
        let mut hub = self.hub();
        let outcome = hub.revoke(publisher, link, frame);
        if let PublishOutcome::Revoked {
            position,
            revocation,
        } = &outcome
        {
            for shard in &self.shards {
                shard.revoke(*position, revocation);
            }
        }
        outcome
    }

    /// The journal's newest position, which from now on is known: every session tells its publisher.
    pub(super) fn announce(&self) -> Position {
        let position = self.hub().journal.newest();
        self.newest.send_replace(position);
        position
    }

    /// The newest position that was announced.
    pub(super) fn newest(&self) -> Position {
        *self.newest.borrow()
    }

    /// Notices when that changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Position> {
        self.newest.subscribe()
    }

    /// What tokens are verified with, by the names that publishers compare.
    pub(super) fn fingerprints(&self) -> Vec<[u8; 8]> {
        self.keys.current().fingerprints()
    }

    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
