//! Values with a least and a greatest. The complaint about one beyond them says what is allowed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::human::{Limit, Period, PeriodOrOff, Size, SizeOrAuto, SizeOrUnlimited, period_text, size_text};

/// A value that can be out of bounds.
pub(super) trait Bounded {
    /// What is compared with the bounds.
    type Bound: PartialOrd + Copy;
    /// The word allowed in place of a value within them, for people.
    const OR: &str = "";

    /// `None`: a word stands in its place.
    fn bounded(&mut self) -> Option<&mut Self::Bound>;

    /// A bound as a file writes it.
    fn text(bound: Self::Bound) -> String;

    /// Takes the least value allowed in place of one out of bounds.
    ///
    /// # Errors
    /// What is allowed, if the value was out of bounds.
    fn keep_within(&mut self, allowed: &RangeInclusive<Self::Bound>) -> Result<(), String> {
        match self.bounded() {
            Some(value) if !allowed.contains(value) => {
                *value = *allowed.start();
                let (least, most) = (Self::text(*allowed.start()), Self::text(*allowed.end()));
                Err(format!("must be {}{least} to {most}", Self::OR))
            }
            _ => Ok(()),
        }
    }
}

const UNLIMITED_OR: &str = "\"unlimited\" or ";

impl Bounded for i64 {
    type Bound = i64;

    fn bounded(&mut self) -> Option<&mut i64> {
        Some(self)
    }

    fn text(bound: i64) -> String {
        bound.to_string()
    }
}

impl Bounded for Limit {
    type Bound = i64;
    const OR: &str = UNLIMITED_OR;

    fn bounded(&mut self) -> Option<&mut i64> {
        self.0.as_mut()
    }

    fn text(bound: i64) -> String {
        bound.to_string()
    }
}

impl Bounded for Size {
    type Bound = u64;

    fn bounded(&mut self) -> Option<&mut u64> {
        Some(&mut self.0)
    }

    fn text(bound: u64) -> String {
        size_text(bound)
    }
}

impl Bounded for SizeOrAuto {
    type Bound = u64;

    fn bounded(&mut self) -> Option<&mut u64> {
        self.0.as_mut()
    }

    fn text(bound: u64) -> String {
        size_text(bound)
    }
}

impl Bounded for SizeOrUnlimited {
    type Bound = u64;
    const OR: &str = UNLIMITED_OR;

    fn bounded(&mut self) -> Option<&mut u64> {
        self.0.as_mut()
    }

    fn text(bound: u64) -> String {
        size_text(bound)
    }
}

impl Bounded for Period {
    type Bound = Duration;

    fn bounded(&mut self) -> Option<&mut Duration> {
        Some(&mut self.0)
    }

    fn text(bound: Duration) -> String {
        period_text(bound)
    }
}

impl Bounded for PeriodOrOff {
    type Bound = Duration;

    fn bounded(&mut self) -> Option<&mut Duration> {
        self.0.as_mut()
    }

    fn text(bound: Duration) -> String {
        period_text(bound)
    }
}
