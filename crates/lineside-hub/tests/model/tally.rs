//! How much of what may happen did.

/// How often the interesting things happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) fresh: u64,
    pub(crate) recovered: u64,
    pub(crate) lost: u64,
    pub(crate) replayed: u64,
    pub(crate) waited: u64,
    pub(crate) partly_written: u64,
    pub(crate) cut_in_replay: u64,
    pub(crate) blocked: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.recovered += other.recovered;
        self.lost += other.lost;
        self.replayed += other.replayed;
        self.waited += other.waited;
        self.partly_written += other.partly_written;
        self.cut_in_replay += other.cut_in_replay;
        self.blocked += other.blocked;
    }

    /// A run in which something never happens proves nothing about it.
    pub(crate) fn assert_everything_happened(&self, seeds: u64) {
        let Self {
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            partly_written,
            cut_in_replay,
            blocked,
        } = *self;
        let counts = [
            fresh,
            recovered,
            lost,
            replayed,
            waited,
            partly_written,
            cut_in_replay,
            blocked,
        ];
        assert!(counts.iter().all(|count| *count > seeds / 4), "{self:?}");
    }
}
