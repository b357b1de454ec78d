//! State of the sidecar without IO: journal, publishers, revocations, and the fan-out to connections.
//!
//! A frame of a publisher takes two steps. [`Hub::propose`] drops retransmissions; an engine orders what is new; and
//! [`Hub::apply`] gives it a position in the [`Journal`]. Each shard has a [`FanOut`], which
//! [dispatches](FanOut::dispatch) publications to the [`Outbox`] of each subscriber and says which connection is
//! [written next](FanOut::next_flush).
//!
//! A resume takes three calls: [`FanOut::resume`] says what to replay, [`Hub::replay`] collects it, and
//! [`FanOut::complete`] subscribes the connection. The replay ends at the position that the shard has dispatched, the seam,
//! and live publications begin there.
//!
//! No IO, no async, no clock and no randomness: time is an argument, in milliseconds of a clock that must not go back. The
//! results depend on the calls alone.

#![forbid(unsafe_code)]

mod counts;
mod encoding;
mod fan_out;
mod hub;
mod interest;
mod journal;
mod marks;
mod memory;
mod once;
mod outbox;
mod outcome;
mod publishers;
mod rejection;
mod revocations;
mod snapshot;
mod validation;

pub use counts::Counts;
pub use encoding::SnapshotError;
pub use fan_out::{
    ChannelVerdict, ConnectionId, DIRECT_SUBSCRIBERS_MAX, FanOut, PASS_PUBLICATIONS_MAX, Resume,
    Resumed, SLICE_CONNECTIONS,
};
pub use hub::{Encode, Entry, Hub, Ordered, Proposed};
pub use interest::Interest;
pub use journal::{
    HistoryLimits, Journal, Publication, REPLAY_POINTERS_MAX, Replay, ReplayAnswer, ReplayRequest,
    Unencoded, Verdict, Want,
};
pub use marks::{Begin, Confirmed, MARKS_MAX, MarkKey, MarkedConnection, PAGE_KEY_BYTES_MAX};
pub use memory::{Charged, Memory, Pool, Stage};
pub use outbox::{Framing, OUTBOX_ITEMS_MAX, Outbox, SLICES_MAX, WRITE_BYTES_MAX};
pub use outcome::Outcome;
pub use publishers::{ANSWERS_MAX, Greeting, Origin, PUBLISHERS_MAX, PublisherId, PublishersFull};
pub use rejection::Rejection;
pub use revocations::{
    REVOCATION_MS, REVOCATIONS_MAX, REVOKED_SESSIONS_MAX, Revocation, SET_BACK_MS_MAX,
};
pub use snapshot::SavedAt;
pub use validation::{ONCE_ID_BYTES_MAX, Proposal};
