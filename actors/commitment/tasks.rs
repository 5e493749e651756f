//! The evaluations under way, in turns: each gets a step, so that a request of 100,000 instances delays no other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::evaluation::{Evaluation, Terms};
use super::shared::Begun;

/// Evaluations at one time.
const MAX_TASKS: usize = 64;

/// An evaluation.
pub(super) struct Task {
    pub(super) id: i64,
    pub(super) evaluation: Evaluation,
    /// The sender of a report that waits for the outcome; `None`: it is the first evaluation.
    pub(super) begins: Option<oneshot::Sender<Result<Begun, String>>>,
    pub(super) has_begun: bool,
    /// What was not there is looked for once more.
    pub(super) is_second_look: bool,
}

impl Task {
    /// Another evaluation, before a report or in place of a wait: what is not there by now is not committed.
    pub(super) fn last(id: i64, terms: Terms, begins: Option<oneshot::Sender<Result<Begun, String>>>) -> Self {
        let mut task = Self { begins, ..Self::first(id, terms) };
        task.evaluation.waits_no_more = true;
        task
    }

    pub(super) fn first(id: i64, terms: Terms) -> Self {
        Self { id, evaluation: Evaluation::new(terms), begins: None, has_begun: false, is_second_look: false }
    }

    /// The same from the beginning.
    pub(super) fn anew(self, terms: Terms) -> Self {
        let mut evaluation = Evaluation::new(terms);
        evaluation.waits_no_more = self.evaluation.waits_no_more;
        Self { evaluation, has_begun: false, ..self }
    }
}

/// A request that was first seen lately, by a clock that nobody sets.
pub(super) struct Lately {
    since: Instant,
    /// Instances that were missing at the last look, and when there were more.
    missing: u32,
    progress_at: Instant,
}

impl Default for Lately {
    fn default() -> Self {
        let now = Instant::now();
        Self { since: now, missing: u32::MAX, progress_at: now }
    }
}

impl Lately {
    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Notes how many are missing. How long ago some came.
    pub(super) fn note_missing(&mut self, missing: u32) -> Duration {
        if missing < self.missing {
            (self.missing, self.progress_at) = (missing, Instant::now());
        }
        self.progress_at.elapsed()
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Tasks(pub(super) VecDeque<Task>);

impl Tasks {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, id: i64) -> bool {
        self.0.iter().any(|task| task.id == id)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.len() < MAX_TASKS
    }

    /// Adds one. A first evaluation without room is found again in the record.
    pub(super) fn push(&mut self, task: Task) {
        if task.begins.is_some() || self.has_room() {
            self.0.push_back(task);
        }
    }
}
