//! From figures of each cycle to a verdict.

use serde::Serialize;

use crate::result::TargetSample;
use crate::statistics::{Slope, median, theil_sen};

/// A load and the pause behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Cycle {
    /// From the start of the soak to the end of the pause.
    pub(crate) end_s: f64,
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    /// Whether every acknowledged instance was looked for.
    pub(crate) verified: bool,
    /// Why the load was not a good one: what was lost, or too much that was not stored.
    pub(crate) faults: Vec<String>,
    /// The median of the second half of the load.
    pub(crate) loaded_rss_bytes: Option<f64>,
    /// The least of the second half of the pause.
    pub(crate) resting_rss_bytes: Option<f64>,
    pub(crate) resting_leased_bytes: Option<f64>,
}

/// The part of the cycles that fills caches and pools, and is not judged.
const WARM_UP: f64 = 0.2;

/// With fewer, too few are left for bounds when those that warm up are taken away.
pub(crate) const MIN_CYCLES: usize = 8;

/// The verdict that follows from a figure's slope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It grows, and by more than is tolerated.
    Leak,
    /// If it grows, then by less than is tolerated.
    NoLeak,
    /// The bounds hold both.
    Unclear,
    /// Too few cycles for bounds.
    TooShort,
}

/// One figure and its slope.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Judgement {
    pub(crate) figure: &'static str,
    /// Bytes in an hour, with bounds of 95 % confidence.
    pub(crate) slope: Option<Slope>,
    pub(crate) tolerance_bytes_per_hour: f64,
    /// Bytes for each acknowledged instance, by the same slope.
    pub(crate) bytes_per_instance: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// The figures of a cycle, from its samples.
pub(crate) fn cycle(loaded: &[(f64, TargetSample)], resting: &[(f64, TargetSample)]) -> Cycle {
    let second_half =
        |samples: &[(f64, TargetSample)]| samples.iter().skip(samples.len() / 2).cloned().collect::<Vec<_>>();
    let (loaded, resting) = (second_half(loaded), second_half(resting));
    let rss = |(_, sample): &(f64, TargetSample)| sample.rss_bytes as f64;
    let leased = resting.iter().filter_map(|(_, sample)| sample.leased_bytes).map(|bytes| bytes as f64);
    Cycle {
        loaded_rss_bytes: median(&loaded.iter().map(rss).collect::<Vec<_>>()),
        resting_rss_bytes: resting.iter().map(rss).min_by(f64::total_cmp),
        resting_leased_bytes: leased.min_by(f64::total_cmp),
        ..Cycle::default()
    }
}

