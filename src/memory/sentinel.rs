//! The leak sentinel: it reports once, with the evidence, that memory grows which nothing accounts for.
//!
//! Memory that no lease covers is watched at all times, under load too. It may be large (caches, buffers at their high-water mark),
//! swing (buffers that fill and empty) and jump (a table that doubled), but the level to which it falls back between swings must not
//! keep rising. So the sentinel looks at floors, the lowest values of parts of a window. A series rises only if both hold: the line of
//! least squares through sixteen floors goes up with a certainty that noise does not reach, *and* the floors of the four quarters go
//! up one after the other. A jump lifts the floor once; a saw-tooth does not lift it at all.
//!
//! Leases of a stage are watched in quiet moments only: under load they grow by right.

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
    /// Whether the node is at rest: no association is open, no job waits. In other samples the stages are ignored.
    pub quiet: bool,
    /// Allocated memory that no lease covers.
    pub unattributed_bytes: u64,
    /// The leased bytes: [`crate::MemoryBudget::stages`]. Read in quiet samples only.
    pub stages: Vec<StageUse>,
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
    /// Whether memory grows that no lease covers.
    pub unattributed: bool,
}

/// Watches samples for growth. Its memory is bounded: 256 samples a window, at any rate of samples.
#[derive(Debug)]
pub struct Sentinel {
    settings: Settings,
    points: VecDeque<Point>,
    /// The lowest unattributed memory since the last point.
    floor: f64,
    /// When the first sample was taken.
    since: Option<Duration>,
    /// When growth was last seen in an episode that has been reported.
    reported: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    at: Duration,
    unattributed: f64,
    /// `None`: the node was not quiet.
    stages: Option<[StageFigures; Stage::ALL.len()]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct StageFigures {
    bytes: f64,
    leases: f64,
}

const SAMPLES_PER_WINDOW: u32 = 256;

/// Parts of the window with a floor each, through which the line goes: a quarter has four of them.
const FLOORS: usize = 16;

/// Standard errors above 0, of a line through sixteen floors. A week has three hundred windows and each is looked at from many sides:
/// the odds of one must be far below one in a thousand, with room for noise that wanders more than its neighbours tell.
const MINIMUM_T: f64 = 10.0;

/// Each quarter's floor must be above the one before by this share of what the floor rises altogether. A steady leak has a
/// third each time; growth that is coming to its end has less and less.
const MINIMUM_SHARE: f64 = 1.0 / 6.0;

/// Fewer samples in a quarter have no floor to speak of.
const MINIMUM_SAMPLES_PER_QUARTER: usize = 4;

impl Sentinel {
    /// One that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        Self { settings, points: VecDeque::new(), floor: f64::INFINITY, since: None, reported: None }
    }

