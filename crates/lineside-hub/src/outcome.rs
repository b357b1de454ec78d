//! Final result of a frame.

use std::sync::Arc;

use lineside_protocol::Position;

use crate::journal::Publication;
use crate::rejection::Rejection;
use crate::revocations::Revocation;

/// Final result of a frame, and the basis of its answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The publications are in the journal. Ack, and send the receipt if one is wanted.
    Landed {
        /// New publications in order, for every shard. Empty for a duplicate.
        publications: Vec<Arc<Publication>>,
        /// Position of the last publication.
        receipt: Position,
        /// All of them had landed before, under their `once` id.
        duplicate: bool,
    },
    /// The revocation is in the journal. Ack, and send the receipt if one is wanted.
    Revoked {
        /// Position of the entry, for every shard to [pass](crate::FanOut::pass).
        position: Position,
        /// The revocation, for every shard to close the connections that it covers.
        revocation: Arc<Revocation>,
    },
    /// The publisher dropped the frames before sending them. Ack.
    Skipped,
    /// A retransmission of a frame that landed before. Ack, and send the receipt if one is wanted and known.
    Known {
        /// Receipt of the first transmission. `None` if [`ANSWERS_MAX`](crate::ANSWERS_MAX) later answers to the same
        /// publisher have replaced it: a later position would make a page that resumes after it miss what lies between.
        receipt: Option<Position>,
        /// The `duplicate` of the first transmission.
        duplicate: bool,
    },
    /// Permanently rejected, now or at the first transmission. Send a refusal, then ack.
    Rejected(Rejection),
    /// A retransmission of a frame that is not ordered yet. Its outcome follows when it is applied.
    UnderWay,
    /// The link is not the publisher's newest. Discard the frame and the rest of the link's input.
    Replaced,
}
