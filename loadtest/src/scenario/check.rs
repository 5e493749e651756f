//! From what a file says to what can be run: every value within its bounds, and none that has no effect.

use std::path::Path;
use std::sync::Arc;

use bytesize::ByteSize;

use super::checked::{Associations, BadPeer, Load, Pace, Scenario, TlsSettings};
use super::mix::study_kind;
use super::place::{Problems, ScenarioError};
use super::raw::{self, BadPeerKind, Model, Range};
use super::senders::senders;
use super::trace::{self, Visit};
use crate::generate::MAX_NATIVE_BYTES;

/// Associations that a run may have open at a time.
const MAX_ASSOCIATIONS: u32 = 10_000;
const DEFAULT_KNEE_P99_MS: f64 = 1000.0;

/// The scenario, or every problem: those of `problems`, which were found before, too.
pub(super) fn check(
    raw: raw::Scenario,
    mut problems: Problems<'_>,
    directory: &Path,
) -> Result<Scenario, ScenarioError> {
    if raw.name.trim().is_empty() {
        problems.add("name", "name is missing: add it");
    }
    if raw.mix.is_empty() {
        problems.add("mix", "there is nothing to send: add a [[mix]] with a modality or files");
    }
    let mix = raw.mix.into_iter().enumerate().filter_map(|(index, kind)| {
        let key = format!("mix.{index}");
        study_kind(kind, &key, directory, &mut problems)
    });
    let mix: Vec<_> = mix.collect();
    let has_senders = !raw.senders.is_empty();
    if has_senders && raw.load.model != Model::Closed {
        problems.add("load.model", "the senders have paces of their own: remove it");
    }
    if raw.load.model == Model::Trace && raw.load.trace.is_none() {
        problems.add("load", "this model needs trace: add the path of a node's log in JSON");
    }
    if raw.load.instances == Some(0) {
        problems.add("load.instances", "must be 1 or more");
    }
    let visits = raw.load.trace.as_ref().map(|file| visits(&directory.join(file), &mut problems));
    let load = load(raw.load, visits, &mut problems);
    let mut associations = associations(raw.associations, &mut problems);
    let senders = senders(raw.senders, &mix, &associations, &mut problems);
    if has_senders {
        associations.count = senders.iter().map(|sender| sender.associations).sum();
    }
    if let Pace::Trace { visits } = &load.pace {
        associations.count = associations.count.max(trace::most_at_a_time(visits));
    }
    if associations.count > MAX_ASSOCIATIONS {
        problems.add("senders", format!("all senders together have at most {MAX_ASSOCIATIONS} associations"));
    }
    let tls = raw.tls.map(|tls| self::tls(tls, directory, &mut problems));
    let bad_peers =
        raw.bad_peers.iter().enumerate().map(|(index, bad_peer)| self::bad_peer(bad_peer, index, &mut problems));
    let bad_peers = bad_peers.collect();
    let (name, description) = (raw.name, raw.description);
    problems.into_result(Scenario { name, description, mix, associations, load, tls, senders, bad_peers })
}

/// The associations of a recorded log.
fn visits(path: &Path, problems: &mut Problems<'_>) -> Arc<Vec<Visit>> {
    Arc::new(trace::read(path).unwrap_or_else(|error| {
        problems.add("load.trace", format!("{}: {error}", path.display()));
        Vec::new()
    }))
}

