//! Findings and counts of the checker.

use std::fmt;

/// Kind of broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A publication is missing, and the page received no `lost`.
    Lost,
    /// A publication arrived twice, or is in the journal twice.
    Repeated,
    /// A publication arrived, or is in the journal, out of order.
    Reordered,
    /// A publication reached a page that may not read it.
    Unauthorized,
    /// `recovered` with a gap, or for nothing that can be resumed.
    FalseRecovery,
    /// A cursor of another epoch than its connection.
    StaleEpoch,
    /// A message before the channel's `subscribed`, or before the welcome.
    Early,
    /// A message after the channel's `unsubscribed`, or after the close.
    Late,
    /// A message that was never published, or was declined, refused or dropped.
    NotPublished,
    /// A message repeated across epochs and not marked `resent`.
    NotMarkedResent,
    /// A page resumed after a cursor ahead of what it has.
    AheadOfState,
    /// A page sent a cursor that it never received.
    UnknownCursor,
    /// A replay without `caught_up`, or a call without an answer.
    Unfinished,
}

/// One broken promise, and the lines that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind of promise.
    pub fault: Fault,
    /// Line numbers in the log, from 1.
    pub lines: Vec<usize>,
    /// Description with the values.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, lines, what } = self;
        write!(f, "{fault:?}: {what} (lines {lines:?})")
    }
}

/// Amounts that were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Published items.
    pub sent: u64,
    /// Published items that were acked.
    pub acked: u64,
    /// Messages received.
    pub deliveries: u64,
    /// Channels that resumed as `recovered`.
    pub recovered: u64,
    /// Channels that resumed as `lost`.
    pub lost: u64,
    /// Channels answered `lost` although nothing was missed.
    pub false_alarms: u64,
    /// Messages marked `resent` that the page had received in an earlier epoch.
    pub repeated: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.deliveries += other.deliveries;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.false_alarms += other.false_alarms;
        self.repeated += other.repeated;
    }
}

/// Result of the checker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// All broken promises.
    pub findings: Vec<Finding>,
    /// Amounts that were checked.
    pub counts: Counts,
}

impl Judgement {
    pub(super) fn find(
        &mut self,
        fault: Fault,
        lines: impl Into<Vec<usize>>,
        what: impl Into<String>,
    ) {
        let (lines, what) = (lines.into(), what.into());
        self.findings.push(Finding { fault, lines, what });
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{} findings; {:?}", self.findings.len(), self.counts)
    }
}
