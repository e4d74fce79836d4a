//! Medians, ranges, ratios round by round, and a histogram of latencies. Numbers only.

use serde::Serialize;
use std::time::Duration;

/// Median, least and greatest of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two middle ones.
    pub median: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
}

impl Spread {
    /// Of these values; `None` of none.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Spread { median, min, max })
    }

    /// Of the quotients `values[i] / baseline[i]`: each round is compared with its neighbour in time, so that what
    /// the machine did meanwhile does not count. `None` unless both have the same rounds and no baseline is zero.
    pub fn of_ratios(values: &[f64], baseline: &[f64]) -> Option<Spread> {
        if values.len() != baseline.len() || baseline.contains(&0.0) {
            return None;
        }
        let ratios: Vec<f64> = values.iter().zip(baseline).map(|(v, b)| v / b).collect();
        Spread::of(&ratios)
    }
}

/// Buckets for each power of two: a latency is known to within 1/32, about 3 %.
const BUCKETS_PER_DOUBLING: usize = 32;
/// Powers of two that are told apart: up to 2^40 ns, some 18 minutes.
const DOUBLINGS: usize = 40;

/// Counts latencies in buckets that grow with the latency. 1,280 counters, whatever is recorded.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: vec![0; BUCKETS_PER_DOUBLING * DOUBLINGS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.counts[Self::bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The latency that this share (0 to 1) of those counted does not exceed, to within a bucket. `None` of none.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(Duration::from_nanos(Self::upper(bucket)));
            }
        }
        None
    }

    fn bucket(nanos: u64) -> usize {
        let doublings = nanos.max(1).ilog2() as usize;
        let steps = BUCKETS_PER_DOUBLING.ilog2() as usize;
        if doublings < steps {
            return usize::try_from(nanos).unwrap_or(0);
        }
        let within =
            usize::try_from(nanos >> (doublings - steps)).unwrap_or(usize::MAX) - BUCKETS_PER_DOUBLING;
        let bucket = (doublings - steps + 1) * BUCKETS_PER_DOUBLING + within;
        bucket.min(BUCKETS_PER_DOUBLING * DOUBLINGS - 1)
    }

    fn upper(bucket: usize) -> u64 {
        let (doubling, within) = (bucket / BUCKETS_PER_DOUBLING, bucket % BUCKETS_PER_DOUBLING);
        match doubling {
            0 => within as u64,
            d => (((BUCKETS_PER_DOUBLING + within + 1) as u64) << (d - 1)) - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_spread_is_median_least_and_greatest() {
        type Row = (&'static [f64], Option<(f64, f64, f64)>);
        let table: &[Row] = &[
            (&[], None),
            (&[7.0], Some((7.0, 7.0, 7.0))),
            (&[3.0, 1.0], Some((2.0, 1.0, 3.0))),
            (&[9.0, 1.0, 2.0], Some((2.0, 1.0, 9.0))),
        ];
        for (values, expected) in table {
            let spread = Spread::of(values).map(|s| (s.median, s.min, s.max));
            assert_eq!(spread, *expected, "{values:?}");
        }
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let ratio = Spread::of_ratios(&[2.0, 40.0, 6.0], &[1.0, 10.0, 2.0]).expect("same rounds");
        assert_eq!((ratio.median, ratio.min, ratio.max), (3.0, 2.0, 4.0));
        assert_eq!(Spread::of_ratios(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(Spread::of_ratios(&[1.0], &[0.0]), None);
    }

    #[test]
    fn percentiles_of_known_latencies_are_known() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let micros = histogram.percentile(share).expect("some").as_secs_f64() * 1e6;
            assert!(
                (micros / expected - 1.0).abs() < 0.04,
                "{share}: {micros} for {expected}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_latency_to_within_a_thirty_second(nanos in 0u64..1 << 40) {
            let upper = Histogram::upper(Histogram::bucket(nanos));
            prop_assert!(upper >= nanos);
            prop_assert!(upper - nanos <= nanos / 32 + 1, "{nanos} became {upper}");
        }
    }
}
