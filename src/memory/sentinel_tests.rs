//! Synthetic nodes: some leak, most only look like it.

use std::f64::consts::TAU;

use super::*;

const MIB: f64 = 1_048_576.0;
const INTERVAL_S: f64 = 10.0;
const HOUR: usize = 360;

/// Reports, with the sample they came at, for a quiet node whose unattributed memory follows `bytes` of (seconds).
fn watch(samples: usize, mut bytes: impl FnMut(f64) -> f64) -> Vec<(usize, LeakReport)> {
    let mut sentinel = Sentinel::new(Settings::default());
    let sample = |i: usize| at_rest(i, bytes(i as f64 * INTERVAL_S), 0, 0);
    (0..samples).map(sample).enumerate().filter_map(|(i, sample)| Some((i, sentinel.observe(sample)?))).collect()
}

fn at_rest(i: usize, unattributed: f64, bytes: u64, leases: u64) -> Sample {
    Sample {
        at: Duration::from_secs_f64(i as f64 * INTERVAL_S),
        quiet: true,
        unattributed_bytes: unattributed as u64,
        stages: vec![StageUse { stage: Stage::Queued, bytes, leases, oldest_ms: 0 }],
    }
}

/// Evenly distributed in -1..1, the same each time (xorshift).
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

#[test]
fn a_leak_is_found_once_with_its_slope() {
    let mut jitter = noise(1);
    let reports = watch(4 * HOUR, |s| 20.0 * MIB + 4096.0 * s + MIB * jitter());
    assert_eq!(reports.len(), 1, "{reports:?}");
    let (at, report) = &reports[0];
    assert!(*at < HOUR, "within the hour, not at sample {at}");
    assert!(report.slope_low_bytes_per_s > 2500.0 && (report.slope_bytes_per_s - 4096.0).abs() < 800.0, "{report:?}");
    assert!(report.unattributed && report.stage.is_none());
    assert!(report.window_s >= 1350.0 && report.t > 10.0 && report.samples > 100);
}

#[test]
fn a_leak_by_steps_is_found() {
    assert_eq!(watch(HOUR, |s| (s / 120.0).floor() * MIB).len(), 1);
}

#[test]
fn a_leak_under_a_saw_tooth_is_found() {
    assert_eq!(watch(2 * HOUR, |s| s % 100.0 / 100.0 * 4.0 * MIB + s * 6000.0).len(), 1);
}

#[test]
fn a_leak_smaller_than_the_minimum_is_let_pass() {
    assert!(watch(4 * HOUR, |s| s * 1000.0).is_empty(), "1.7 MiB in half an hour");
    assert_eq!(watch(4 * HOUR, |s| s * 1300.0).len(), 1, "2.2 MiB in half an hour");
}

#[test]
fn noise_is_no_leak_for_days() {
    for seed in 1..=4 {
        let mut white = noise(seed);
        assert_eq!(watch(48 * HOUR, |_| 8.0 * MIB * white()), []);
        // Noise that wanders and comes back, about a minute to forget.
        let (mut shock, mut wandering) = (noise(seed + 100), 0.0);
        let reports = watch(48 * HOUR, |_| {
            wandering = 0.85 * wandering + 3.0 * MIB * shock();
            wandering
        });
        assert_eq!(reports, [], "seed {seed}");
    }
}

#[test]
fn a_step_is_no_leak() {
    for at in (0..3600).step_by(90) {
        let step = |s: f64| if s >= f64::from(at) { 64.0 * MIB } else { 0.0 };
        assert_eq!(watch(2 * HOUR, step), [], "step at {at} s");
        assert_eq!(watch(2 * HOUR, |s| step(s) + step(s + 400.0)), [], "steps at {} and {at} s", at - 400);
    }
}

#[test]
fn saw_teeth_and_waves_are_no_leak() {
    for period in [30.0, 45.0, 100.0, 333.0, 600.0, 900.0, 1200.0] {
        assert_eq!(watch(6 * HOUR, |s| s % period / period * 50.0 * MIB), [], "saw-tooth of {period} s");
        assert_eq!(watch(6 * HOUR, |s| (s * TAU / period).sin() * 50.0 * MIB), [], "wave of {period} s");
    }
}

#[test]
fn warming_up_and_shrinking_are_no_leak() {
    for minutes in [1.0, 3.0, 6.0, 10.0] {
        let warm = |s: f64| 30.0 * MIB * (1.0 - (-s / 60.0 / minutes).exp());
        assert_eq!(watch(4 * HOUR, warm), [], "time constant {minutes} min");
        assert_eq!(watch(4 * HOUR, |s| -warm(s)), []);
    }
    assert_eq!(watch(4 * HOUR, |s| -4096.0 * s), []);
}

