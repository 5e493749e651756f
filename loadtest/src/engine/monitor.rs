//! Closes the recorded second, looks at the target, and ends a load in steps when the receiver has fallen behind.

use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::run::Run;
use crate::objective::Wanted;
use crate::result::{Host, Sampler, Second, Step, Target, TargetKind, Usage, us_to_ms};
use crate::scenario::Pace;

/// The part of what is offered that a receiver must answer in time to have kept up.
const KEPT_UP: f64 = 0.95;
const SECOND: Duration = Duration::from_secs(1);
/// While nothing has been acknowledged, so often is looked whether everything fails.
const GLANCE: Duration = Duration::from_millis(100);
/// A receiver has so long, and so many instances, for its first success.
const GRACE: Duration = Duration::from_millis(500);
const HOPELESS: u64 = 10;

/// Watches one run.
pub(super) struct Monitor<'a> {
    run: &'a Run<'a>,
    sampler: Option<Box<dyn Sampler>>,
    resting_bytes: Option<u64>,
    series: Vec<Second>,
    steps: Vec<Step>,
    fell_behind: bool,
    /// Why the load was ended.
    stopped: Option<String>,
}

impl<'a> Monitor<'a> {
    /// Looks at the target before the load, too.
    pub(super) fn new(run: &'a Run<'a>, mut sampler: Option<Box<dyn Sampler>>) -> Self {
        let resting = sampler.as_mut().and_then(|sampler| sampler.sample());
        Self {
            run,
            sampler,
            resting_bytes: resting.map(|seen| seen.rss_bytes),
            series: Vec::new(),
            steps: Vec::new(),
            fell_behind: false,
            stopped: None,
        }
    }

    /// Watches until `working` is let go of by all who work.
    pub(super) fn watch(&mut self, working: &Receiver<()>, watch: &mut dyn FnMut(&Second)) {
        let mut tick = self.run.start + SECOND;
        let mut unproven = !self.run.plan.objectives.iter().any(Wanted::is_about_failures);
        loop {
            let left = tick.saturating_duration_since(Instant::now());
            let left = if unproven { left.min(GLANCE) } else { left };
            let done = working.recv_timeout(left) == Err(RecvTimeoutError::Disconnected);
            let now = Instant::now();
            if done || now >= tick {
                self.close_second(now, watch);
                // A second that was slept through is not made up for.
                tick = (tick + SECOND).max(now);
            }
            self.judge_steps(now, done);
            unproven = unproven && self.is_hopeful(now);
            if done {
                return;
            }
        }
    }

    /// Ends a load of which everything fails from the start; `false` when there is no need to look again.
    fn is_hopeful(&mut self, now: Instant) -> bool {
        let Some((failed, by)) = self.run.recorder.nothing_but_failures() else {
            return false;
        };
        let hopeless = failed >= HOPELESS && now.saturating_duration_since(self.run.start) >= GRACE;
        if hopeless {
            self.run.end_now();
            self.stopped = Some(format!("ended early, since none of the first {failed} instances was stored ({by})"));
        }
        !hopeless
    }

    fn close_second(&mut self, now: Instant, watch: &mut dyn FnMut(&Second)) {
        let t_s = now.saturating_duration_since(self.run.start).as_secs_f64();
        let mut second = self.run.recorder.close_second(t_s, self.run.backlog(now));
        second.target = self.sampler.as_mut().and_then(|sampler| sampler.sample());
        watch(&second);
        self.series.push(second);
    }

    /// Judges every step whose time, and the latency that is granted after it, are over.
    fn judge_steps(&mut self, now: Instant, done: bool) {
        let Pace::Steps { rates_per_s, step_s, knee_p99_ms, .. } = &self.run.plan.scenario.load.pace else {
            return;
        };
        let now_s = now.saturating_duration_since(self.run.start).as_secs_f64();
        while let Some(&offered_per_s) = rates_per_s.get(self.steps.len()).filter(|_| !self.fell_behind) {
            let number = self.steps.len();
            let ended_s = (number + 1) as f64 * step_s + knee_p99_ms / 1000.0;
            let Some(step_record) = self.run.recorder.step(number).filter(|_| now_s >= ended_s || done) else {
                return;
            };
            let Some(taken) = self.run.groups.first().map(|group| group.schedule.step(number)) else {
                return;
            };
            // A step that was not gone through to its end says nothing.
            if now_s < (number + 1) as f64 * step_s || taken.taken == 0 {
                return;
            }
            let (p50_ms, p99_ms) = (
                us_to_ms(step_record.latency.value_at_quantile(0.5)),
                us_to_ms(step_record.latency.value_at_quantile(0.99)),
            );
            let in_time = step_record.in_time as f64;
            let kept_up = !taken.behind && in_time >= KEPT_UP * taken.taken as f64 && p99_ms <= *knee_p99_ms;
            self.steps.push(Step { offered_per_s, achieved_per_s: in_time / step_s, p50_ms, p99_ms, knee: false });
            if !kept_up {
                self.fell_behind = true;
                self.run.end_now();
            }
        }
    }

    /// The steps that were gone through; the knee is the last that the receiver kept up with.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = self.steps.clone();
        let kept_up = steps.len() - usize::from(self.fell_behind);
        if let Some(knee) = kept_up.checked_sub(1).and_then(|knee| steps.get_mut(knee)) {
            knee.knee = true;
        }
        steps
    }

    pub(super) fn target(&self) -> Target {
        let sampler = self.sampler.as_deref();
        Target {
            address: self.run.plan.target.clone(),
            kind: sampler.map_or(TargetKind::Unknown, |sampler| sampler.kind()),
            name: sampler.and_then(|sampler| sampler.name()),
            durability: sampler.and_then(|sampler| sampler.durability()),
        }
    }

    pub(super) fn target_usage(&self) -> Option<Usage> {
        self.sampler.as_ref()?.usage()
    }

    pub(super) fn target_resting_bytes(&self) -> Option<u64> {
        self.resting_bytes
    }

    pub(super) fn stopped(&self) -> Option<String> {
        self.stopped.clone()
    }

    pub(super) fn into_series(self) -> Vec<Second> {
        self.series
    }
}

/// The machine that the generator runs on; what cannot be read is zero or empty.
pub(super) fn host() -> Host {
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: u64 = total.and_then(|total| total.split_whitespace().next()?.parse().ok()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
        memory_bytes: kib * 1024,
        kernel: kernel.trim().to_owned(),
    }
}
