//! `[delivery]` and `[[destination]]`: where instances are delivered to.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use tidegate_actors::{DeliverySettings, DestinationKind, DestinationSettings, DicomDestination, Hours};

use super::calling::{A_TITLE, AN_ADDRESS, address, is_title, tls};
use super::checks::Checks;
use super::entries::{check_name, retry_for};
use super::human::{Scalar, Size};
use super::keys::{DestinationEntry, Raw};
use super::listen::addresses;
use super::nearest::nearest;

/// Most destinations. Each has a thread.
const MAX_DESTINATIONS: usize = 64;
const CONNECTIONS: RangeInclusive<i64> = 1..=32;
const ATTEMPTS: RangeInclusive<i64> = 1..=1000;
const PRIORITY: RangeInclusive<i64> = -1000..=1000;
/// Bandwidth that may be set, in bytes a second.
const BANDWIDTH: RangeInclusive<u64> = 1 << 10..=1 << 40;

const MINUTES_OF_HOUR: u16 = 60;

pub(super) fn delivery(raw: &Raw, checks: &mut Checks<'_>) -> Option<DeliverySettings> {
    let destinations = destinations(raw, checks);
    if raw.catalogue.path.trim() == "off" && !raw.destination.is_empty() {
        let complaint = "needs the catalogue, which keeps what is owed to destinations: set catalogue.path to \"auto\", or delete the destinations";
        checks.refuse("destination", complaint);
    }
    if let Some(complaint) = unknown(&raw.delivery.to, raw) {
        checks.refuse("delivery.to", &complaint);
    }
    let is_tls = |entry: &DestinationEntry| entry.tls;
    let tls = if raw.destination.iter().any(is_tls) { Some(tls(&raw.tls, checks)?) } else { None };
    Some(DeliverySettings { destinations, tls, default_to: names(&raw.delivery.to) })
}

/// Names, each once.
pub(super) fn names(to: &[String]) -> Arc<[String]> {
    let mut names: Vec<String> = Vec::new();
    for name in to {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names.into()
}

/// What is wrong with the first name that no destination has, if there is one.
pub(super) fn unknown(to: &[String], raw: &Raw) -> Option<String> {
    let known = || raw.destination.iter().map(|destination| destination.name.as_str());
    let name = to.iter().find(|name| !known().any(|known| known == name.as_str()))?;
    Some(match nearest(name, known()) {
        Some(meant) => format!("{name:?} is no destination; did you mean {meant:?}?"),
        None if raw.destination.is_empty() => {
            format!("{name:?} is no destination: there are none; add a table [[destination]] with this name")
        }
        None => format!("{name:?} is no destination; there are {}", known().collect::<Vec<_>>().join(", ")),
    })
}

/// The destinations; every mistake in them is refused.
fn destinations(raw: &Raw, checks: &mut Checks<'_>) -> Vec<DestinationSettings> {
    if raw.destination.len() > MAX_DESTINATIONS {
        checks.refuse("destination", &format!("has more than {MAX_DESTINATIONS} destinations"));
    }
    let mut destinations: Vec<DestinationSettings> = Vec::new();
    for (number, entry) in (1..).zip(raw.destination.iter().take(MAX_DESTINATIONS)) {
        let mut refuse = |key: &str, complaint: &str| checks.refuse_destination(number, key, complaint);
        let earlier = destinations.iter().map(|earlier| earlier.name.as_str());
        check_name(&entry.name, "destination", earlier, &mut refuse);
        destinations.push(destination(entry, raw, &mut refuse));
    }
    destinations
}

fn destination(entry: &DestinationEntry, raw: &Raw, refuse: &mut impl FnMut(&str, &str)) -> DestinationSettings {
    match entry.kind.as_str() {
        "dicom" => {}
        "stow" | "s3" => refuse("kind", "is not there yet: this version delivers by \"dicom\" only"),
        _ => refuse("kind", "must be \"dicom\""),
    }
    let mut number = |key: &str, value: i64, bounds: &RangeInclusive<i64>| {
        if !bounds.contains(&value) {
            refuse(key, &format!("must be {} to {}, and not {value}", bounds.start(), bounds.end()));
        }
        value
    };
    let connections = number("connections", entry.connections, &CONNECTIONS);
    let attempts = number("attempts", entry.attempts, &ATTEMPTS);
    let priority = number("priority", entry.priority, &PRIORITY);
    let bandwidth_bytes_per_s = bandwidth(&entry.bandwidth).unwrap_or_else(|complaint| {
        refuse("bandwidth", complaint);
        None
    });
    let hours = hours(&entry.hours).unwrap_or_else(|complaint| {
        refuse("hours", complaint);
        None
    });
    let retry_for = retry_for(&entry.retry_for, refuse);
    DestinationSettings {
        name: entry.name.clone(),
        kind: DestinationKind::Dicom(dicom(entry, raw, connections, refuse)),
        bandwidth_bytes_per_s,
        hours,
        priority: i32::try_from(priority).unwrap_or_default(),
        retry_for,
        attempts: u32::try_from(attempts).unwrap_or(1),
        commits: entry.commit,
    }
}

fn dicom(
    entry: &DestinationEntry,
    raw: &Raw,
    connections: i64,
    refuse: &mut impl FnMut(&str, &str),
) -> DicomDestination {
    let mut title = |key: &str, title: &str| {
        let title = title.trim_matches(' ').to_owned();
        if !is_title(&title) {
            refuse(key, A_TITLE);
        }
        title
    };
    let called = title("called", &entry.called);
    let calling = match &entry.calling {
        Some(calling) => title("calling", calling),
        None => raw.node.ae_title.trim_matches(' ').to_owned(),
    };
    let (host, port) = match address(&entry.address) {
        Some((host, port)) => (host.to_owned(), port),
        None => {
            refuse("address", AN_ADDRESS);
            (String::new(), 0)
        }
    };
    if let Some(key) = own_address(&host, port, raw) {
        refuse(
            "address",
            &format!("is that of this node itself ({key}), which would receive each instance again and again"),
        );
    }
    if entry.tls && raw.tls.client_ca.trim().is_empty() {
        let complaint =
            "requires tls.client_ca: the authorities that must have issued the certificate of the destination";
        refuse("tls", complaint);
    }
    let connections = usize::try_from(connections).unwrap_or(1);
    DicomDestination { host, port, called, calling, is_tls: entry.tls, connections }
}

/// The key with the address on which this node listens, if that is this address.
fn own_address(host: &str, port: u16, raw: &Raw) -> Option<&'static str> {
    let ip =
        if host.eq_ignore_ascii_case("localhost") { Some([127, 0, 0, 1].into()) } else { host.parse::<IpAddr>().ok() };
    let ip = ip?;
    addresses(raw).into_iter().find_map(|(key, own)| {
        let is_own_ip = own.ip() == ip || own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified());
        (port == own.port() && is_own_ip).then_some(key)
    })
}

