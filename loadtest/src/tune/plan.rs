//! How the time is divided: by what runs really took.

use super::trial::Axis;

/// The shortest run that says anything.
const LEAST_S: f64 = 1.0;

/// The times of runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// Wanted.
    length_s: f64,
    /// Of a run beside its length, by the mean of those that were made: start, stop, removal of what was stored.
    beside_s: f64,
    runs: f64,
}

impl Allowance {
    pub(crate) fn new(length_s: f64, beside_s: f64) -> Self {
        Self { length_s, beside_s, runs: 1.0 }
    }

    /// A run of this length took so long.
    pub(crate) fn took(&mut self, length_s: f64, all_s: f64) {
        self.beside_s = (self.beside_s * self.runs + (all_s - length_s).max(0.0)) / (self.runs + 1.0);
        self.runs += 1.0;
    }

    fn least_s(&self) -> f64 {
        LEAST_S.min(self.length_s) + self.beside_s
    }

    /// Whether so many of the shortest runs fit.
    pub(crate) fn fits(&self, runs: usize, available_s: f64) -> bool {
        self.least_s() * runs as f64 <= available_s
    }

    /// The time of so many runs of the wanted length.
    pub(crate) fn takes_s(&self, runs: usize) -> f64 {
        (self.length_s + self.beside_s) * runs as f64
    }

    /// The first stage's part of what is left, by the numbers of trials. What it does not need goes to the others.
    pub(crate) fn share_s(&self, trials: &[usize], left_s: f64) -> f64 {
        let all: usize = trials.iter().sum();
        left_s.max(0.0) * trials.first().copied().unwrap_or_default() as f64 / all.max(1) as f64
    }

    /// The length of each of so many runs.
    pub(crate) fn length_s(&self, runs: usize, available_s: f64) -> f64 {
        let each_s = available_s / runs.max(1) as f64 - self.beside_s;
        each_s.clamp(LEAST_S.min(self.length_s), self.length_s)
    }
}

/// The axes with as many values as `fits`, by the number of combinations; empty when not even two combinations do. The first axis is what
/// is tuned above all: the others lose their values, both ends last, and then fall out, before it loses one.
pub(crate) fn thinned(axes: &[Axis], fits: impl Fn(&[Axis]) -> bool) -> Vec<Axis> {
    let mut axes = axes.to_vec();
    while !axes.is_empty() && !fits(&axes) {
        let others = axes.iter_mut().skip(1).filter(|axis| axis.values.len() > 2);
        if let Some(longest) = others.max_by_key(|axis| axis.values.len()) {
            // One from the middle: what lies between is the likeliest to be like its neighbours.
            longest.values.remove(longest.values.len() / 2);
        } else if axes.len() > 1 {
            axes.pop();
        } else if let Some(only) = axes.first_mut().filter(|axis| axis.values.len() > 1) {
            only.values.remove(if only.values.len() > 2 { only.values.len() / 2 } else { 0 });
        } else {
            axes.clear();
        }
    }
    axes
}
