use std::sync::Arc;

use lineside_protocol::Position;

use crate::door::Refused;
use crate::journal::Publication;
use crate::revocations::Revocation;

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is in the journal. Ack it, and answer with the receipt if it wants one.
    Landed {
        /// What is new there, in order: for every shard to dispatch. Empty for a duplicate.
        publications: Vec<Arc<Publication>>,
        /// Where its last publication stands.
        receipt: Position,
        /// All of it had landed before, under its `once` id.
        duplicate: bool,
    },
    /// It is in the journal. Ack it, and answer with the receipt if it wants one.
    Revoked {
        /// Where it stands: for every shard to [pass](crate::Shard::pass).
        position: Position,
        /// Whose connections are to be closed.
        revocation: Arc<Revocation>,
    },
    /// It was sent before and has landed. Ack it, and answer with the receipt if it wants one.
    Known {
        /// What it was answered the first time. After [`ANSWERS_MAX`](crate::ANSWERS_MAX) later answers to the same
        /// publisher that is forgotten: then it is acked without a receipt, since a position that is too high would let
        /// a page that resumes after it miss what lies between.
        receipt: Option<Position>,
        /// As it was answered the first time.
        duplicate: bool,
    },
    /// It will never be taken, now or the first time it was sent. Say so, and ack it: it is dealt with.
    Refused(Refused),
    /// It came on a link that is not its publisher's newest. Discard it, and the rest of that link.
    Replaced,
}