/// 80 kB a second while associations come and go: at no time is the node quiet.
#[test]
fn a_leak_under_load_is_found_within_the_window() {
    let mut sentinel = Sentinel::new(Settings::default());
    let mut jitter = noise(7);
    let found = (0..HOUR).find_map(|i| {
        let bytes = i as f64 * 800_000.0 + 20.0 * MIB * (1.0 + jitter());
        Some((i, sentinel.observe(Sample { quiet: false, ..at_rest(i, bytes, i as u64 * 100_000, i as u64) })?))
    });
    let (at, report) = found.unwrap();
    assert_eq!((at * 10 <= 1800, report.unattributed, report.stage), (true, true, None), "at sample {at}");
    assert!((report.slope_bytes_per_s - 80_000.0).abs() < 8_000.0, "{report:?}");
}

#[test]
fn the_slope_is_known_before_the_window_is_full() {
    let mut sentinel = Sentinel::new(Settings::default());
    for i in 0..30 {
        assert_eq!(sentinel.observe(at_rest(i, i as f64 * 800_000.0, 0, 0)), None);
    }
    assert!(sentinel.slope_bytes_per_s(1 << 20).is_some_and(|slope| (slope - 80_000.0).abs() < 1.0));
    assert_eq!(sentinel.slope_bytes_per_s(1 << 30), None, "290 s of it are less than that");
}

#[test]
fn a_sample_between_two_points_lowers_the_floor() {
    let mut sentinel = Sentinel::new(Settings::default());
    for (second, bytes) in [(0, 9.0), (1, 9.0), (2, 3.0), (8, 9.0), (9, 9.0), (20, 7.0)] {
        sentinel.observe(Sample { at: Duration::from_secs(second), ..at_rest(0, bytes, 0, 0) });
    }
    let floors: Vec<_> = sentinel.points.iter().map(|point| point.unattributed).collect();
    assert_eq!(floors, [9.0, 3.0, 7.0]);
}

#[test]
fn what_is_free_again_between_loads_is_no_leak() {
    let mut sentinel = Sentinel::new(Settings::default());
    for i in 0..4 * HOUR {
        let busy = i % 12 < 9;
        let bytes = if busy { i as f64 * MIB } else { 5.0 * MIB };
        let sample = Sample { quiet: !busy, ..at_rest(i, bytes, 0, 0) };
        assert_eq!(sentinel.observe(sample), None);
    }
}

#[test]
fn a_leak_is_found_in_the_quiet_moments_between_load() {
    let mut sentinel = Sentinel::new(Settings::default());
    let found = (0..HOUR).find_map(|i| {
        let busy = i % 12 < 6;
        let bytes = i as f64 * 0.05 * MIB + if busy { 100.0 * MIB } else { 0.0 };
        sentinel.observe(Sample { quiet: !busy, ..at_rest(i, bytes, 0, 0) })
    });
    assert!((found.unwrap().slope_bytes_per_s - 0.005 * MIB).abs() < 10.0);
}

#[test]
fn a_second_episode_is_reported_again() {
    let leaks = |s: f64| match s {
        ..5400.0 => s,
        5400.0..12_600.0 => 5400.0,
        _ => s - 7200.0,
    };
    let reports = watch(6 * HOUR, |s| leaks(s) * 5000.0);
    let at: Vec<_> = reports.iter().map(|(i, _)| i * 10).collect();
    assert!(matches!(at[..], [..5400, 12_600..15_000]), "{at:?}");
}

#[test]
fn holders_that_pile_up_are_found_by_their_number_or_their_bytes() {
    let mut sentinel = Sentinel::new(Settings::default());
    let found = (0..HOUR).find_map(|i| sentinel.observe(at_rest(i, 0.0, i as u64 * 100, i as u64)));
    let report = found.unwrap();
    assert_eq!((report.stage, report.unattributed), (Some(Stage::Queued), false));
    assert!((report.slope_bytes_per_s - 10.0).abs() < 1e-6, "{report:?}");

    let mut sentinel = Sentinel::new(Settings::default());
    let found = (0..HOUR).find_map(|i| sentinel.observe(at_rest(i, i as f64 * 30_000.0, i as u64 * 50_000, 3)));
    let report = found.unwrap();
    assert_eq!((report.stage, report.unattributed), (Some(Stage::Queued), true));
    assert!((report.slope_bytes_per_s - 5000.0).abs() < 1e-6, "{report:?}");
}

#[test]
fn it_holds_a_bounded_number_of_samples() {
    let mut sentinel = Sentinel::new(Settings::default());
    for ms in (0..3_600_000).step_by(250) {
        sentinel.observe(Sample { at: Duration::from_millis(ms), ..at_rest(0, 0.0, 0, 0) });
    }
    assert!((200..=257).contains(&sentinel.points.len()), "{}", sentinel.points.len());
}
