//! How sure one is of a mean over seconds of which each resembles the one before it.

use super::{Interval, mean};
use crate::random::Random;

/// Times that the series is drawn anew: bounds to about a percent of themselves, in milliseconds.
const DRAWS: usize = 2000;
/// A series shorter than this says nothing about its own scatter.
pub(crate) const MIN_SECONDS: usize = 5;

/// The mean of `new` by the mean of `base`, with the moving-block bootstrap: blocks of neighbouring seconds are drawn, not single
/// ones, since a stalled disk or a full queue lasts longer than a second (Künsch 1989; block length by the cube root).
///
/// `None` when either series is too short or the base is nothing.
pub(crate) fn ratio_of_means(base: &[f64], new: &[f64], seed: u64) -> Option<Interval> {
    if base.len() < MIN_SECONDS || new.len() < MIN_SECONDS || mean(base) <= 0.0 {
        return None;
    }
    let mut random = Random::new(seed);
    let mut ratios: Vec<f64> = (0..DRAWS)
        .map(|_| mean_of_blocks(new, &mut random) / mean_of_blocks(base, &mut random).max(f64::MIN_POSITIVE))
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios.get((share * (DRAWS - 1) as f64).round() as usize).copied();
    Some(Interval { low: at(0.025)?, estimate: mean(new) / mean(base), high: at(0.975)? })
}

/// The mean of as many values as the series has, drawn in blocks that wrap round its end.
fn mean_of_blocks(series: &[f64], random: &mut Random) -> f64 {
    let length = series.len();
    let block = (length as f64).cbrt().ceil() as usize;
    let mut sum = 0.0;
    let mut drawn = 0;
    while drawn < length {
        let start = random.between(0, length as u64 - 1) as usize;
        let take = block.min(length - drawn);
        sum += series.iter().cycle().skip(start).take(take).sum::<f64>();
        drawn += take;
    }
    sum / length as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(mean: f64, seconds: usize, seed: u64) -> Vec<f64> {
        let mut random = Random::new(seed);
        (0..seconds).map(|_| mean * (0.8 + 0.4 * random.unit())).collect()
    }

    #[test]
    fn a_real_difference_is_outside_and_none_is_inside() {
        let base = noisy(100.0, 60, 1);
        let faster = ratio_of_means(&base, &noisy(120.0, 60, 2), 7).unwrap();
        assert!(faster.low > 1.1 && faster.high < 1.3, "{faster:?}");
        let same = ratio_of_means(&base, &noisy(100.0, 60, 3), 7).unwrap();
        assert!(same.low < 1.0 && same.high > 1.0, "{same:?}");
    }

    #[test]
    fn it_is_wrong_about_as_often_as_it_says() {
        let wrong = (0..200)
            .filter(|&run| {
                let ratio = ratio_of_means(&noisy(50.0, 40, 1000 + run), &noisy(50.0, 40, 2000 + run), run).unwrap();
                ratio.low > 1.0 || ratio.high < 1.0
            })
            .count();
        assert!((1..=26).contains(&wrong), "{wrong} of 200 where 10 are expected");
    }

    #[test]
    fn too_little_is_said_to_be_too_little() {
        assert_eq!(ratio_of_means(&[1.0; 4], &[1.0; 40], 1), None);
        assert_eq!(ratio_of_means(&[0.0; 40], &[1.0; 40], 1), None);
    }
}
