//! What `tidegate status` tells of deliveries and events.

use super::text::{age, cut, safe};
use crate::admin::outgoing::{DeliveryHealth, EventsHealth, NotTaking};

/// Destinations or sinks that are named; the others are counted.
const NAMED: usize = 5;
/// Columns of what failed.
const WHY_COLUMNS: usize = 200;

pub(super) fn delivery(health: Option<&DeliveryHealth>) -> String {
    let Some(health) = health else { return "none without a catalogue".to_owned() };
    let DeliveryHealth { destinations, waiting, retrying, sent, dead, oldest_waiting_ms, not_taking } = health;
    if (*destinations, waiting + retrying + sent + dead) == (0, 0) {
        return "none configured".to_owned();
    }
    let mut text = format!("{waiting} waiting");
    if *retrying > 0 {
        text.push_str(&format!(", {retrying} retrying"));
    }
    text.push_str(&oldest(*oldest_waiting_ms));
    if *sent > 0 {
        text.push_str(&format!(", {sent} to be committed"));
    }
    text + &given_up(*dead) + &troubles(not_taking, "tidegate outbox")
}

pub(super) fn events(health: Option<&EventsHealth>) -> String {
    let Some(health) = health else { return "none without a catalogue".to_owned() };
    let EventsHealth { sinks, waiting, dead, oldest_waiting_ms, not_taking } = health;
    if (*sinks, waiting + dead) == (0, 0) {
        return "no sink configured".to_owned();
    }
    let (oldest, given_up) = (oldest(*oldest_waiting_ms), given_up(*dead));
    format!("{waiting} waiting{oldest}{given_up}{}", troubles(not_taking, "tidegate events"))
}

fn oldest(waiting_ms: Option<u64>) -> String {
    waiting_ms.map_or_else(String::new, |ms| format!(" (the oldest for {})", age(ms)))
}

fn given_up(dead: u64) -> String {
    if dead > 0 { format!(", {dead} DEAD") } else { String::new() }
}

/// Those that do not take what they are owed, with the command that lists all.
fn troubles(all: &[NotTaking], command: &str) -> String {
    let one = |one: &NotTaking| {
        let name = if one.name.is_empty() { "one".to_owned() } else { safe(&one.name) };
        let error = one.error.as_ref().map_or_else(String::new, |why| format!(": {}", cut(&safe(why), WHY_COLUMNS)));
        format!("; {name} {}{error}", words(&one.reason))
    };
    let others = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        others => format!("; and {others} more ({command})"),
    };
    all.iter().take(NAMED).map(one).collect::<String>() + &others
}

fn words(reason: &str) -> String {
    match reason {
        "not_committing" => "does NOT COMMIT".to_owned(),
        "not_configured" => "is NOT CONFIGURED and keeps what it is owed".to_owned(),
        "paused" => "is paused".to_owned(),
        "unavailable" => "CANNOT BE SERVED".to_owned(),
        "gone" => "WANTS NO MORE (tidegate events retry sends them again)".to_owned(),
        reason => format!("is {}", reason.to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample;

    #[test]
    fn what_is_well_is_short_and_what_is_not_configured_is_said_to_be_so() {
        let well = DeliveryHealth {
            waiting: 0,
            retrying: 0,
            sent: 0,
            dead: 0,
            oldest_waiting_ms: None,
            not_taking: Vec::new(),
            ..sample::delivery()
        };
        assert_eq!(delivery(Some(&well)), "0 waiting");
        assert_eq!(delivery(Some(&DeliveryHealth { destinations: 0, ..well.clone() })), "none configured");
        assert_eq!(delivery(None), "none without a catalogue");
        let well =
            EventsHealth { waiting: 0, dead: 0, oldest_waiting_ms: None, not_taking: Vec::new(), ..sample::events() };
        assert_eq!(events(Some(&well)), "0 waiting");
        assert_eq!(events(Some(&EventsHealth { sinks: 0, ..well })), "no sink configured");
    }

    #[test]
    fn of_many_that_take_nothing_a_few_are_named() {
        let one = sample::events().not_taking.remove(0);
        let many =
            EventsHealth { not_taking: vec![NotTaking { reason: "down".to_owned(), ..one }; 7], ..sample::events() };
        let text = events(Some(&many));
        assert_eq!(text.matches("ris is DOWN").count(), NAMED, "{text}");
        assert!(text.ends_with("; and 2 more (tidegate events)"), "{text}");
    }
}
