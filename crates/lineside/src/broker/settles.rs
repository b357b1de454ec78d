//! Requests to wait until every connection has everything that was published before, as system tests make them.

use lineside_protocol::Position;
use lineside_protocol::frame::Laggard;
use tokio::sync::oneshot;

/// Request to one shard. Dropped without an answer if the shard ends.
#[derive(Debug)]
pub struct Settle {
    /// Position of the newest entry at the request.
    pub position: Position,
    /// Deadline, in milliseconds of the sidecar's clock.
    pub until_ms: u64,
    reply: oneshot::Sender<Standing>,
}

/// State of a shard's connections at the end of the wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Number of connections that have answered.
    pub connections: usize,
    /// Some of the connections that have not.
    pub laggards: Vec<Laggard>,
    /// Number of the others that have not.
    pub more: usize,
}

impl Settle {
    /// Creates a request, and the receiver of its answer.
    #[must_use]
    pub fn new(position: Position, until_ms: u64) -> (Self, oneshot::Receiver<Standing>) {
        let (reply, answer) = oneshot::channel();
        let settle = Self {
            position,
            until_ms,
            reply,
        };
        (settle, answer)
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Ends the wait.
    pub fn answer(self, standing: Standing) {
        // The process that asked may have ended.
        let _unread = self.reply.send(standing);
    }
}
