//! Two sets of runs against each other. A run is one observation, however many seconds it had: neighbouring seconds resemble each other,
//! and what a host does to one run it does to all seconds of it.

use std::f64::consts::FRAC_PI_2;

use super::{Interval, mean};

/// With fewer runs on either side nothing is known of how much runs differ by themselves.
pub(crate) const MIN_RUNS: usize = 3;

/// The new by the base, with bounds that hold the true ratio in a share of `confidence` of all cases. `None` of fewer than [`MIN_RUNS`] on either side, or of figures that are not all positive. When `paired`, the runs of a place in both rows were made next to
/// each other, and what drifts between the pairs does not count (Student's t of the differences of logarithms); otherwise Welch's.
pub(crate) fn ratio_of_runs(base: &[f64], new: &[f64], paired: bool, confidence: f64) -> Option<Interval> {
    let usable =
        |values: &[f64]| values.len() >= MIN_RUNS && values.iter().all(|value| *value > 0.0 && value.is_finite());
    if !usable(base) || !usable(new) || paired && base.len() != new.len() {
        return None;
    }
    let logs = |values: &[f64]| values.iter().map(|value| value.ln()).collect::<Vec<f64>>();
    let (base, new) = (logs(base), logs(new));
    let (estimate, error, freedom) = if paired {
        let differences: Vec<f64> = new.iter().zip(&base).map(|(new, base)| new - base).collect();
        (mean(&differences), (variance(&differences) / differences.len() as f64).sqrt(), differences.len() - 1)
    } else {
        let parts = [&base, &new].map(|values| (variance(values) / values.len() as f64, values.len() as f64 - 1.0));
        let [(of_base, base_freedom), (of_new, new_freedom)] = parts;
        let welch = (of_base + of_new).powi(2) / (of_base.powi(2) / base_freedom + of_new.powi(2) / new_freedom);
        let freedom = if welch.is_finite() { welch as usize } else { base.len() + new.len() - 2 };
        (mean(&new) - mean(&base), (of_base + of_new).sqrt(), freedom.max(1))
    };
    let reach = student(freedom, confidence) * error;
    Some(Interval { low: (estimate - reach).exp(), estimate: estimate.exp(), high: (estimate + reach).exp() })
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().saturating_sub(1).max(1) as f64
}

/// How many standard errors on either side hold `confidence` of Student's t with so many degrees of freedom. With t = √ν tan θ its
/// density is that of cos^(ν-1) θ, so that an integral and a bisection are enough.
fn student(freedom: usize, confidence: f64) -> f64 {
    let exponent = i32::try_from(freedom).unwrap_or(i32::MAX) - 1;
    let area = |to: f64| {
        const STEPS: u32 = 100;
        let width = to / f64::from(STEPS);
        let at = |step: u32| (f64::from(step) * width).cos().max(0.0).powi(exponent);
        // Simpson's rule.
        let inner: f64 = (1..STEPS).map(|step| at(step) * if step % 2 == 1 { 4.0 } else { 2.0 }).sum();
        (at(0) + inner + at(STEPS)) * width / 3.0
    };
    let wanted = confidence * area(FRAC_PI_2);
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..40 {
        let middle = (low + high) / 2.0;
        if area(middle) < wanted { low = middle } else { high = middle }
    }
    (freedom as f64).sqrt() * low.tan()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, confidence, expected) in [
            (1, 0.95, 12.706),
            (2, 0.95, 4.303),
            (4, 0.99, 4.604),
            (5, 0.95, 2.571),
            (30, 0.95, 2.042),
            (5, 0.99, 4.032),
        ] {
            let t = student(freedom, confidence);
            assert!((t - expected).abs() < 0.01, "{freedom} {confidence}: {t}");
        }
    }

    /// Consecutive runs on one host: each second resembles the one before, and so does each run.
    struct Host {
        random: Random,
        drift: f64,
        second: f64,
    }

    impl Host {
        fn new(seed: u64) -> Self {
            Self { random: Random::new(seed), drift: 0.0, second: 0.0 }
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.random.unit()).sum::<f64>() - 6.0
        }

        /// The rate of a run of 30 seconds.
        fn run(&mut self, rate: f64) -> f64 {
            self.drift = 0.9 * self.drift + 0.03 * self.normal();
            let seconds: Vec<f64> = (0..30)
                .map(|_| {
                    self.second = 0.8 * self.second + 0.06 * self.normal();
                    rate * (self.drift + self.second).exp()
                })
                .collect();
            mean(&seconds)
        }

        /// So many runs of each, in turns, another one first in each round.
        fn interleaved(&mut self, runs: usize, faster: f64) -> (Vec<f64>, Vec<f64>) {
            let (mut base, mut new) = (Vec::new(), Vec::new());
            for round in 0..runs {
                for turn in 0..2 {
                    match (round + turn) % 2 {
                        0 => base.push(self.run(100.0)),
                        _ => new.push(self.run(100.0 * faster)),
                    }
                }
            }
            (base, new)
        }
    }

    fn told_apart(seed: u64, runs: usize, faster: f64) -> bool {
        let (base, new) = Host::new(seed).interleaved(runs, faster);
        let ratio = ratio_of_runs(&base, &new, true, 0.95).unwrap();
        ratio.low > 1.0 || ratio.high < 1.0
    }

    #[test]
    fn identical_runs_are_told_apart_about_as_often_as_is_said() {
        let false_ones = (0..400).filter(|&seed| told_apart(seed, 6, 1.0)).count();
        assert!((4..=40).contains(&false_ones), "{false_ones} of 400 where 20 are expected");
    }

    #[test]
    fn a_difference_that_matters_is_found() {
        let found = (0..100).filter(|&seed| told_apart(seed, 6, 1.25)).count();
        assert!(found >= 90, "{found} of 100");
    }

    #[test]
    fn few_runs_tell_nothing() {
        assert_eq!(ratio_of_runs(&[1.0; 2], &[2.0; 9], false, 0.95), None);
        assert_eq!(ratio_of_runs(&[0.0; 9], &[2.0; 9], true, 0.95), None);
        let ratio = ratio_of_runs(&[1.0; 3], &[2.0; 4], false, 0.99).unwrap();
        assert!((ratio.low - 2.0).abs() < 1e-9 && (ratio.high - 2.0).abs() < 1e-9, "{ratio:?}");
    }
}
