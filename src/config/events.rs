//! `[completeness]` and `[[sink]]`: when a study is complete, and who is told of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tidegate_actors::{EventSettings, Secret, SinkKind, SinkSettings, WebhookSettings};
use tidegate_catalogue::{EventKind, Following, Quiet, Subscription};

use super::brokers;
use super::checks::Checks;
use super::entries::{check_name, period, retry_for};
use super::keys::{self, QUIET, Raw, SinkEntry};
use super::nearest::nearest;
use super::secret::secret_text;
use super::sink_url::{Url, tls, url};

/// Most sinks. Each has a thread.
const MAX_SINKS: usize = 16;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(300);
/// Bytes of a key (Standard Webhooks 1.0).
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;

pub(super) fn events(raw: &Raw, checks: &mut Checks<'_>) -> EventSettings {
    let quiet = quiet(raw.completeness.study_quiet.0, raw.completeness.series_quiet.0);
    if quiet.series_ms > quiet.study_ms {
        checks.refuse("completeness.series_quiet", "must not be longer than completeness.study_quiet");
    }
    if raw.catalogue.path.trim() == "off" && !raw.sink.is_empty() {
        let complaint = "needs the catalogue, which keeps what is owed to sinks: set catalogue.path to \"auto\", or delete the sinks";
        checks.refuse("sink", complaint);
    }
    if raw.sink.len() > MAX_SINKS {
        checks.refuse("sink", &format!("has more than {MAX_SINKS} sinks"));
    }
    let (mut sinks, mut subscriptions) = (Vec::new(), Vec::<Subscription>::new());
    for (number, entry) in (1..).zip(raw.sink.iter().take(MAX_SINKS)) {
        let mut refuse = |key: &str, complaint: &str| checks.refuse_sink(number, key, complaint);
        let earlier = subscriptions.iter().map(|earlier| earlier.sink.as_str());
        check_name(&entry.name, "sink", earlier, &mut refuse);
        subscriptions.push(Subscription { sink: entry.name.clone(), kinds: kinds(entry, &mut refuse) });
        sinks.extend(sink(entry, &mut refuse));
    }
    let keys::Completeness { wait_for_missing, ask_source: asks_sources, .. } = raw.completeness;
    if asks_sources && raw.peer.is_empty() {
        let complaint = "asks nobody: a source is asked at the address of its [[peer]], and there is none";
        checks.warn("completeness.ask_source", complaint);
    }
    let (by_rule, missing_ms) = (by_rule(raw, quiet, checks), wait_for_missing.0.map_or(0, ms));
    let following = Following { quiet, by_rule, missing_ms, sinks: subscriptions };
    EventSettings { following, asks_sources, source: source(&raw.node.ae_title), sinks }
}

fn quiet(study: Duration, series: Duration) -> Quiet {
    Quiet { study_ms: ms(study), series_ms: ms(series) }
}

fn ms(period: Duration) -> i64 {
    i64::try_from(period.as_millis()).unwrap_or(i64::MAX)
}

/// The quiet times of the access rules that have some of their own.
fn by_rule(raw: &Raw, default: Quiet, checks: &mut Checks<'_>) -> HashMap<String, Quiet> {
    let mut by_rule = HashMap::new();
    for (number, rule) in (1..).zip(&raw.access) {
        let mut read = |key: &str, text: &Option<String>, default: i64| {
            let Some(text) = text else { return default };
            let period = period(text, &QUIET).unwrap_or_else(|| {
                let complaint = "must be a duration with its unit from 1s to 7days, such as \"2m\"";
                checks.refuse_rule(number, Some(key), complaint);
                Duration::ZERO
            });
            ms(period)
        };
        let study_ms = read("study_quiet", &rule.study_quiet, default.study_ms);
        let series_ms = read("series_quiet", &rule.series_quiet, default.series_ms.min(study_ms));
        if series_ms > study_ms && study_ms > 0 {
            let complaint = "must not be longer than the study_quiet that holds for the rule";
            checks.refuse_rule(number, Some("series_quiet"), complaint);
        }
        if rule.study_quiet.is_some() || rule.series_quiet.is_some() {
            by_rule.insert(rule.name.clone(), Quiet { study_ms, series_ms });
        }
    }
    by_rule
}

