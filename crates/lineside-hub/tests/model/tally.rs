//! Counters of the cases that the runs covered.

/// Number of occurrences of each case.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) fresh: u64,
    pub(crate) recovered: u64,
    pub(crate) lost: u64,
    pub(crate) replayed: u64,
    pub(crate) waited: u64,
    /// Number of gaps that the run left between positions.
    pub(crate) gaps: u64,
    pub(crate) partly_written: u64,
    /// Connections closed during a replay.
    pub(crate) closed_in_replay: u64,
    pub(crate) blocked: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.replayed += other.replayed;
        self.waited += other.waited;
        self.gaps += other.gaps;
        self.partly_written += other.partly_written;
        self.closed_in_replay += other.closed_in_replay;
        self.blocked += other.blocked;
    }

    /// Fails if a case is rare, because rare cases are hardly tested.
    pub(crate) fn assert_all_frequent(&self, seeds: u64) {
        let Self {
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            gaps,
            partly_written,
            closed_in_replay,
            blocked,
        } = *self;
        let counts = [
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            gaps,
            partly_written,
            closed_in_replay,
            blocked,
        ];
        assert!(counts.iter().all(|count| *count > seeds / 4), "{self:?}");
    }
}
