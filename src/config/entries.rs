//! What the tables of destinations and of sinks have in common.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::human::{Period, Scalar};

/// Longest name. Names are in log lines, metrics and rows.
const MAX_NAME_CHARACTERS: usize = 32;
const RETRY_FOR: RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(365 * 86_400);

/// Refuses a name that is none, or that a table before it has. `what` is the word for a table.
pub(super) fn check_name<'a>(
    name: &str,
    what: &str,
    mut earlier: impl Iterator<Item = &'a str>,
    refuse: &mut impl FnMut(&str, &str),
) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !(1..=MAX_NAME_CHARACTERS).contains(&name.len()) || !name.chars().all(allowed) {
        let complaint = format!("must be 1 to {MAX_NAME_CHARACTERS} letters, digits, \"-\", \"_\" and \".\"");
        refuse("name", &complaint);
    }
    if let Some(earlier) = earlier.position(|earlier| earlier == name) {
        let complaint = format!("is the name of {what} {} before it: give each {what} a name of its own", earlier + 1);
        refuse("name", &complaint);
    }
}

/// After what time something is dead.
pub(super) fn retry_for(text: &str, refuse: &mut impl FnMut(&str, &str)) -> Duration {
    period(text, &RETRY_FOR).unwrap_or_else(|| {
        refuse("retry_for", "must be a duration with its unit from 1m to 365days, such as \"24h\" or \"7days\"");
        Duration::ZERO
    })
}

/// A duration within bounds.
pub(super) fn period(text: &str, bounds: &RangeInclusive<Duration>) -> Option<Duration> {
    let Period(period) = Period::try_from(Scalar::Text(text.to_owned())).ok()?;
    bounds.contains(&period).then_some(period)
}