fn load(raw: raw::Load, visits: Option<Arc<Vec<Visit>>>, problems: &mut Problems<'_>) -> Load {
    let given = [
        ("think_time_ms", raw.think_time_ms.is_some(), &[Model::Closed][..]),
        ("rate_per_s", raw.rate_per_s.is_some(), &[Model::Open]),
        ("arrival", raw.arrival.is_some(), &[Model::Open, Model::Steps, Model::Ramp]),
        ("rates_per_s", raw.rates_per_s.is_some(), &[Model::Steps]),
        ("from_per_s", raw.from_per_s.is_some(), &[Model::Ramp]),
        ("to_per_s", raw.to_per_s.is_some(), &[Model::Ramp]),
        ("steps", raw.steps.is_some(), &[Model::Ramp]),
        ("step_s", raw.step_s.is_some(), &[Model::Steps, Model::Ramp]),
        ("knee_p99_ms", raw.knee_p99_ms.is_some(), &[Model::Steps, Model::Ramp]),
        ("trace", raw.trace.is_some(), &[Model::Trace]),
        ("warm_up_s", raw.warm_up_s.is_some(), &[Model::Closed, Model::Open, Model::Trace]),
        ("duration_s", raw.duration_s.is_some(), &[Model::Closed, Model::Open]),
        ("instances", raw.instances.is_some(), &[Model::Closed, Model::Open]),
    ];
    for (name, _, models) in given.iter().filter(|(_, given, models)| *given && !models.contains(&raw.model)) {
        let models: Vec<_> = models.iter().map(|model| format!("{model:?}").to_lowercase()).collect();
        let hint = format!("has no effect with this model, only with {}: remove it", models.join(", "));
        problems.add(&format!("load.{name}"), hint);
    }
    let mut positive = |value: Option<f64>, name: &str, missing: f64| match value {
        Some(value) if value > 0.0 && value <= 1e9 => value,
        Some(_) => {
            problems.add(&format!("load.{name}"), "must be more than 0");
            missing
        }
        None if missing > 0.0 => missing,
        None => {
            problems.add("load", format!("this model needs {name}: add it"));
            1.0
        }
    };
    let arrival = raw.arrival.unwrap_or_default();
    let pace = match raw.model {
        Model::Closed => Pace::Closed { think_time_ms: raw.think_time_ms.unwrap_or(Range::just(0)) },
        Model::Open => Pace::Open { rate_per_s: positive(raw.rate_per_s, "rate_per_s", 0.0), arrival },
        Model::Trace => Pace::Trace { visits: visits.unwrap_or_default() },
        Model::Steps | Model::Ramp => {
            let rates_per_s = if raw.model == Model::Steps {
                let rates = raw.rates_per_s.unwrap_or_default();
                rates.into_iter().map(|rate| positive(Some(rate), "rates_per_s", 1.0)).collect::<Vec<_>>()
            } else {
                let (from, to) = (positive(raw.from_per_s, "from_per_s", 0.0), positive(raw.to_per_s, "to_per_s", 0.0));
                let steps = raw.steps.unwrap_or(10).clamp(2, 1000);
                (0..steps).map(|step| from + (to - from) * f64::from(step) / f64::from(steps - 1)).collect()
            };
            let step_s = positive(raw.step_s, "step_s", 10.0);
            let knee_p99_ms = positive(raw.knee_p99_ms, "knee_p99_ms", DEFAULT_KNEE_P99_MS);
            Pace::Steps { rates_per_s, step_s, arrival, knee_p99_ms }
        }
    };
    if let Some(duration_s) = raw.duration_s {
        positive(Some(duration_s), "duration_s", 1.0);
    }
    match &pace {
        Pace::Steps { rates_per_s, .. } if rates_per_s.is_empty() => {
            problems.add("load", "steps without rates: add rates_per_s = [50, 100, 200]");
        }
        Pace::Closed { .. } | Pace::Open { .. } if raw.duration_s.is_none() && raw.instances.is_none() => {
            problems.add("load", "the load never ends: add duration_s or instances");
        }
        _ => {}
    }
    let warm_up_s = raw.warm_up_s.unwrap_or_default();
    if !(0.0..=86_400.0).contains(&warm_up_s) {
        problems.add("load.warm_up_s", "must be from 0 to 86400");
    }
    Load { pace, duration_s: raw.duration_s, instances: raw.instances, warm_up_s }
}

fn associations(raw: raw::Associations, problems: &mut Problems<'_>) -> Associations {
    if raw.count == 0 || raw.count > MAX_ASSOCIATIONS {
        problems.add("associations.count", format!("must be from 1 to {MAX_ASSOCIATIONS}"));
    }
    if !(0.0..=86_400.0).contains(&raw.spread_s) {
        problems.add("associations.spread_s", "must be from 0 to 86400");
    }
    for (name, title) in [("calling_ae", &raw.calling_ae), ("called_ae", &raw.called_ae)] {
        if title.trim().is_empty() || title.len() > 16 || !title.is_ascii() {
            problems.add(&format!("associations.{name}"), "an AE title has 1 to 16 ASCII characters: shorten it");
        }
    }
    let max_pdu_bytes = u32::try_from(raw.max_pdu.as_u64()).unwrap_or_else(|_| {
        problems.add("associations.max_pdu", "a PDU length has 32 bits: at most 4 GiB less one byte");
        0
    });
    if raw.timeout_s == 0 {
        problems.add("associations.timeout_s", "must be 1 or more");
    }
    Associations {
        count: raw.count,
        spread_s: raw.spread_s,
        lifetime: raw.lifetime,
        max_pdu_bytes,
        async_window: raw.async_window,
        calling_ae: raw.calling_ae,
        called_ae: raw.called_ae,
        timeout_s: raw.timeout_s,
        reconnect: raw.reconnect,
    }
}

fn tls(raw: raw::Tls, directory: &Path, problems: &mut Problems<'_>) -> TlsSettings {
    let client = match (raw.certificate, raw.key) {
        (Some(certificate), Some(key)) => Some((directory.join(certificate), directory.join(key))),
        (None, None) => None,
        _ => {
            problems.add("tls", "a client has a certificate and a key: give both or neither");
            None
        }
    };
    let ca = raw.ca.map(|ca| directory.join(ca));
    TlsSettings { ca, insecure: raw.insecure, client, server_name: raw.server_name }
}

fn bad_peer(raw: &raw::BadPeer, index: usize, problems: &mut Problems<'_>) -> BadPeer {
    let kind = raw.kind.unwrap_or_else(|| {
        problems.add(&format!("bad_peers.{index}.kind"), "kind is missing: add it, as in kind = \"port-check\"");
        BadPeerKind::PortCheck
    });
    if raw.count == 0 || raw.count > 1000 {
        problems.add(&format!("bad_peers.{index}.count"), "must be from 1 to 1000");
    }
    let every_s = raw.every_s.unwrap_or(1.0);
    if !(0.0..=86_400.0).contains(&every_s) {
        problems.add(&format!("bad_peers.{index}.every_s"), "must be from 0 to 86400");
    }
    let usual = if kind == BadPeerKind::HugeInstance { ByteSize::gib(1) } else { ByteSize::kib(512) };
    let size = raw.size.unwrap_or(usual);
    if size.as_u64() > MAX_NATIVE_BYTES {
        problems.add(&format!("bad_peers.{index}.size"), "a dataset's pixels have at most 4 GiB less four bytes");
    }
    BadPeer { kind, count: raw.count, every_s, size }
}
