//! How sure one is of a percentile, from a whole histogram.

use hdrhistogram::Histogram;

use super::{Interval, median};
use crate::result::Second;

/// Standard deviations on either side that hold 95 of 100.
const Z: f64 = 1.96;

/// How many times fewer answers a run is worth than it counted, for bounds of `quantile`; at least one. Answers within a second share
/// its fate. That shows in two ways, and the larger counts: medians that scatter more between seconds than those of independent
/// answers would (Kish's design effect), and answers beyond the quantile that come from fewer seconds than they would by chance.
pub(crate) fn design_effect(histogram: &Histogram<u64>, series: &[Second], quantile: f64) -> f64 {
    let seconds: Vec<&Second> = series.iter().filter(|second| second.acknowledged > 1).collect();
    let answers = seconds.iter().map(|second| second.acknowledged as f64).sum::<f64>() / seconds.len().max(1) as f64;
    scatter_of_medians(histogram, &seconds, answers).max(crowding(histogram, &seconds, answers, quantile)).max(1.0)
}

fn scatter_of_medians(histogram: &Histogram<u64>, seconds: &[&Second], answers: f64) -> f64 {
    let medians: Vec<f64> = seconds.iter().map(|second| second.p50_ms).collect();
    let Some(centre) = median(&medians).filter(|_| seconds.len() >= 5) else {
        return 1.0;
    };
    // The median absolute deviation: one second of a stall must not pass for scatter of all.
    let deviations: Vec<f64> = medians.iter().map(|each| (each - centre).abs()).collect();
    let scatter_ms = 1.4826 * median(&deviations).unwrap_or_default();
    let half = 0.5 / answers.sqrt();
    let expected_ms = ((at_ms(histogram, 0.5 + half) - at_ms(histogram, 0.5 - half)) / 2.0).max(0.001);
    (scatter_ms / expected_ms).powi(2)
}

/// Seconds that would hold an answer beyond the quantile if chance dealt them out, by those that do.
fn crowding(histogram: &Histogram<u64>, seconds: &[&Second], answers: f64, quantile: f64) -> f64 {
    let bound_ms = at_ms(histogram, quantile);
    let holding = seconds.iter().filter(|second| second.max_ms >= bound_ms).count();
    let expected = seconds.len() as f64 * (1.0 - quantile.powf(answers));
    expected / holding.max(1) as f64
}

fn at_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    histogram.value_at_quantile(quantile) as f64 / 1000.0
}

/// The bounds of `quantile` in milliseconds by order statistics, of a histogram worth `1 / effect` of its answers. `None` when so few
/// answers lie beyond the quantile that the upper bound would be past the longest.
pub(crate) fn quantile_interval(histogram: &Histogram<u64>, quantile: f64, effect: f64) -> Option<Interval> {
    let answers = histogram.len() as f64 / effect;
    let reach = Z * (quantile * (1.0 - quantile) / answers).sqrt();
    if answers.is_nan() || answers * (1.0 - quantile) < 3.0 || quantile + reach >= 1.0 {
        return None;
    }
    let at_ms = |quantile| at_ms(histogram, quantile);
    Some(Interval { low: at_ms((quantile - reach).max(0.0)), estimate: at_ms(quantile), high: at_ms(quantile + reach) })
}

/// One percentile by another, from their intervals (MOVER, Donner and Zou 2012, on logarithms).
pub(crate) fn quantile_ratio(base: Interval, new: Interval) -> Interval {
    let log = |value: f64| value.max(0.001).ln();
    let ratio = log(new.estimate) - log(base.estimate);
    let below = ((log(new.estimate) - log(new.low)).powi(2) + (log(base.high) - log(base.estimate)).powi(2)).sqrt();
    let above = ((log(new.high) - log(new.estimate)).powi(2) + (log(base.estimate) - log(base.low)).powi(2)).sqrt();
    Interval { low: (ratio - below).exp(), estimate: ratio.exp(), high: (ratio + above).exp() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::result::Latency;

    /// `seconds` of `answers` each around `mean_ms`; every second lies off by up to `drift` of it.
    fn run(mean_ms: f64, drift: f64, seconds: u64, answers: u64, seed: u64) -> (Histogram<u64>, Vec<Second>) {
        let mut random = Random::new(seed);
        let mut whole = Latency::empty_histogram();
        let series = (0..seconds)
            .map(|_| {
                let mut histogram = Latency::empty_histogram();
                let mean_ms = mean_ms * (1.0 + drift * (2.0 * random.unit() - 1.0));
                for _ in 0..answers {
                    histogram.saturating_record((1000.0 * random.exponential(mean_ms)) as u64 + 1);
                }
                whole.add(&histogram).unwrap();
                let latency = Latency::of(&histogram);
                Second { acknowledged: answers, p50_ms: latency.p50_ms, max_ms: latency.max_ms, ..Second::default() }
            })
            .collect();
        (whole, series)
    }

    #[test]
    fn independent_answers_are_worth_what_they_count_and_a_drifting_target_makes_them_worth_less() {
        let (histogram, series) = run(10.0, 0.0, 40, 500, 1);
        let independent = design_effect(&histogram, &series, 0.99);
        assert!(independent < 3.0, "{independent}");
        let (histogram, series) = run(10.0, 0.5, 40, 500, 2);
        let drifting = design_effect(&histogram, &series, 0.99);
        assert!(drifting > 10.0, "{drifting}");
    }

    #[test]
    fn a_tail_from_a_few_stalls_is_worth_a_few_answers() {
        let (mut histogram, mut series) = run(10.0, 0.0, 100, 200, 3);
        for second in series.iter_mut().take(3) {
            histogram.record_n(900_000, 100).unwrap();
            second.max_ms = 900.0;
        }
        let effect = design_effect(&histogram, &series, 0.99);
        assert!(effect > 20.0, "{effect}");
        assert!(design_effect(&histogram, &series, 0.5) < 3.0);
    }

    #[test]
    fn the_interval_holds_the_true_percentile_and_shrinks_with_answers() {
        let truth = 10.0 * 100.0_f64.ln();
        let missed = (0..60)
            .filter(|&seed| {
                let (histogram, _) = run(10.0, 0.0, 10, 400, seed);
                let p99 = quantile_interval(&histogram, 0.99, 1.0).unwrap();
                p99.low > truth || p99.high < truth
            })
            .count();
        assert!(missed <= 9, "{missed} of 60 where 3 are expected");
        let width = |answers| {
            let (histogram, _) = run(10.0, 0.0, 10, answers, 5);
            quantile_interval(&histogram, 0.9, 1.0).map(|p90| p90.high - p90.low).unwrap()
        };
        assert!(width(4000) < width(100) / 3.0);
    }

    #[test]
    fn a_rare_percentile_of_few_answers_has_no_interval() {
        let (histogram, _) = run(10.0, 0.0, 5, 100, 1);
        assert_eq!(quantile_interval(&histogram, 0.999, 1.0), None);
        assert_eq!(quantile_interval(&Latency::empty_histogram(), 0.5, 1.0), None);
    }

    #[test]
    fn a_ratio_is_as_unsure_as_both_of_its_sides() {
        let base = Interval { low: 9.0, estimate: 10.0, high: 11.0 };
        let new = Interval { low: 18.0, estimate: 20.0, high: 22.0 };
        let ratio = quantile_ratio(base, new);
        assert!((ratio.estimate - 2.0).abs() < 1e-9 && ratio.low < 1.76 && ratio.high > 2.28, "{ratio:?}");
        assert!(ratio.low > 1.6 && ratio.high < 2.4, "{ratio:?}");
    }
}