fn kinds(entry: &SinkEntry, refuse: &mut impl FnMut(&str, &str)) -> Vec<EventKind> {
    let names = || EventKind::ALL.into_iter().map(EventKind::name);
    let Some(wanted) = &entry.events else {
        return EventKind::ALL.into_iter().filter(|kind| *kind != EventKind::InstanceStored).collect();
    };
    let mut kinds = Vec::new();
    for name in wanted {
        match EventKind::named(name) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => {
                let complaint = match nearest(name, names()) {
                    Some(meant) => format!("{name:?} is no event; did you mean {meant:?}?"),
                    None => format!("{name:?} is no event; there are {}", names().collect::<Vec<_>>().join(", ")),
                };
                refuse("events", &complaint);
            }
        }
    }
    kinds
}

fn sink(entry: &SinkEntry, refuse: &mut impl FnMut(&str, &str)) -> Option<SinkSettings> {
    let retry_for = retry_for(&entry.retry_for, refuse);
    let timeout = period(&entry.timeout, &TIMEOUT).unwrap_or_else(|| {
        refuse("timeout", "must be a duration with its unit from 1s to 5m, such as \"10s\"");
        Duration::ZERO
    });
    let kind = match entry.kind.as_str() {
        "webhook" => webhook(entry, timeout, refuse).map(SinkKind::Webhook),
        "nats" => brokers::nats(entry, timeout, refuse).map(SinkKind::Nats),
        "amqp" => brokers::amqp(entry, timeout, refuse).map(SinkKind::Amqp),
        _ => {
            refuse("kind", "must be \"webhook\", \"nats\" or \"amqp\"");
            return None;
        }
    };
    for (key, value, of) in [
        ("secret_file", &entry.secret_file, &["webhook"][..]),
        ("credentials_file", &entry.credentials_file, &["nats", "amqp"]),
        ("subject", &entry.subject, &["nats"]),
        ("exchange", &entry.exchange, &["amqp"]),
    ] {
        if value.is_some() && !of.contains(&entry.kind.as_str()) {
            let complaint =
                format!("is not for kind = {:?}: it is a key of {}; delete it", entry.kind, of.join(" and "));
            refuse(key, &complaint);
        }
    }
    Some(SinkSettings { name: entry.name.clone(), kind: kind?, patient: entry.patient, retry_for })
}

fn webhook(entry: &SinkEntry, timeout: Duration, refuse: &mut impl FnMut(&str, &str)) -> Option<WebhookSettings> {
    let secret = key(entry.secret_file.as_deref().unwrap_or_default());
    let secret = secret.map_err(|complaint| refuse("secret_file", &complaint)).ok();
    let Some(Url { is_tls, host, port, target }) = url(&entry.url, [("http", 80), ("https", 443)]) else {
        refuse("url", "must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH, without user, fragment and spaces");
        return None;
    };
    let tls = tls(is_tls, entry, refuse)?;
    Some(WebhookSettings { host, port, target, tls, secret: secret?, timeout })
}

/// The key in a file: `whsec_` and base64.
fn key(path: &str) -> Result<Secret, String> {
    if path.trim().is_empty() {
        return Err(
            "must be the path of a file with the key of the signature: whsec_ and 24 to 64 bytes in base64".to_owned()
        );
    }
    let text = secret_text(path)?;
    let key = text.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok());
    let key = key.filter(|key| SECRET_BYTES.contains(&key.len()));
    key.map(|key| Secret(key.into())).ok_or_else(|| {
        format!("{path:?} must hold whsec_ and 24 to 64 bytes in base64, such as `echo whsec_$(openssl rand -base64 32)` makes")
    })
}

/// This node as the source of events: a URI reference (RFC 3986).
fn source(ae_title: &str) -> String {
    let mut source = "/tidegate/".to_owned();
    for byte in ae_title.trim_matches(' ').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            source.push(char::from(byte));
        } else {
            let _ = write!(source, "%{byte:02X}"); // a string takes everything
        }
    }
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_uri_reference() {
        assert_eq!(source("TIDE GATE/1"), "/tidegate/TIDE%20GATE%2F1");
    }
}