    /// Takes a sample, and says so if there is a leak that has not been reported. An episode ends when nothing has risen for a
    /// whole window; then the next one is reported again.
    pub fn observe(&mut self, sample: Sample) -> Option<LeakReport> {
        if !self.keep(&sample) {
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
        report
    }

    /// The rate at which the floor of unattributed memory rises, in bytes per second, as far back as the window reaches; `None` if it
    /// does not rise, or by less than `minimum_bytes`. An indication before the window is full, no report.
    pub fn slope_bytes_per_s(&self, minimum_bytes: u64) -> Option<f64> {
        rise(&self.unattributed(), minimum_bytes as f64).map(|line| line.per_s)
    }

    /// Whether the sample was far enough from the last point to become one. Others only lower the floor of the next.
    fn keep(&mut self, sample: &Sample) -> bool {
        self.since.get_or_insert(sample.at);
        self.floor = self.floor.min(sample.unattributed_bytes as f64);
        let spacing = self.settings.window / SAMPLES_PER_WINDOW;
        if self.points.back().is_some_and(|last| sample.at <= last.at || sample.at - last.at < spacing) {
            return false;
        }
        let unattributed = std::mem::replace(&mut self.floor, f64::INFINITY);
        let stages = sample.quiet.then(|| {
            let mut figures = [StageFigures::default(); Stage::ALL.len()];
            for held in &sample.stages {
                let StageFigures { bytes, leases } = &mut figures[held.stage as usize];
                (*bytes, *leases) = (held.bytes as f64, held.leases as f64);
            }
            figures
        });
        self.points.push_back(Point { at: sample.at, unattributed, stages });
        let window = self.settings.window;
        while self.points.front().is_some_and(|first| sample.at - first.at > window) {
            self.points.pop_front();
        }
        true
    }

    fn judge(&self) -> Option<LeakReport> {
        let last = self.points.back()?;
        // A node that warms up has its first window to do so.
        if last.at.saturating_sub(self.since?) < self.settings.window {
            return None;
        }
        let (minimum_bytes, minimum_leases) =
            (self.settings.minimum_rise_bytes as f64, self.settings.minimum_rise_leases as f64);
        let all = self.unattributed();
        let unattributed = if self.is_covered(&all) { rise(&all, minimum_bytes) } else { None };
        let stage = Stage::ALL
            .into_iter()
            .filter_map(|stage| {
                let bytes = self.quiet(|figures| figures[stage as usize].bytes);
                let leases = || self.quiet(|figures| figures[stage as usize].leases);
                let rises = self.is_covered(&bytes)
                    && (rise(&bytes, minimum_bytes).is_some() || rise(&leases(), minimum_leases).is_some());
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
            window_s: covered_s(&all),
            samples: self.points.len(),
            stage: stage.map(|(stage, _)| stage),
            unattributed: unattributed.is_some(),
        })
    }

    /// Whether the samples reach over three quarters of the window: a node may be quiet only now and then.
    fn is_covered(&self, series: &[(f64, f64)]) -> bool {
        covered_s(series) >= self.settings.window.as_secs_f64() * 0.75
    }

    fn unattributed(&self) -> Vec<(f64, f64)> {
        self.points.iter().map(|point| (point.at.as_secs_f64(), point.unattributed)).collect()
    }

    fn quiet(&self, value: impl Fn(&[StageFigures; Stage::ALL.len()]) -> f64) -> Vec<(f64, f64)> {
        let quiet = |point: &Point| Some((point.at.as_secs_f64(), value(point.stages.as_ref()?)));
        self.points.iter().filter_map(quiet).collect()
    }
}

fn covered_s(series: &[(f64, f64)]) -> f64 {
    series.first().zip(series.last()).map_or(0.0, |(first, last)| last.0 - first.0)
}

/// The slope of the floors, if they rise by at least `minimum` from the first sample to the last.
fn rise(series: &[(f64, f64)], minimum: f64) -> Option<Slope> {
    let (from, covered) = (series.first()?.0, covered_s(series));
    let part_of = |at: f64, parts: usize| (((at - from) / covered * parts as f64) as usize).min(parts - 1);
    let mut floors = [None::<(f64, f64)>; FLOORS];
    let mut quarters = [(f64::INFINITY, 0); 4];
    for (at, value) in series.iter().copied() {
        let floor = &mut floors[part_of(at, FLOORS)];
        *floor = floor.filter(|(_, lowest)| *lowest <= value).or(Some((at, value)));
        let (floor, samples) = &mut quarters[part_of(at, 4)];
        *floor = floor.min(value);
        *samples += 1;
    }
    let floors: Vec<_> = floors.into_iter().flatten().collect();
    let line = slope(&floors);
    let risen = quarters[3].0 - quarters[0].0;
    let rises = line.t >= MINIMUM_T
        && line.low_per_s * covered >= minimum
        && risen >= minimum / 2.0
        && quarters.iter().all(|(_, samples)| *samples >= MINIMUM_SAMPLES_PER_QUARTER)
        && quarters.windows(2).all(|pair| pair[1].0 - pair[0].0 >= risen * MINIMUM_SHARE);
    rises.then_some(line)
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;
