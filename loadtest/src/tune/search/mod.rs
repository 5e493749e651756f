//! Which combination is run next, when that is enough, and which of them is the answer.
//!
//! Keys that act on each other are tried together, in one stage; the stages follow one another, each with what was found before. The first
//! trial of a stage leaves its keys as they are configured. Runs of all trials alternate, round by round, and trials are compared within
//! rounds: what drifts on the host meets all of them. An answer is a trial that is shown to be within [`AS_GOOD`] of every other; what is
//! configured is changed only for something that is shown to be better.

#[cfg(test)]
mod tests;

use serde::Serialize;

use super::figures::{Figures, Goal};
use super::plan::{Allowance, thinned};
use super::trial::{Axis, Rules, Settings, Trial, combinations};
use crate::statistics::{MIN_RUNS, ratio_of_runs};

/// A trial that reaches this share of another is as good: nobody changes a configuration for less.
const AS_GOOD: f64 = 0.95;
/// Of each comparison. It is looked after every round whether there is an answer, and each look is another chance to be wrong.
const CONFIDENCE: f64 = 0.99;
/// Rounds after which a stage that is still open stays so.
const MAX_ROUNDS: usize = 30;

/// Runs a node with settings, and knows the time.
pub(crate) trait Bench {
    type Error;
    /// The figures of one run of about `length_s` seconds. Each setting of a round gets the same instances.
    fn measure(&mut self, settings: &Settings, round: usize, length_s: f64) -> Result<Figures, Self::Error>;
    /// Seconds that the search may still take.
    fn left_s(&self) -> f64;
    /// Seconds that a run takes beside its length, by what was seen so far.
    fn beside_s(&self) -> f64;
}

/// The result of a stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// No tried setting is better than the configured one.
    AsConfigured,
    /// This trial, by its index: the cheapest that is shown to be as good as every other.
    Take(usize),
    /// These trials are not told apart.
    CannotTell(Vec<usize>),
    /// No trial kept to the bounds without a failure.
    NoneKept,
}

/// Keys that were tried together.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stage {
    pub(crate) keys: Vec<String>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) answer: Answer,
    /// The bound on p99 that was held, where the one that was asked for could not be.
    pub(crate) p99_bound_ms: Option<f64>,
}

/// Combinations of one stage that were not measured for want of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) keys: Vec<String>,
    /// Their values, in the order of the keys.
    pub(crate) combinations: Vec<Vec<String>>,
    /// The time that they would take.
    pub(crate) takes_s: f64,
}

/// All stages and what they add up to.
#[derive(Debug, Serialize)]
pub(crate) struct Search {
    pub(crate) goal: Goal,
    pub(crate) stages: Vec<Stage>,
    pub(crate) best: Settings,
    /// By stage.
    pub(crate) left_out: Vec<LeftOut>,
}

impl Search {
    /// Whether anything is recommended that is not configured.
    pub(crate) fn changes(&self) -> bool {
        self.stages.iter().any(|stage| matches!(stage.answer, Answer::Take(_)))
    }

    /// Whether any combination served the load within its bounds.
    pub(crate) fn has_an_answer(&self) -> bool {
        self.stages.iter().any(|stage| !matches!(stage.answer, Answer::NoneKept))
    }

    /// The medians of the settings that are recommended, from the last stage that had them.
    pub(crate) fn best_figures(&self) -> Option<Figures> {
        let stage = self.stages.last()?;
        let index = match stage.answer {
            Answer::Take(index) => index,
            _ => 0,
        };
        stage.trials.get(index).filter(|trial| !trial.runs.is_empty()).map(Trial::medians)
    }
}

/// Runs stage after stage while there is time: runs get shorter and values fewer before a key is left out. The first key of the first stage
/// is what is tuned above all: it gets all the time there is before one of its values is left out. `defaults` are the node's own values.
///
/// # Errors
/// Those of the bench.
pub(crate) fn search<B: Bench>(
    stages: &[Vec<Axis>],
    fixed: &Settings,
    defaults: &Settings,
    rules: &Rules,
    bench: &mut B,
) -> Result<Search, B::Error> {
    let mut search = Search { goal: rules.goal, stages: Vec::new(), best: fixed.clone(), left_out: Vec::new() };
    let mut allowance = Allowance::new(rules.length_s, bench.beside_s());
    for (index, wanted) in stages.iter().enumerate() {
        let all_of = |axes: &[Axis], best: &Settings| combinations(axes, best, defaults);
        let sizes: Vec<usize> = stages.iter().skip(index).map(|axes| all_of(axes, &search.best).len()).collect();
        let all = all_of(wanted, &search.best);
        let mut share_s = allowance.share_s(&sizes, bench.left_s());
        // Short of time, rounds are fewer before values are.
        let rounds = if allowance.fits(all.len() * rules.rounds, share_s) { rules.rounds } else { MIN_RUNS };
        let within =
            |share_s: f64| thinned(wanted, |axes| allowance.fits(all_of(axes, &search.best).len() * rounds, share_s));
        let mut axes = within(share_s);
        if index == 0 && axes.len() < wanted.len() {
            share_s = bench.left_s();
            axes = within(share_s);
        }
        let trials = all_of(&axes, &search.best);
        search.left_out.extend(left_out(wanted, &axes, &all, |trials| allowance.takes_s(trials * rules.rounds)));
        if trials.len() < 2 {
            continue;
        }
        let keys: Vec<String> = axes.iter().map(|axis| axis.key.clone()).collect();
        let until_s = bench.left_s() - share_s;
        let stage = Stage { keys, trials, answer: Answer::NoneKept, p99_bound_ms: None };
        let stage = run_stage(stage, &Rules { rounds, ..*rules }, &mut allowance, until_s, bench)?;
        if let Answer::Take(index) = stage.answer
            && let Some(trial) = stage.trials.get(index)
        {
            search.best = trial.settings.clone();
        }
        search.stages.push(stage);
    }
    Ok(search)
}

