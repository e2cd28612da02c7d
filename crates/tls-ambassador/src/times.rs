//! Durations as a histogram that can also be read: ghostunnel's page tells percentiles, for which the library's has no door.
//!
//! Percentiles are the upper ends of their buckets, cut to the longest that was seen: at most twice (or four times, as the buckets
//! are) what they should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A histogram of seconds. Clones count into the same cells.
#[derive(Debug, Clone)]
pub struct Times(Arc<Cells>);

#[derive(Debug)]
struct Cells {
    /// Upper ends in seconds; the last one is infinite.
    bounds: Vec<f64>,
    counts: Vec<AtomicU64>,
    /// In nanoseconds, as are the others.
    sum: AtomicU64,
    shortest: AtomicU64,
    longest: AtomicU64,
}

/// What was seen so far, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// The shortest; zero when there is none.
    pub shortest: f64,
    /// The longest; zero when there is none.
    pub longest: f64,
    /// All of them together.
    pub sum: f64,
}

impl Times {
    /// With buckets that end at `bounds`, ascending, and one for all that is longer.
    #[must_use]
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let bounds: Vec<f64> = bounds.into_iter().chain([f64::MAX]).collect();
        let counts = bounds.iter().map(|_| AtomicU64::new(0)).collect();
        let (sum, longest) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Cells { bounds, counts, sum, shortest: AtomicU64::new(u64::MAX), longest }))
    }

    /// One more, of so many seconds.
    pub fn observe(&self, seconds: f64) {
        let nanoseconds = (seconds * 1e9) as u64;
        let at = self.0.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.0.bounds.len() - 1);
        self.0.counts[at].fetch_add(1, Ordering::Relaxed);
        self.0.sum.fetch_add(nanoseconds, Ordering::Relaxed);
        self.0.shortest.fetch_min(nanoseconds, Ordering::Relaxed);
        self.0.longest.fetch_max(nanoseconds, Ordering::Relaxed);
    }

    /// Counts, sum and extremes.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let count = self.0.counts.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        let seconds = |cell: &AtomicU64| cell.load(Ordering::Relaxed) as f64 / 1e9;
        let shortest = if count == 0 { 0.0 } else { seconds(&self.0.shortest) };
        Summary { count, shortest, longest: seconds(&self.0.longest), sum: seconds(&self.0.sum) }
    }

    /// What this share of all (0.5 is the median) was not longer than, in seconds.
    #[must_use]
    pub fn percentile(&self, share: f64) -> f64 {
        let Summary { count, longest, .. } = self.summary();
        let wanted = (share * count as f64).ceil() as u64;
        let mut seen = 0;
        for (bound, cell) in self.0.bounds.iter().zip(&self.0.counts) {
            seen += cell.load(Ordering::Relaxed);
            if seen >= wanted && seen > 0 {
                return bound.min(longest);
            }
        }
        longest
    }
}

impl TypedMetric for Times {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Times {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = self.0.counts.iter().map(|cell| cell.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = self.0.bounds.iter().copied().zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(self.summary().sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ends_of_buckets_and_never_longer_than_the_longest() {
        let times = Times::new([0.1, 1.0, 10.0]);
        assert_eq!((times.percentile(0.5), times.summary().count, times.summary().shortest), (0.0, 0, 0.0));
        for seconds in [0.05, 0.05, 0.5, 2.0] {
            times.observe(seconds);
        }
        assert_eq!((times.percentile(0.5), times.percentile(0.75), times.percentile(0.99)), (0.1, 1.0, 2.0));
        let summary = times.summary();
        assert_eq!((summary.count, summary.shortest, summary.longest), (4, 0.05, 2.0));
        times.observe(100.0);
        assert_eq!(times.percentile(1.0), 100.0);
    }
}
