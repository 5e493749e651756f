//! Values with a least and a greatest. The error of a value out of bounds states the allowed ones.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::human::{Limit, OrAuto, Period, PeriodOrOff, Size, SizeOrUnlimited, period_text, size_text};

/// A bound, shown as a file writes it.
pub(super) trait Bound: PartialOrd + Copy {
    fn text(self) -> String;
}

impl Bound for i64 {
    fn text(self) -> String {
        self.to_string()
    }
}

/// A size.
impl Bound for u64 {
    fn text(self) -> String {
        size_text(self)
    }
}

impl Bound for Duration {
    fn text(self) -> String {
        period_text(self)
    }
}

/// A value that can be out of bounds.
pub(super) trait Bounded {
    /// The number that is compared with the bounds.
    type Bound: Bound;
    /// The words that are allowed in place of a number.
    fn words() -> Vec<&'static str> {
        Vec::new()
    }

    /// The number; `None`: a word stands in its place.
    fn bounded(&mut self) -> Option<&mut Self::Bound>;

    /// Takes the least value allowed in place of one out of bounds.
    ///
    /// # Errors
    /// The allowed values, if the value was out of bounds.
    fn keep_within(&mut self, allowed: &RangeInclusive<Self::Bound>) -> Result<(), String> {
        match self.bounded() {
            Some(value) if !allowed.contains(value) => {
                *value = *allowed.start();
                let (least, most) = (allowed.start().text(), allowed.end().text());
                let words: Vec<_> = Self::words().into_iter().map(|word| format!("{word:?}")).collect();
                let or = if words.is_empty() { "" } else { " or " };
                Err(format!("must be {}{or}{least} to {most}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

impl Bounded for i64 {
    type Bound = i64;

    fn bounded(&mut self) -> Option<&mut i64> {
        Some(self)
    }
}

impl Bounded for Limit {
    type Bound = i64;

    fn words() -> Vec<&'static str> {
        vec!["unlimited"]
    }

    fn bounded(&mut self) -> Option<&mut i64> {
        self.0.as_mut()
    }
}

impl<T: Bounded> Bounded for OrAuto<T> {
    type Bound = T::Bound;

    fn words() -> Vec<&'static str> {
        ["auto"].into_iter().chain(T::words()).collect()
    }

    fn bounded(&mut self) -> Option<&mut T::Bound> {
        match self {
            Self::Auto => None,
            Self::Given(given) => given.bounded(),
        }
    }
}

impl Bounded for Size {
    type Bound = u64;

    fn bounded(&mut self) -> Option<&mut u64> {
        Some(&mut self.0)
    }
}

impl Bounded for SizeOrUnlimited {
    type Bound = u64;

    fn words() -> Vec<&'static str> {
        vec!["unlimited"]
    }

    fn bounded(&mut self) -> Option<&mut u64> {
        self.0.as_mut()
    }
}

impl Bounded for Period {
    type Bound = Duration;

    fn bounded(&mut self) -> Option<&mut Duration> {
        Some(&mut self.0)
    }
}

impl Bounded for PeriodOrOff {
    type Bound = Duration;

    fn words() -> Vec<&'static str> {
        vec!["off"]
    }

    fn bounded(&mut self) -> Option<&mut Duration> {
        self.0.as_mut()
    }
}
