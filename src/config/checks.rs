//! Bounds of single values. A value beyond them becomes a [`Problem`] that says what is allowed.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::human::{Limit, Period, Size, SizeOrUnlimited, period_text, size_text};
use super::problem::Problem;
use super::raw::defaults;
use super::sources::Given;

/// How many associations a limit may allow.
pub(super) const ASSOCIATIONS: RangeInclusive<usize> = 1..=65_536;

/// Checks values one by one; a refused value is recorded and something within bounds goes on in its place.
pub(super) struct Checks<'a> {
    given: &'a Given,
    problems: &'a mut Vec<Problem>,
}

impl<'a> Checks<'a> {
    pub(super) fn new(given: &'a Given, problems: &'a mut Vec<Problem>) -> Self {
        Self { given, problems }
    }

    pub(super) fn refuse(&mut self, key: &str, complaint: &str) {
        let (value, origin) = match self.given.get(key) {
            Some(given) => (given.value.to_string(), given.origin.clone()),
            None => {
                let default = defaults().get(key).map(ToString::to_string);
                (default.unwrap_or_default(), "built-in default".to_owned())
            }
        };
        self.problems.push(Problem { key: key.to_owned(), value, origin, complaint: complaint.to_owned() });
    }

    /// None of the keys is refused already: a sum over them means something.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !self.problems.iter().any(|problem| keys.contains(&problem.key.as_str()))
    }

    pub(super) fn count<T>(&mut self, key: &str, value: i64, allowed: RangeInclusive<T>) -> T
    where
        T: TryFrom<i64> + PartialOrd + Copy + Display,
    {
        match T::try_from(value) {
            Ok(value) if allowed.contains(&value) => value,
            _ => {
                self.refuse(key, &format!("must be {} to {}", allowed.start(), allowed.end()));
                *allowed.start()
            }
        }
    }

    pub(super) fn limit<T>(&mut self, key: &str, Limit(value): Limit, allowed: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Copy + Display,
    {
        let value = value?;
        match T::try_from(value) {
            Ok(value) if allowed.contains(&value) => Some(value),
            _ => {
                let (least, most) = allowed.into_inner();
                self.refuse(key, &format!("must be \"unlimited\" or {least} to {most}"));
                None
            }
        }
    }

    pub(super) fn size(&mut self, key: &str, Size(value): Size, allowed: RangeInclusive<u64>) -> u64 {
        self.within(key, value, allowed, |&bytes| size_text(bytes))
    }

    pub(super) fn size_or_unlimited(
        &mut self,
        key: &str,
        SizeOrUnlimited(value): SizeOrUnlimited,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let text = |bytes: &u64| size_text(*bytes);
        let outside = value.is_some_and(|value| !allowed.contains(&value));
        if outside {
            let complaint = format!("must be \"unlimited\" or {} to {}", text(allowed.start()), text(allowed.end()));
            self.refuse(key, &complaint);
        }
        value.filter(|_| !outside)
    }

    pub(super) fn period(&mut self, key: &str, Period(value): Period, allowed: RangeInclusive<Duration>) -> Duration {
        self.within(key, value, allowed, |&period| period_text(period))
    }

    fn within<T: PartialOrd + Copy>(
        &mut self,
        key: &str,
        value: T,
        allowed: RangeInclusive<T>,
        text: impl Fn(&T) -> String,
    ) -> T {
        if allowed.contains(&value) {
            return value;
        }
        self.refuse(key, &format!("must be {} to {}", text(allowed.start()), text(allowed.end())));
        *allowed.start()
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
