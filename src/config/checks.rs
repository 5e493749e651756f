//! Refusals of values. Each becomes a [`Problem`] that states what is allowed.

use super::keys::defaults;
use super::problem::Problem;
use super::sources::Given;
use super::tables::{self, ACCESS, DESTINATION, PEER, SINK, Shape};

/// Checks values one by one. An invalid value is recorded, and a value within bounds takes its place.
pub(super) struct Checks<'a> {
    given: &'a Given,
    problems: &'a mut Vec<Problem>,
    /// Values that are allowed and probably not meant.
    pub(super) warnings: Vec<Problem>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(given: &'a Given, problems: &'a mut Vec<Problem>) -> Self {
        Self { given, problems, warnings: Vec::new() }
    }

    pub(super) fn refuse(&mut self, key: &str, complaint: &str) {
        let problem = self.problem(key, complaint);
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, key: &str, complaint: &str) {
        let problem = self.problem(key, complaint);
        self.warnings.push(problem);
    }

    /// Refuses a value of the access rule `number`, counted from 1; without `key`, the rule.
    pub(super) fn refuse_rule(&mut self, number: usize, key: Option<&str>, complaint: &str) {
        self.refuse_table(&ACCESS, number, key, complaint);
    }

    /// Refuses a value of the peer `number`, counted from 1.
    pub(super) fn refuse_peer(&mut self, number: usize, key: &str, complaint: &str) {
        self.refuse_table(&PEER, number, Some(key), complaint);
    }

    /// Refuses a value of the destination `number`, counted from 1.
    pub(super) fn refuse_destination(&mut self, number: usize, key: &str, complaint: &str) {
        self.refuse_table(&DESTINATION, number, Some(key), complaint);
    }

    /// Refuses a value of the sink `number`, counted from 1.
    pub(super) fn refuse_sink(&mut self, number: usize, key: &str, complaint: &str) {
        self.refuse_table(&SINK, number, Some(key), complaint);
    }

    fn refuse_table(&mut self, shape: &Shape, number: usize, key: Option<&str>, complaint: &str) {
        if let Some(given) = self.given.get(shape.array) {
            self.problems.push(tables::problem(shape, given, number, key, complaint));
        }
    }

    pub(super) fn warn_of_rule(&mut self, number: usize, key: &str, complaint: &str) {
        if let Some(given) = self.given.get(ACCESS.array) {
            self.warnings.push(tables::problem(&ACCESS, given, number, Some(key), complaint));
        }
    }

    /// Whether no key of the access rule `number` is refused, except those of `but_for`.
    pub(super) fn rule_is_sound(&self, number: usize, but_for: &[&str]) -> bool {
        let of_rules = self.problems.iter().filter(|problem| problem.key == ACCESS.array);
        of_rules
            .filter_map(|problem| problem.table.as_ref())
            .filter(|rule| rule.number == number)
            .all(|rule| rule.key.as_ref().is_none_or(|key| but_for.contains(&key.as_str())))
    }

    fn problem(&self, key: &str, complaint: &str) -> Problem {
        let (value, origin) = match self.given.get(key) {
            Some(given) if let Some(shape) = tables::shape_of(key) => {
                return tables::problem_of_all(shape, given, complaint);
            }
            Some(given) => (given.value.to_string(), given.origin.clone()),
            None => {
                let default = defaults().get(key).map(ToString::to_string);
                (default.unwrap_or_default(), "built-in default".to_owned())
            }
        };
        Problem { key: key.to_owned(), table: None, value, origin, complaint: complaint.to_owned() }
    }

    /// Warns of keys of which none has an effect because of another one.
    pub(super) fn without_effect(&mut self, keys: &[(&str, bool)], why: &str) {
        for (key, is_set) in keys {
            if *is_set {
                self.warn(key, &format!("has no effect: {why}"));
            }
        }
    }

    /// Whether none of the keys is refused, so that a check across them makes sense.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !self.problems.iter().any(|problem| keys.contains(&problem.key.as_str()))
    }

    pub(super) fn chosen<T: Copy>(&mut self, key: &str, value: &str, choices: &[(&str, T)]) -> Option<T> {
        let chosen = choices.iter().find(|(name, _)| *name == value);
        if chosen.is_none() {
            let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            self.refuse(key, &format!("must be {}", names.join(" or ")));
        }
        chosen.map(|(_, choice)| *choice)
    }

    pub(super) fn parsed<T, E>(&mut self, key: &str, outcome: Result<T, E>, allowed: &str) -> Option<T> {
        if outcome.is_err() {
            self.refuse(key, allowed);
        }
        outcome.ok()
    }
}