/// Judges every figure that was seen.
pub(crate) fn judge(cycles: &[Cycle], tolerance_bytes_per_hour: f64) -> Vec<Judgement> {
    let warm = ((cycles.len() as f64 * WARM_UP).ceil() as usize).min(cycles.len());
    let cycles = cycles.get(warm..).unwrap_or_default();
    type Figure = fn(&Cycle) -> Option<f64>;
    let figures: [(&'static str, Figure); 3] = [
        ("memory at rest", |cycle| cycle.resting_rss_bytes),
        ("memory under load", |cycle| cycle.loaded_rss_bytes),
        ("leases at rest", |cycle| cycle.resting_leased_bytes),
    ];
    let judged = figures.into_iter().filter_map(|(figure, value)| {
        let points: Vec<(f64, f64)> =
            cycles.iter().filter_map(|cycle| Some((cycle.end_s / 3600.0, value(cycle)?))).collect();
        let seen = cycles.is_empty() || !points.is_empty();
        let slope = theil_sen(&points);
        let verdict = verdict(slope, tolerance_bytes_per_hour);
        let bytes_per_instance = slope.zip(instances_per_hour(cycles)).map(|(slope, rate)| slope.estimate / rate);
        seen.then_some(Judgement { figure, slope, tolerance_bytes_per_hour, bytes_per_instance, verdict })
    });
    judged.collect()
}

fn verdict(slope: Option<Slope>, tolerance: f64) -> Verdict {
    match slope {
        None => Verdict::TooShort,
        Some(slope) if slope.low > 0.0 && slope.estimate > tolerance => Verdict::Leak,
        Some(slope) if slope.high <= tolerance => Verdict::NoLeak,
        Some(_) => Verdict::Unclear,
    }
}

/// Over the cycles, pauses included, as the slope is.
fn instances_per_hour(cycles: &[Cycle]) -> Option<f64> {
    let (first, last) = (cycles.first()?, cycles.last()?);
    let hours = (last.end_s - first.end_s) / 3600.0;
    let instances: u64 = cycles.iter().skip(1).map(|cycle| cycle.acknowledged).sum();
    (hours > 0.0 && instances > 0).then(|| instances as f64 / hours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const MIB: f64 = 1_048_576.0;

    /// Cycles of a minute; memory that rests at 40 MiB, with noise and so much growth in an hour.
    fn cycles(number: u64, growth_per_hour: f64, noise: f64, seed: u64) -> Vec<Cycle> {
        let mut random = Random::new(seed);
        let mut noisy = move || noise * (random.unit() - 0.5);
        let cycle = |index: u64| {
            let end_s = 60.0 * (index + 1) as f64;
            // Memory that the first cycles fill is no leak.
            let filled = if index == 0 { -30.0 * MIB } else { 0.0 };
            let grown = growth_per_hour * end_s / 3600.0 + filled;
            Cycle {
                end_s,
                acknowledged: 1000,
                failed: 0,
                verified: true,
                faults: Vec::new(),
                loaded_rss_bytes: Some(100.0 * MIB + grown + 4.0 * noisy()),
                resting_rss_bytes: Some(40.0 * MIB + grown + noisy()),
                resting_leased_bytes: Some(0.0),
            }
        };
        (0..number).map(cycle).collect()
    }

    fn verdicts(cycles: &[Cycle]) -> Vec<Verdict> {
        judge(cycles, MIB).into_iter().map(|judgement| judgement.verdict).collect()
    }

    #[test]
    fn growth_is_a_leak_and_says_what_each_instance_leaves_behind() {
        let cycles = cycles(30, 12.0 * MIB, 0.2 * MIB, 1);
        let judgements = judge(&cycles, MIB);
        assert_eq!(judgements[0].verdict, Verdict::Leak, "{judgements:#?}");
        let left = judgements[0].bytes_per_instance.unwrap();
        assert!((left - 12.0 * MIB / 60_000.0).abs() < 30.0, "{left}");
        assert_eq!(judgements[2].verdict, Verdict::NoLeak);
    }

    #[test]
    fn a_steady_receiver_is_found_steady_though_it_warms_up() {
        assert_eq!(verdicts(&cycles(240, 0.0, 0.5 * MIB, 2))[0], Verdict::NoLeak);
    }

    #[test]
    fn noise_that_could_hide_a_leak_is_unclear_and_a_moment_is_too_short() {
        assert_eq!(verdicts(&cycles(12, 0.0, 4.0 * MIB, 3))[0], Verdict::Unclear);
        assert_eq!(verdicts(&cycles(4, 900.0 * MIB, 0.0, 4)), [Verdict::TooShort; 3]);
    }

    #[test]
    fn the_fewest_cycles_that_are_run_are_enough_for_a_verdict() {
        let enough = cycles(MIN_CYCLES as u64, 900.0 * MIB, 0.0, 6);
        assert_eq!(verdicts(&enough)[0], Verdict::Leak);
    }

    #[test]
    fn what_was_never_seen_is_not_judged() {
        let mut cycles = cycles(30, 0.0, 0.0, 5);
        cycles.iter_mut().for_each(|cycle| cycle.resting_leased_bytes = None);
        assert_eq!(verdicts(&cycles).len(), 2);
    }

    #[test]
    fn a_cycle_rests_at_its_least_and_works_at_its_median() {
        let samples = |rss: &[u64]| -> Vec<(f64, TargetSample)> {
            rss.iter()
                .map(|rss| {
                    (0.0, TargetSample { rss_bytes: *rss, leased_bytes: Some(rss / 10), ..TargetSample::default() })
                })
                .collect()
        };
        let cycle = cycle(&samples(&[1, 1, 50, 60, 900]), &samples(&[5, 1, 30, 20]));
        assert_eq!(
            (cycle.loaded_rss_bytes, cycle.resting_rss_bytes, cycle.resting_leased_bytes),
            (Some(60.0), Some(20.0), Some(2.0))
        );
    }
}
