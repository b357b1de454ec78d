//! Estimate of the memory that no pool counts.

/// Part of the estimate that one measurement takes for free: a percent in a second.
const FREE_DIVISOR: usize = 1000;

/// Estimate from the process's resident memory.
///
/// The allocator keeps memory that was released, and uses it again. So the difference between resident and counted memory is
/// only an upper bound of the rest. The rest grows only when resident memory grows by more than the pools do.
///
/// After a peak the rest is too high, because the allocator keeps that memory too. While memory is almost short, some of it
/// is [assumed to be free](Self::assume_free). Resident memory that grows nevertheless refutes as much of the assumption.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    resident: usize,
    counted: usize,
    other: usize,
    /// Memory that is assumed to be free, in bytes.
    free: usize,
}

impl Estimate {
    /// Returns the memory that no pool counts, in bytes. The pools are counted before and after resident memory is read: growth
    /// between the two is theirs.
    pub(super) fn other(&mut self, resident: usize, (before, after): (usize, usize)) -> usize {
        let (low, high) = (before.min(after), before.max(after));
        let grown = resident.saturating_sub(self.resident);
        let explained = high.saturating_sub(self.counted);
        let refuted = grown.min(self.free);
        let other = self.other + grown.saturating_sub(explained) + refuted;
        let uncounted = resident.saturating_sub(low);
        self.other = other.min(uncounted);
        self.free = (self.free - refuted).min(uncounted - self.other);
        self.resident = resident;
        self.counted = low;
        self.other
    }

    /// Takes some memory for free that the allocator may have kept since a peak, unless resident memory exceeds the ceiling.
    /// Call it while memory is almost short, after each measurement. Returns the memory that no pool counts, in bytes.
    pub(super) fn assume_free(&mut self, bytes_max: usize) -> usize {
        if self.resident <= bytes_max {
            let free = self.other / FREE_DIVISOR;
            self.other -= free;
            self.free += free;
        }
        self.other
    }
}