/// The combinations of the `wanted` values that those of `axes` do not have.
fn left_out(wanted: &[Axis], axes: &[Axis], all: &[Trial], takes_s: impl Fn(usize) -> f64) -> Option<LeftOut> {
    let is_measured = |trial: &Trial| {
        let has = |(axis, value): (&Axis, &String)| {
            axes.iter().any(|kept| kept.key == axis.key && kept.values.contains(value))
        };
        wanted.iter().zip(&trial.values).all(has)
    };
    let combinations: Vec<Vec<String>> = all
        .iter()
        .filter(|trial| !trial.is_configured() && !is_measured(trial))
        .map(|trial| trial.values.clone())
        .collect();
    let keys = wanted.iter().map(|axis| axis.key.clone()).collect();
    let takes_s = takes_s(combinations.len());
    (!combinations.is_empty()).then_some(LeftOut { keys, combinations, takes_s })
}

/// Runs the trials of a stage round by round until one is the answer, or until `until_s` are left.
fn run_stage<B: Bench>(
    mut stage: Stage,
    rules: &Rules,
    allowance: &mut Allowance,
    until_s: f64,
    bench: &mut B,
) -> Result<Stage, B::Error> {
    let length_s = allowance.length_s(stage.trials.len() * rules.rounds, bench.left_s() - until_s);
    let mut running: Vec<usize> = (0..stage.trials.len()).collect();
    for round in 0..MAX_ROUNDS {
        // Forth and back: none always follows the same neighbour.
        if round % 2 == 1 {
            running.reverse();
        }
        let begun_s = bench.left_s();
        for index in &running {
            if let Some(trial) = stage.trials.get_mut(*index) {
                let before_s = bench.left_s();
                let figures = bench.measure(&trial.settings, round, length_s)?;
                trial.runs.push(figures);
                allowance.took(length_s, before_s - bench.left_s());
            }
        }
        let round_s = begun_s - bench.left_s();
        let fits = |until_s: f64| bench.left_s() - round_s >= until_s;
        // Rounds that take longer than was planned are fewer; with fewer than the least nothing is told, so those go on into the reserve.
        if round + 1 < rules.rounds && fits(if round + 1 < MIN_RUNS { 0.0 } else { until_s }) {
            continue;
        }
        (stage.answer, stage.p99_bound_ms) = judge(&stage.trials, rules);
        running.sort_unstable();
        match &stage.answer {
            Answer::CannotTell(open) if fits(until_s) => running.clone_from(open),
            _ => break,
        }
    }
    let chosen = match stage.answer {
        Answer::Take(index) => Some(index),
        Answer::AsConfigured => Some(0),
        Answer::CannotTell(_) | Answer::NoneKept => None,
    };
    if let Some(trial) = chosen.and_then(|index| stage.trials.get_mut(index)) {
        trial.chosen = true;
    }
    Ok(stage)
}

/// The answer so far, and the bound on p99 that it keeps to when that is another than the rules'.
fn judge(trials: &[Trial], rules: &Rules) -> (Answer, Option<f64>) {
    let (rules, bound_ms) = match trials.iter().any(|trial| trial.keeps_to(rules)) {
        true => (*rules, None),
        false => {
            // Nothing keeps to it: a little above the least that can be had is the bound then.
            let p99s = trials.iter().map(|trial| trial.median(|run| run.p99_ms));
            let bound_ms = 1.25 * p99s.fold(f64::INFINITY, f64::min);
            (Rules { max_p99_ms: bound_ms, ..*rules }, Some(bound_ms))
        }
    };
    let kept: Vec<usize> =
        trials.iter().enumerate().filter(|(_, trial)| trial.keeps_to(&rules)).map(|(index, _)| index).collect();
    let values = |index: usize| -> Vec<f64> {
        trials.get(index).map(|trial| trial.runs.iter().map(|run| rules.goal.value(run)).collect()).unwrap_or_default()
    };
    // The new by the old over the rounds that both have.
    let ratio = |new: usize, old: usize| {
        let (new, old) = (values(new), values(old));
        let both = new.len().min(old.len());
        ratio_of_runs(old.get(..both)?, new.get(..both)?, true, CONFIDENCE)
    };
    let as_good = |one: usize, other: usize| ratio(one, other).is_some_and(|ratio| ratio.low >= AS_GOOD);
    if kept.is_empty() {
        return (Answer::NoneKept, None);
    }
    let median = |index: usize| trials.get(index).map_or(f64::NAN, |trial| trial.median_of(rules.goal));
    let leader = kept.iter().copied().max_by(|one, other| median(*one).total_cmp(&median(*other))).unwrap_or_default();
    let is_worse = |index: usize| ratio(index, leader).is_some_and(|ratio| ratio.high < 1.0);
    // Trials stand in the order of what they cost, the configured one first. Nothing is changed that is not shown to gain by it.
    let configured_is_out = !kept.contains(&0) || is_worse(0);
    match kept.iter().find(|&&one| kept.iter().all(|&other| one == other || as_good(one, other))) {
        Some(0) => return (Answer::AsConfigured, bound_ms),
        Some(&index) if configured_is_out => return (Answer::Take(index), bound_ms),
        _ => {}
    }
    (Answer::CannotTell(kept.into_iter().filter(|&index| index == leader || !is_worse(index)).collect()), bound_ms)
}
