//! The leak sentinel: it reports once, with the evidence, that a quiet node still grows.
//!
//! A quiet node may hold much memory (caches, buffers at their high-water mark). Its use may swing (buffers that fill and empty) and jump (a
//! table that doubles), but the minimum between swings must not keep rising. So a series rises only if both conditions hold: its line of
//! least squares rises with a certainty that noise does not reach, *and* the minima of the four quarters of the window rise one after the
//! other. A jump raises the minimum once; a saw-tooth does not raise it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::slope::{Slope, slope};
use crate::snapshot::StageUse;
use crate::stage::Stage;

/// The thresholds above which growth is a leak.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The window. A swing that rises for three quarters of it, or longer, would be reported as a leak.
    pub window: Duration,
    /// Growth below this over the window is within the noise of an allocator's caches, and not worth an alarm.
    pub minimum_rise_bytes: u64,
    /// The same for the number of leases in a stage.
    pub minimum_rise_leases: u64,
}

impl Default for Settings {
    /// Half an hour, 2 MiB, 64 leases.
    fn default() -> Self {
        Self { window: Duration::from_secs(30 * 60), minimum_rise_bytes: 2 << 20, minimum_rise_leases: 64 }
    }
}

/// One observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Time since some fixed moment, rising from sample to sample.
    pub at: Duration,
    /// Whether the node has been at rest since the last sample. Other samples are ignored: under load the node may grow.
    pub quiet: bool,
    /// Allocated memory that no lease covers.
    pub unattributed_bytes: i64,
    /// What is leased: [`crate::MemoryBudget::stages`].
    pub stages: Vec<StageUse>,
    /// [`crate::MemoryBudget::oldest_holder`].
    pub oldest_holder: Option<(String, Duration)>,
}

/// The evidence of a leak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakReport {
    /// The rate of growth: that of the fastest rising series.
    pub slope_bytes_per_s: f64,
    /// Lower end of the 95 % confidence interval of the rate.
    pub slope_low_bytes_per_s: f64,
    /// How many standard errors the slope is above 0.
    pub t: f64,
    /// The time that the samples cover.
    pub window_s: f64,
    /// Number of samples.
    pub samples: usize,
    /// The stage that grows fastest, in bytes or in leases, if any does.
    pub stage: Option<Stage>,
    /// Whether memory grows that no lease speaks for.
    pub unattributed: bool,
    /// The holder that has held bytes longest.
    pub oldest_holder: Option<OldestHolder>,
}

/// The holder that has held bytes longest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldestHolder {
    /// The label of the holder.
    pub label: String,
    /// How long it has been there.
    pub age_ms: u64,
}

/// Watches samples for growth. Its memory is bounded: 256 samples a window, at any rate of samples.
#[derive(Debug)]
pub struct Sentinel {
    settings: Settings,
    points: VecDeque<Point>,
    /// When the first sample was taken.
    since: Option<Duration>,
    /// When growth was last seen in an episode that has been reported.
    reported: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Duration,
    unattributed: f64,
    bytes: [f64; Stage::ALL.len()],
    leases: [f64; Stage::ALL.len()],
}

const SAMPLES_PER_WINDOW: u32 = 256;

/// Standard errors above 0. A week has three hundred windows and each is looked at from many sides: the odds of one must be
/// far below one in a thousand, with room for noise that wanders more than its neighbours tell.
const MINIMUM_T: f64 = 6.0;

/// Each quarter's floor must be above the one before by this share of what the floor rises altogether. A steady leak has a
/// third each time; growth that is coming to its end has less and less.
const MINIMUM_SHARE: f64 = 1.0 / 6.0;

/// Fewer samples in a quarter have no floor to speak of.
const MINIMUM_SAMPLES_PER_QUARTER: usize = 4;

