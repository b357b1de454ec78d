//! Estimate of the memory that no pool counts.

/// Estimate from the process's resident memory.
///
/// The allocator keeps memory that pools have released, and uses it again. So the difference between resident and counted
/// memory is only an upper bound of the rest. The rest grows only when resident memory grows by more than the pools do.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    resident: usize,
    counted: usize,
    other: usize,
}

impl Estimate {
    /// Returns the memory that no pool counts, in bytes. The pools are counted before and after resident memory is read: growth
    /// between the two is theirs.
    pub(super) fn other(&mut self, resident: usize, (before, after): (usize, usize)) -> usize {
        let (low, high) = (before.min(after), before.max(after));
        let grown = resident.saturating_sub(self.resident);
        let explained = high.saturating_sub(self.counted);
        let other = self.other + grown.saturating_sub(explained);
        self.other = other.min(resident.saturating_sub(low));
        self.resident = resident;
        self.counted = low;
        self.other
    }
}
