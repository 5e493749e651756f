//! Whether something grows: the slope that outliers cannot tilt.

use serde::Serialize;

use super::median;

/// A slope and its bounds of 95 % confidence, in units of y for one of x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Slope {
    pub(crate) low: f64,
    pub(crate) estimate: f64,
    pub(crate) high: f64,
}

/// With fewer points no slope is outside the bounds that chance alone allows.
pub(crate) const MIN_POINTS: usize = 6;

/// Theil's slope, the median of those between all pairs, with Sen's bounds (1968): the pairs' slopes at the ranks that Kendall's
/// statistic allows. Points must be independent: give it one a cycle, not one a second. `None` of fewer than [`MIN_POINTS`].
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<Slope> {
    if points.len() < MIN_POINTS {
        return None;
    }
    let mut slopes = Vec::with_capacity(points.len() * (points.len() - 1) / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        let later = points.iter().skip(index + 1);
        slopes.extend(later.filter(|(other, _)| other != x).map(|(other_x, other_y)| (other_y - y) / (other_x - x)));
    }
    slopes.sort_by(f64::total_cmp);
    let (count, pairs) = (points.len() as f64, slopes.len() as f64);
    let reach = 1.96 * (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    let at = |rank: f64| slopes.get((rank.max(0.0) as usize).min(slopes.len().saturating_sub(1))).copied();
    Some(Slope {
        low: at(((pairs - reach) / 2.0).floor())?,
        estimate: median(&slopes)?,
        high: at(((pairs + reach) / 2.0).ceil())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn series(points: u64, growth: f64, noise: f64, seed: u64) -> Vec<(f64, f64)> {
        let mut random = Random::new(seed);
        (0..points).map(|x| (x as f64, 100.0 + growth * x as f64 + noise * (random.unit() - 0.5))).collect()
    }

    #[test]
    fn growth_is_found_through_noise_and_outliers() {
        let mut points = series(30, 0.5, 4.0, 1);
        points[3].1 += 500.0;
        points[20].1 -= 90.0;
        let slope = theil_sen(&points).unwrap();
        assert!(slope.low > 0.3 && slope.high < 0.7 && (slope.estimate - 0.5).abs() < 0.1, "{slope:?}");
    }

    #[test]
    fn noise_alone_is_not_growth_more_often_than_it_should() {
        let wrong = (0..200)
            .filter(|&seed| {
                theil_sen(&series(12, 0.0, 4.0, seed)).is_some_and(|slope| slope.low > 0.0 || slope.high < 0.0)
            })
            .count();
        assert!(wrong <= 20, "{wrong} of 200 where 10 are expected");
    }

    #[test]
    fn a_flat_line_is_flat_and_few_points_are_nothing() {
        assert_eq!(theil_sen(&series(12, 0.0, 0.0, 1)), Some(Slope { low: 0.0, estimate: 0.0, high: 0.0 }));
        assert_eq!(theil_sen(&series(5, 1.0, 0.0, 1)), None);
    }
}
