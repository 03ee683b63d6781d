//! Medians and 95th percentiles of wall-clock times.

use std::time::Duration;

/// Times of one row and engine, in the order they were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn all(&self) -> &[Duration] {
        &self.0
    }

    /// The mean of the two middle ones when their number is even.
    pub(crate) fn median(&self) -> Option<Duration> {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        let upper = *sorted.get(middle)?;
        if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[middle - 1] + upper) / 2) }
    }

    /// The smallest sample that 95 % of them do not exceed.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let sorted = self.sorted();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }

    fn sorted(&self) -> Vec<Duration> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(milliseconds: impl IntoIterator<Item = u64>) -> Samples {
        Samples(milliseconds.into_iter().map(Duration::from_millis).collect())
    }

    #[test]
    fn the_median_ignores_order_and_outliers() {
        assert_eq!(samples([9, 1, 5]).median(), Some(Duration::from_millis(5)));
        assert_eq!(samples([1000, 2, 4, 1]).median(), Some(Duration::from_millis(3)));
        assert_eq!(samples([]).median(), None);
    }

    #[test]
    fn the_95th_percentile_is_a_sample() {
        assert_eq!(samples(1..=100).p95(), Some(Duration::from_millis(95)));
        assert_eq!(samples(1..=5).p95(), Some(Duration::from_millis(5)));
        assert_eq!(samples([]).p95(), None);
    }
}