/// Bytes a second; `None`: no limit.
fn bandwidth(text: &str) -> Result<Option<u64>, &'static str> {
    const ALLOWED: &str = "must be \"off\" or a size for each second from 1 KiB to 1 TiB, such as \"20 MiB\"";
    if text.trim() == "off" {
        return Ok(None);
    }
    let Size(bytes) = Size::try_from(Scalar::Text(text.to_owned())).map_err(|_| ALLOWED)?;
    if BANDWIDTH.contains(&bytes) { Ok(Some(bytes)) } else { Err(ALLOWED) }
}

/// Hours of the day; `None`: all.
fn hours(text: &str) -> Result<Option<Hours>, &'static str> {
    const ALLOWED: &str = "must be \"off\" or two different times of the day, such as \"20:00-06:00\"";
    if text.trim() == "off" {
        return Ok(None);
    }
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let number = |text: &str, below: u16| {
            let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|number| is_plain && *number < below)
        };
        Some(number(hour, 24)? * MINUTES_OF_HOUR + number(minute, MINUTES_OF_HOUR)?)
    };
    let (from, until) = text.split_once('-').ok_or(ALLOWED)?;
    match (minute(from), minute(until)) {
        (Some(from_minute), Some(until_minute)) if from_minute != until_minute => {
            Ok(Some(Hours { from_minute, until_minute }))
        }
        _ => Err(ALLOWED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_two_times_of_the_day() {
        let of = |from_minute, until_minute| Ok(Some(Hours { from_minute, until_minute }));
        assert_eq!(hours("20:00-06:00"), of(1200, 360));
        assert_eq!(hours(" 0:00 - 23:59 "), of(0, 1439));
        assert_eq!(hours("off"), Ok(None));
        for text in
            ["", "20-06", "20:00", "24:00-06:00", "20:60-06:00", "06:00-06:00", "+1:00-02:00", "20:00-06:00-07:00"]
        {
            assert!(hours(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bandwidth_is_a_size_for_each_second() {
        assert_eq!(bandwidth("20 MiB"), Ok(Some(20 << 20)));
        assert_eq!(bandwidth("off"), Ok(None));
        for text in ["0", "1", "2 TiB", "fast", ""] {
            assert!(bandwidth(text).is_err(), "{text}");
        }
    }
}