impl Sentinel {
    /// One that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, points: VecDeque::new(), since: None, reported: None }
    }

    /// Takes a sample, and says so if there is a leak that has not been reported. An episode ends when nothing has risen for a
    /// whole window; then the next one is reported again.
    pub fn observe(&mut self, sample: Sample) -> Option<LeakReport> {
        if !sample.quiet || !self.keep(&sample) {
            return None;
        }
        let mut report = self.judge();
        if let Some(last) = self.reported
            && sample.at.saturating_sub(last) > self.settings.window
        {
            self.reported = None;
        }
        if report.is_some() && self.reported.replace(sample.at).is_some() {
            report = None;
        }
        let oldest_holder = sample
            .oldest_holder
            .map(|(label, age)| OldestHolder { label, age_ms: age.as_millis().try_into().unwrap_or(u64::MAX) });
        report.map(|report| LeakReport { oldest_holder, ..report })
    }

    /// Whether the sample was far enough from the last one to be kept.
    fn keep(&mut self, sample: &Sample) -> bool {
        self.since.get_or_insert(sample.at);
        let spacing = self.settings.window / SAMPLES_PER_WINDOW;
        if self.points.back().is_some_and(|last| sample.at <= last.at || sample.at - last.at < spacing) {
            return false;
        }
        let mut point = Point {
            at: sample.at,
            unattributed: sample.unattributed_bytes as f64,
            bytes: Default::default(),
            leases: Default::default(),
        };
        for held in &sample.stages {
            point.bytes[held.stage as usize] = held.bytes as f64;
            point.leases[held.stage as usize] = held.leases as f64;
        }
        self.points.push_back(point);
        let window = self.settings.window;
        while self.points.front().is_some_and(|first| sample.at - first.at > window) {
            self.points.pop_front();
        }
        true
    }

    fn judge(&self) -> Option<LeakReport> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let (watched, covered) = (last.at.saturating_sub(self.since?), last.at - first.at);
        // A node that warms up has its first window to do so. Then three quarters, for one that is quiet now and then.
        if watched < self.settings.window || covered < self.settings.window * 3 / 4 {
            return None;
        }
        let (minimum_bytes, minimum_leases) =
            (self.settings.minimum_rise_bytes as f64, self.settings.minimum_rise_leases as f64);
        let unattributed = rise(&self.series(|point| point.unattributed), minimum_bytes);
        let stage = Stage::ALL
            .into_iter()
            .filter_map(|stage| {
                let bytes = self.series(|point| point.bytes[stage as usize]);
                let rises = rise(&bytes, minimum_bytes).is_some()
                    || rise(&self.series(|point| point.leases[stage as usize]), minimum_leases).is_some();
                rises.then(|| (stage, slope(&bytes)))
            })
            .max_by(|(_, a), (_, b)| a.per_s.total_cmp(&b.per_s));
        let fastest = [unattributed, stage.map(|(_, line)| line)]
            .into_iter()
            .flatten()
            .max_by(|a, b| a.per_s.total_cmp(&b.per_s))?;
        Some(LeakReport {
            slope_bytes_per_s: fastest.per_s,
            slope_low_bytes_per_s: fastest.low_per_s,
            t: fastest.t,
            window_s: covered.as_secs_f64(),
            samples: self.points.len(),
            stage: stage.map(|(stage, _)| stage),
            unattributed: unattributed.is_some(),
            oldest_holder: None,
        })
    }

    fn series(&self, value: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| (point.at.as_secs_f64(), value(point))).collect()
    }
}

/// The slope, if the series rises by at least `minimum` from its first to its last sample.
fn rise(series: &[(f64, f64)], minimum: f64) -> Option<Slope> {
    let line = slope(series);
    let (from, to) = (series.first()?.0, series.last()?.0);
    if line.t < MINIMUM_T || line.low_per_s * (to - from) < minimum {
        return None;
    }
    let mut floors = [(f64::INFINITY, 0); 4];
    for (at, value) in series {
        let quarter = ((at - from) / (to - from) * 4.0) as usize;
        let (floor, samples) = &mut floors[quarter.min(3)];
        *floor = floor.min(*value);
        *samples += 1;
    }
    let risen = floors[3].0 - floors[0].0;
    let rises = risen >= minimum / 2.0
        && floors.iter().all(|(_, samples)| *samples >= MINIMUM_SAMPLES_PER_QUARTER)
        && floors.windows(2).all(|pair| pair[1].0 - pair[0].0 >= risen * MINIMUM_SHARE);
    rises.then_some(line)
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;
