//! What became of the frames of publishers, in numbers.

use std::collections::BTreeMap;

use crate::door::Passed;
use crate::outcome::PublishOutcome;

/// Since the hub began. Plain numbers under the lock that guards the hub anyway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Publications that landed in the journal.
    pub landed: u64,
    /// Bytes of their payloads.
    pub landed_bytes: u64,
    /// Frames of which nothing landed, because it had before.
    pub duplicates: u64,
    /// Sign-outs.
    pub revoked: u64,
    /// Frames that were refused, by the name of the code: as many entries as there are codes.
    pub refused: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub(crate) fn land(&mut self, passed: &Passed) {
        self.landed += 1;
        self.landed_bytes += passed.payload.len() as u64;
    }

    /// Counts the frames of which nothing landed. One that was refused before counts again: it was sent again.
    pub(crate) fn note(&mut self, outcome: &PublishOutcome) {
        match outcome {
            PublishOutcome::Landed {
                duplicate: true, ..
            }
            | PublishOutcome::Known { .. } => self.duplicates += 1,
            PublishOutcome::Revoked { .. } => self.revoked += 1,
            PublishOutcome::Refused(refused) => {
                *self.refused.entry(refused.code.name).or_default() += 1;
            }
            PublishOutcome::Landed { .. } | PublishOutcome::Replaced => {}
        }
    }
}
