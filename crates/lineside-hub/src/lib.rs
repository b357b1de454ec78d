//! The hub: the journal in memory, who is subscribed to what, and what each connection is yet to be sent.
//!
//! A publication takes one path: the [`Hub`] (one per process) checks who sent it and appends it to the [`Journal`];
//! each [`Shard`] (one per thread) [dispatches](Shard::dispatch) it into the outboxes of its subscribers, and says which
//! [outbox is written next](Shard::next_flush). A resume takes from the journal what lies before the shard's dispatched
//! position and leaves the rest to the dispatch: that position is the seam.
//!
//! No IO, no async, no clock and no randomness: time is an argument, in milliseconds of a clock that should not go
//! backwards. What comes out depends on the calls alone.

#![forbid(unsafe_code)]

mod counts;
mod door;
mod encoding;
mod hub;
mod journal;
mod once;
mod outbox;
mod outcome;
mod publishers;
mod revocations;
mod shard;
mod state;

pub use counts::Counts;
pub use door::{Checked, ONCE_ID_BYTES_MAX, Refused};
pub use encoding::StateError;
pub use hub::Hub;
pub use journal::{HistoryLimits, Journal, Publication, Replay, Wanted};
pub use once::OnceIds;
pub use outbox::{OUTBOX_ITEMS_MAX, Outbox, SLICES_MAX, WRITE_BYTES_MAX};
pub use outcome::PublishOutcome;
pub use publishers::{
    ANSWERS_MAX, Admission, Answer, Greeting, PUBLISHERS_MAX, Publishers, PublishersFull,
};
pub use revocations::{
    CheckedRevocation, REVOCATION_MS, REVOCATIONS_MAX, Revocation, Revocations, SESSION_BYTES_MAX,
};
pub use shard::{
    ConnectionId, DIRECT_SUBSCRIBERS_MAX, Outcome, PASS_PUBLICATIONS_MAX, Resume, Resumed,
    SLICE_CONNECTIONS, Shard, Verdict, Want,
};
pub use state::SavedAt;
