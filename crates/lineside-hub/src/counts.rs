//! Counters and sizes of a hub.

use std::collections::BTreeMap;

use lineside_protocol::Position;

use crate::outcome::Outcome;
use crate::validation::ValidPublication;

/// Counters since the start of the process, and the sizes at the time of the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publications that landed in the journal.
    pub landed: u64,
    /// Bytes of their payloads.
    pub landed_bytes: u64,
    /// Frames of which nothing landed because it had landed before.
    pub duplicates: u64,
    /// Revocations.
    pub revoked: u64,
    /// Rejected frames by the name of the error code.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Linked publishers.
    pub linked: usize,
    /// Jumps in the sequences of publishers.
    pub gaps: u64,
    /// Publications in the journal.
    pub journal_publications: usize,
    /// Size of the journal as counted against [`HistoryLimits::bytes_max`](crate::HistoryLimits::bytes_max).
    pub journal_bytes: usize,
    /// Channels with a publication in the journal.
    pub journal_channels: usize,
    /// Newest position.
    pub newest: Position,
}

impl Counts {
    pub(crate) fn land(&mut self, publication: &ValidPublication) {
        self.landed += 1;
        self.landed_bytes += publication.payload.len() as u64;
    }

    /// Counts a frame that added no publication. A retransmission of a rejected frame counts again.
    pub(crate) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Landed {
                duplicate: true, ..
            }
            | Outcome::Known { .. } => self.duplicates += 1,
            Outcome::Revoked { .. } => self.revoked += 1,
            Outcome::Rejected(rejection) => {
                *self.rejected.entry(rejection.code.name).or_default() += 1;
            }
            Outcome::Landed { .. } | Outcome::Skipped | Outcome::UnderWay | Outcome::Replaced => {}
        }
    }
}
