//! Distributions of latencies: recorded as HDR histograms, told in milliseconds, kept whole.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HdrReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Longest latency that a histogram tells apart; what is above counts as this. One hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// A distribution of latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) min_ms: f64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// The whole of it: an HDR histogram of microseconds, V2 deflated, in base64; empty when nothing was counted.
    pub(crate) histogram: String,
}

impl Latency {
    /// An empty histogram of microseconds, to three significant digits, that counts what is too long as an hour.
    pub(crate) fn empty_histogram() -> Histogram<u64> {
        match Histogram::new_with_bounds(1, MAX_LATENCY_US, 3) {
            Ok(histogram) => histogram,
            Err(error) => unreachable!("constant bounds: {error}"),
        }
    }

    /// Sums up a histogram of microseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| us_to_ms(histogram.value_at_quantile(quantile));
        let mut bytes = Vec::new();
        let written = V2DeflateSerializer::new().serialize(histogram, &mut bytes);
        Self {
            count: histogram.len(),
            min_ms: us_to_ms(histogram.min()),
            mean_ms: histogram.mean() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: us_to_ms(histogram.max()),
            histogram: if written.is_ok() { BASE64.encode(&bytes) } else { String::new() },
        }
    }

    /// The histogram of microseconds again; `None` when nothing was counted or the text is none of ours.
    pub(crate) fn histogram(&self) -> Option<Histogram<u64>> {
        let bytes = BASE64.decode(&self.histogram).ok()?;
        HdrReader::new().deserialize(&mut &bytes[..]).ok()
    }
}

/// Milliseconds of so many microseconds.
pub(crate) fn us_to_ms(us: u64) -> f64 {
    us as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_keeps_its_whole_distribution_through_json() {
        let mut recorder = Latency::empty_histogram();
        for us in 1..=100_000 {
            recorder.saturating_record(us);
        }
        let latency = Latency::of(&recorder);
        let read: Latency = serde_json::from_str(&serde_json::to_string(&latency).unwrap()).unwrap();
        assert_eq!(read, latency);
        assert!((read.p99_ms - 99.0).abs() < 0.1 && (read.p999_ms - 99.9).abs() < 0.1, "{read:?}");
        assert_eq!(read.histogram().unwrap(), recorder);
    }

    #[test]
    fn nothing_measured_is_zeros_and_no_histogram() {
        let latency = Latency::of(&Latency::empty_histogram());
        assert_eq!(latency, Latency::default());
        assert!(latency.histogram().is_none());
    }

    #[test]
    fn a_latency_beyond_the_bounds_counts_as_the_longest() {
        let mut recorder = Latency::empty_histogram();
        recorder.saturating_record(u64::MAX);
        assert!(Latency::of(&recorder).max_ms >= 3_600_000.0);
    }
}
