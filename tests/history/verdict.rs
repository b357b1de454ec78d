//! What the checker says.

use std::fmt;

/// What kind of promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A publication is missing where nothing was told.
    Lost,
    /// It came, or landed, twice.
    Doubled,
    /// It came, or landed, out of order.
    Reordered,
    /// It reached somebody who may not see it.
    Crossed,
    /// `recovered`, with a hole or without grounds.
    FalseRecovery,
    /// Of another epoch than its connection.
    StaleEpoch,
    /// Before the channel's `subscribed`, or the welcome.
    Early,
    /// After the channel's `unsubscribed`, or the end.
    Late,
    /// Nobody published it, or it was declined, refused or dropped.
    Phantom,
    /// Repeated across epochs without saying so.
    Unmarked,
    /// A page resumed ahead of what it has.
    Skipped,
    /// A page named a cursor that it was never given.
    Invented,
    /// A replay without its end, a call without its answer.
    Unfinished,
}

/// One broken promise, and the lines that show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub fault: Fault,
    /// Numbers of lines, from 1.
    pub lines: Vec<usize>,
    /// What happened, with which values.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, lines, what } = self;
        write!(f, "{fault:?}: {what} (lines {lines:?})")
    }
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Published items.
    pub sent: u64,
    /// Of these, acked.
    pub acked: u64,
    /// Messages that came.
    pub deliveries: u64,
    /// Channels resumed whole.
    pub recovered: u64,
    /// Channels told lost.
    pub lost: u64,
    /// Of these, such of which nothing was missed.
    pub false_alarms: u64,
    /// Messages that a page had seen in an earlier epoch, marked as resent.
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

/// The checker's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Every broken promise; empty when all were kept.
    pub findings: Vec<Finding>,
    /// How much was judged.
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
