//! The checks of `[[senders]]`.

use super::checked::{Associations, Pace, Sender, StudyKind};
use super::place::Problems;
use super::raw::{self, Range};

/// The senders of a scenario, whose associations take the place of `[associations] count`.
pub(super) fn senders(
    raw: Vec<raw::Sender>,
    mix: &[StudyKind],
    associations: &Associations,
    problems: &mut Problems<'_>,
) -> Vec<Sender> {
    let each = raw.into_iter().enumerate();
    each.map(|(index, sender)| self::sender(sender, &format!("senders.{index}"), mix, associations, problems)).collect()
}

fn sender(
    raw: raw::Sender,
    key: &str,
    mix: &[StudyKind],
    associations: &Associations,
    problems: &mut Problems<'_>,
) -> Sender {
    let at = |name: &str| format!("{key}.{name}");
    if raw.name.trim().is_empty() {
        problems.add(&at("name"), "name is missing: add it");
    }
    for (name, number) in [("count", raw.count), ("associations", raw.associations)] {
        if number == 0 || number > 1000 {
            problems.add(&at(name), "must be from 1 to 1000");
        }
    }
    let mut kinds: Vec<usize> = (0..mix.len()).collect();
    if let Some(names) = &raw.mix {
        kinds.clear();
        for name in names {
            let of_name = mix.iter().enumerate().filter(|(_, kind)| kind.name == *name).map(|(index, _)| index);
            let before = kinds.len();
            kinds.extend(of_name);
            if kinds.len() == before {
                problems.add(&at("mix"), format!("there is no [[mix]] of the name {name:?}"));
            }
        }
    }
    if raw.rate_per_s.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
        problems.add(&at("rate_per_s"), "must be more than 0");
    }
    let closed_and_open = [
        ("think_time_ms", raw.think_time_ms.is_some() && raw.rate_per_s.is_some()),
        ("arrival", raw.arrival.is_some() && raw.rate_per_s.is_none()),
    ];
    for (name, _) in closed_and_open.iter().filter(|(_, wrong)| *wrong) {
        problems.add(
            &at(name),
            "has no effect here: think_time_ms is for senders without rate_per_s, arrival for those with one",
        );
    }
    if raw.instances_per_association.is_some_and(|range| range.low == 0) {
        problems.add(&at("instances_per_association"), "must be 1 or more");
    }
    let calling_ae = raw.calling_ae.unwrap_or_else(|| associations.calling_ae.clone());
    if calling_ae.trim().is_empty() || calling_ae.len() > 16 || !calling_ae.is_ascii() {
        problems.add(&at("calling_ae"), "an AE title has 1 to 16 ASCII characters: shorten it");
    }
    let pace = match raw.rate_per_s {
        // Devices that know nothing of each other: their rates add up.
        Some(rate) => Pace::Open { rate_per_s: rate * f64::from(raw.count), arrival: raw.arrival.unwrap_or_default() },
        None => Pace::Closed { think_time_ms: raw.think_time_ms.unwrap_or(Range::just(0)) },
    };
    Sender {
        name: raw.name,
        associations: raw.count.saturating_mul(raw.associations),
        pace,
        kinds,
        lifetime: raw.lifetime.unwrap_or(associations.lifetime),
        instances_per_association: raw.instances_per_association,
        calling_ae,
    }
}
