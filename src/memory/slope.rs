//! Linear regression through samples, with the confidence of its slope.

use std::iter::zip;

/// The slope of the line of least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Units per second.
    pub per_s: f64,
    /// Lower end of the 95 % confidence interval, in units per second.
    pub low_per_s: f64,
    /// Upper end of it.
    pub high_per_s: f64,
    /// How many standard errors the slope is away from 0, with its sign.
    pub t: f64,
}

/// Least number of samples for an interval. With only one or two residuals beyond the parameters, chance looks like proof.
pub const MINIMUM_SAMPLES: usize = 8;

/// The slope through `samples` of (seconds, value), in order of time.
///
/// Residuals that follow each other (a series that wanders) say less than as many independent ones: the error is made larger by
/// √((1 + ρ) / (1 − ρ)), where ρ is the correlation of each residual with the one before. With fewer than [`MINIMUM_SAMPLES`],
/// or all at the same time, the interval is without bounds and `t` is 0.
pub fn slope(samples: &[(f64, f64)]) -> Slope {
    let count = samples.len() as f64;
    let (sum_x, sum_y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0, y + sample.1));
    let centred = || samples.iter().map(|(x, y)| (x - sum_x / count, y - sum_y / count));
    let spread: f64 = centred().map(|(x, _)| x * x).sum();
    if samples.len() < 2 || spread <= 0.0 {
        return Slope { per_s: 0.0, low_per_s: f64::NEG_INFINITY, high_per_s: f64::INFINITY, t: 0.0 };
    }
    let per_s = centred().map(|(x, y)| x * y).sum::<f64>() / spread;
    if samples.len() < MINIMUM_SAMPLES {
        return Slope { per_s, low_per_s: f64::NEG_INFINITY, high_per_s: f64::INFINITY, t: 0.0 };
    }
    let residuals = || centred().map(|(x, y)| y - per_s * x);
    let squares: f64 = residuals().map(|residual| residual * residual).sum();
    let following: f64 = zip(residuals(), residuals().skip(1)).map(|(a, b)| a * b).sum();
    let correlation = if squares > 0.0 { (following / squares).clamp(0.0, 0.99) } else { 0.0 };
    let freedom = count - 2.0;
    let error = (squares / freedom / spread * (1.0 + correlation) / (1.0 - correlation)).sqrt();
    let reach = t_quantile_95(freedom) * error;
    let t = if per_s == 0.0 { 0.0 } else { per_s / error }; // a perfect line is infinitely sure
    Slope { per_s, low_per_s: per_s - reach, high_per_s: per_s + reach, t }
}

/// The two-sided 95 % point of Student's t, by the expansion around the normal one (Abramowitz and Stegun 26.7.5): within 0.001
/// from six degrees of freedom on, the fewest there are here.
fn t_quantile_95(freedom: f64) -> f64 {
    // z, then the polynomials in z = 1.959964 over powers of the degrees of freedom.
    let terms = [1.959_964, 2.372_271, 2.822_499, 2.555_850, 1.589_534];
    zip(terms, 0..).map(|(term, power)| term / freedom.powi(power)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64, tolerance: f64) -> bool {
        (a - b).abs() < tolerance
    }

    #[test]
    fn a_straight_line_is_found_with_certainty() {
        let samples: Vec<_> = (0..20).map(|i| (f64::from(i) * 10.0, 5e9 + 70.0 * f64::from(i))).collect();
        let line = slope(&samples);
        assert!(close(line.per_s, 7.0, 1e-6), "{line:?}");
        assert!(line.low_per_s > 6.99 && line.high_per_s < 7.01 && line.t > 1e3, "{line:?}");
        let flat: Vec<_> = (0..20).map(|i| (f64::from(i), 3.0)).collect();
        assert_eq!(slope(&flat), Slope { per_s: 0.0, low_per_s: 0.0, high_per_s: 0.0, t: 0.0 });
    }

    /// Worked by hand: y = 1 3 2 5 4 6 8 7 over x = 0..=7 has Sxx = 42, Sxy = 39, Syy = 42.
    #[test]
    fn the_textbook_agrees() {
        let samples: Vec<_> =
            zip(0..8, [1.0, 3.0, 2.0, 5.0, 4.0, 6.0, 8.0, 7.0]).map(|(x, y)| (f64::from(x), y)).collect();
        let line = slope(&samples);
        let (per_s, error) = (39.0 / 42.0, ((42.0 - 39.0 * 39.0 / 42.0) / 6.0 / 42.0_f64).sqrt());
        assert!(close(line.per_s, per_s, 1e-12), "{line:?}");
        assert!(close(line.t, per_s / error, 1e-9), "{line:?}");
        assert!(close(line.high_per_s - line.per_s, 2.446_912 * error, 1e-3 * error), "{line:?}");
        assert!(close(line.per_s - line.low_per_s, line.high_per_s - line.per_s, 1e-12), "{line:?}");
    }

    /// Four copies of each sample know nothing that one does not.
    #[test]
    fn samples_that_repeat_each_other_do_not_add_certainty() {
        let zigzag = |x: i32| f64::from(x) + f64::from(x * 7919 % 13);
        let alone: Vec<_> = (0..40).map(|x| (f64::from(x), zigzag(x))).collect();
        let copied: Vec<_> = (0..160).map(|x| (f64::from(x) / 4.0, zigzag(x / 4))).collect();
        let (alone, copied) = (slope(&alone), slope(&copied));
        assert!(close(copied.t / alone.t, 1.0, 0.25), "{alone:?} {copied:?}");
    }

    #[test]
    fn students_t_agrees_with_the_tables() {
        for (freedom, tabled) in [(6.0, 2.446_912), (10.0, 2.228_139), (30.0, 2.042_272), (1000.0, 1.962_339)] {
            assert!(close(t_quantile_95(freedom), tabled, 1e-3), "{freedom}: {}", t_quantile_95(freedom));
        }
    }

    #[test]
    fn too_little_proves_nothing() {
        assert_eq!(slope(&[]).per_s, 0.0);
        assert_eq!(slope(&[(1.0, 5.0)]).high_per_s, f64::INFINITY);
        assert_eq!(slope(&[(1.0, 5.0); 20]).per_s, 0.0);
        let seven: Vec<_> = (0..7).map(|i| (f64::from(i), f64::from(i))).collect();
        let line = slope(&seven);
        assert!(close(line.per_s, 1.0, 1e-12) && line.low_per_s == f64::NEG_INFINITY && line.t == 0.0);
    }
}
