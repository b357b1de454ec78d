//! Latencies, counted in buckets so that millions of them cost little memory.

/// Buckets of each power of two: latencies are exact to 1.6 %.
const STEPS: u64 = 64;
/// Number of buckets: enough for latencies of an hour in microseconds.
const BUCKETS: usize = 64 * 28;

/// Latencies in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, micros: u64) {
        let shift = micros.max(STEPS).ilog2() - STEPS.ilog2();
        let index = u64::from(shift) * STEPS + (micros >> shift);
        let index = usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.counts[index] += 1;
        self.total += 1;
    }

    /// A percentile, in milliseconds; `NaN` without latencies.
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies of an hour in microseconds are exact"
    )]
    pub(super) fn percentile(&self, percent: u64) -> f64 {
        let rank = (self.total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let index = index as u64;
                let shift = (index / STEPS).saturating_sub(1);
                return ((index - shift * STEPS) << shift) as f64 / 1000.0;
            }
        }
        f64::NAN
    }
}
