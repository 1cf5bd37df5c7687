//! A distribution of durations, printed as operators read it: min, median, p99, max.

use std::fmt;
use std::time::Duration;

/// Durations of one experiment, in any order.
#[derive(Debug, Default, Clone)]
pub struct Distribution {
    samples: Vec<Duration>,
}

impl Distribution {
    /// Adds one measurement.
    pub fn add(&mut self, sample: Duration) {
        self.samples.push(sample);
    }

    /// How many measurements there are.
    pub fn count(&self) -> usize {
        self.samples.len()
    }

    /// The value below which `percent` of the measurements lie (nearest rank), or zero when there
    /// is none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "n={} min={} median={} p99={} max={} ms",
            self.count(),
            self.percentile(0).as_millis(),
            self.percentile(50).as_millis(),
            self.percentile(99).as_millis(),
            self.percentile(100).as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Distribution;
    use std::time::Duration;

    #[test]
    fn ranks_are_nearest() {
        let mut distribution = Distribution::default();
        for ms in [5_u64, 1, 4, 2, 3] {
            distribution.add(Duration::from_millis(ms));
        }
        let at = |percent| distribution.percentile(percent).as_millis();
        assert_eq!((at(0), at(50), at(99), at(100)), (1, 3, 5, 5));
        assert_eq!(Distribution::default().percentile(99), Duration::ZERO);
    }
}
