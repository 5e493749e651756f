//! The answers of the surfaces for operators: one model over HTTP and over the socket, for the dashboard and the command line. `openapi.json`
//! describes each field; `tests/tidy/openapi.rs` compares the two.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tidegate_actors::gauges::history::Point;
use tidegate_actors::gauges::recent::{ChildEnded, Refused, RefusedWhat};
use tidegate_actors::{AssociationUse, ChildState, Group, Observer, Phase};
use tidegate_memory::allocator::AllocatorError;
use tidegate_memory::{Level, Stage, StageBytes};

use super::commitment::health::CommitmentHealth;
use super::health::CatalogueHealth;
use super::outgoing::{DeliveryHealth, EventsHealth};
use super::ready::{Readiness, with_margin};
use super::storage::{ANSWER_TIME, Sight, StorageWatch};
use super::time::{ms, unix_ms};

/// How old a look at the disk may be.
const STORAGE_MAX_AGE: Duration = Duration::from_secs(5);

/// The phase of a node that accepts associations.
pub(crate) const SERVING: &str = "serving";

/// The status of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) ae_title: String,
    pub(crate) started_unix_ms: u64,
    pub(crate) now_unix_ms: u64,
    /// `serving`, `drained`, `stopping` or `aborting`.
    pub(crate) phase: String,
    pub(crate) readiness: Readiness,
    /// The meaning of an acknowledgement: `fsync` or `none`.
    pub(crate) durability: String,
    /// End of the certificate of the TLS port; absent without one.
    pub(crate) certificate_not_after_unix_s: Option<i64>,
    pub(crate) associations: u64,
    pub(crate) associations_max: u64,
    pub(crate) mailbox_depth: u64,
    pub(crate) mailbox_capacity: u64,
    pub(crate) writers: u64,
    pub(crate) writers_running: u64,
    pub(crate) writers_busy: u64,
    /// Writers that may commit large instances at a time.
    pub(crate) writers_allowed: u64,
    pub(crate) received_bytes_total: u64,
    pub(crate) acknowledged_total: u64,
    pub(crate) acknowledged_bytes_total: u64,
    pub(crate) refused_total: u64,
    pub(crate) restarts_total: u64,
    pub(crate) associations_panicked_total: u64,
    pub(crate) leaks_suspected_total: u64,
    pub(crate) hung_threads: u64,
    pub(crate) pressure: Level,
    pub(crate) budget_bytes: u64,
    pub(crate) held_bytes: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) unattributed_bytes: u64,
    /// As it was last seen; absent while it has not been seen yet, or does not tell its space.
    pub(crate) storage: Option<Storage>,
    /// Absent if there is none.
    pub(crate) catalogue: Option<CatalogueHealth>,
    /// Absent if there is none.
    pub(crate) commitment: Option<CommitmentHealth>,
    /// Absent without a catalogue.
    pub(crate) delivery: Option<DeliveryHealth>,
    /// Absent without a catalogue.
    pub(crate) events: Option<EventsHealth>,
    /// The last complete second.
    pub(crate) last_second: Option<Second>,
    /// Recent refusals, the latest first.
    pub(crate) refused: Vec<RefusedEntry>,
    /// Recent ends of parts of the node, the latest first.
    pub(crate) ended: Vec<EndedEntry>,
}

/// The filesystem of the storage root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    pub(crate) writable: bool,
    pub(crate) free_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) min_free_bytes: u64,
    /// More must be free for the node to be ready.
    pub(crate) ready_above_bytes: u64,
    /// Absent if the filesystem has no fixed number of inodes.
    pub(crate) free_inodes: Option<u64>,
    /// The age of these figures.
    pub(crate) age_ms: u64,
    /// How long the disk has not answered; absent if it does.
    pub(crate) unanswered_ms: Option<u64>,
    /// Files below `.tidegate/lost`.
    pub(crate) set_aside: u64,
}

/// One second of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Second {
    /// Its end.
    pub(crate) at_unix_ms: u64,
    pub(crate) length_ms: u64,
    pub(crate) budget_bytes: u64,
    pub(crate) leased: Leased,
    pub(crate) resident_bytes: u64,
    pub(crate) allocated_bytes: u64,
    pub(crate) pressure: Level,
    pub(crate) associations: u64,
    pub(crate) mailbox_depth: u64,
    pub(crate) writers_busy: u64,
    pub(crate) received_bytes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) acknowledged_bytes: u64,
    pub(crate) refused: u64,
    /// The response times in it; absent without a response.
    pub(crate) response: Option<Quantiles>,
    pub(crate) commit: Option<Quantiles>,
}

/// Quantiles of a duration, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// Bytes leased, by stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leased {
    pub(crate) floor: u64,
    pub(crate) tls: u64,
    pub(crate) negotiating: u64,
    pub(crate) receiving: u64,
    pub(crate) queued: u64,
    pub(crate) writing: u64,
    pub(crate) spooling: u64,
    pub(crate) catalogue: u64,
    pub(crate) commitment: u64,
    pub(crate) delivery: u64,
    pub(crate) admin: u64,
}

/// An instance or an association that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefusedEntry {
    pub(crate) at_unix_ms: u64,
    /// `instance` or `association`.
    pub(crate) what: String,
    pub(crate) peer: String,
    /// As the peer wrote it: escape it before showing it.
    pub(crate) calling_ae_title: String,
    pub(crate) called_ae_title: String,
    pub(crate) reason: String,
    /// The DIMSE status of a refused instance, such as `A700`.
    pub(crate) status: Option<String>,
    /// The SOP Instance UID of a refused instance; absent if its command has none.
    pub(crate) sop_instance_uid: Option<String>,
    pub(crate) detail: String,
}

/// A part of the node that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndedEntry {
    pub(crate) at_unix_ms: u64,
    pub(crate) child: String,
    pub(crate) cause: String,
    pub(crate) next: String,
}

/// An open association.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Association {
    /// Unique while the node runs; names the association to be aborted.
    pub(crate) id: u64,
    pub(crate) peer: String,
    /// As the peer wrote it: escape it before showing it. Empty until it is accepted.
    pub(crate) calling_ae_title: String,
    pub(crate) called_ae_title: String,
    pub(crate) age_ms: u64,
    /// Time since the peer's last byte.
    pub(crate) quiet_ms: u64,
    pub(crate) received_bytes: u64,
    pub(crate) held_bytes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
}

/// Whether new associations are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    pub(crate) draining: bool,
    /// Associations that are still open.
    pub(crate) associations: u64,
}

impl Status {
    pub(super) async fn of(observer: &Observer, storage: &StorageWatch) -> Result<Self, AllocatorError> {
        let readiness = Readiness::of(observer, storage, ANSWER_TIME).await;
        let sight = storage.look(STORAGE_MAX_AGE, ANSWER_TIME).await;
        let (statistics, limits, counters) = (observer.statistics()?, observer.limits(), observer.counters());
        let children = observer.children();
        let writers = || children.iter().filter(|child| child.group == Group::Writers);
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ae_title: limits.ae_title,
            started_unix_ms: unix_ms(observer.started()),
            now_unix_ms: unix_ms(SystemTime::now()),
            phase: phase_name(observer.phase()).to_owned(),
            readiness,
            durability: limits.durability.to_string(),
            certificate_not_after_unix_s: limits.certificate_ends.dicom_s,
            associations: statistics.associations as u64,
            associations_max: limits.associations as u64,
            mailbox_depth: statistics.mailbox_depth as u64,
            mailbox_capacity: limits.mailbox_capacity as u64,
            writers: writers().count() as u64,
            writers_running: writers().filter(|child| child.state == ChildState::Running).count() as u64,
            writers_busy: statistics.writers_busy,
            writers_allowed: statistics.writers_allowed as u64,
            received_bytes_total: counters.bytes_received.get(),
            acknowledged_total: statistics.acknowledged_total,
            acknowledged_bytes_total: statistics.acknowledged_bytes_total,
            refused_total: statistics.refused_total,
            restarts_total: statistics.restarts_total,
            associations_panicked_total: statistics.associations_panicked_total,
            leaks_suspected_total: counters.leaks_suspected.get(),
            hung_threads: statistics.hung_threads,
            pressure: statistics.pressure,
            budget_bytes: statistics.budget_bytes,
            held_bytes: statistics.leased.total(),
            resident_bytes: statistics.allocator.resident,
            allocated_bytes: statistics.allocator.allocated,
            unattributed_bytes: statistics.unattributed_bytes,
            storage: Storage::of(&sight, limits.min_free_bytes),
            catalogue: observer.catalogue().map(CatalogueHealth::of),
            commitment: observer.commitment().map(CommitmentHealth::of),
            delivery: DeliveryHealth::of(observer),
            events: EventsHealth::of(observer),
            last_second: observer.history(1).last().map(Second::of),
            refused: observer.recently_refused().iter().map(RefusedEntry::of).collect(),
            ended: observer.recently_ended().iter().map(EndedEntry::of).collect(),
        })
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => SERVING,
        Phase::Drained => "drained",
        Phase::Draining => "stopping",
        Phase::Aborting => "aborting",
    }
}

impl Storage {
    fn of(sight: &Sight, min_free_bytes: u64) -> Option<Self> {
        let (age, look) = sight.last.as_ref()?;
        let space = look.space.as_ref().ok()?;
        Some(Self {
            writable: look.written.is_ok() && sight.unanswered.is_none(),
            free_bytes: space.free_bytes,
            size_bytes: space.size_bytes,
            min_free_bytes,
            ready_above_bytes: with_margin(min_free_bytes),
            free_inodes: space.inodes.map(|inodes| inodes.free),
            age_ms: ms(*age),
            unanswered_ms: sight.unanswered.map(ms),
            set_aside: look.set_aside.as_ref().copied().unwrap_or_default(),
        })
    }
}

impl Second {
    pub(crate) fn of(point: &Point) -> Self {
        let quantiles = |of: Option<(u64, u64)>| of.map(|(p50_us, p99_us)| Quantiles { p50_us, p99_us });
        Self {
            at_unix_ms: unix_ms(point.at),
            length_ms: point.length_ms,
            budget_bytes: point.budget_bytes,
            leased: Leased::of(&point.leased),
            resident_bytes: point.resident_bytes,
            allocated_bytes: point.allocated_bytes,
            pressure: point.pressure,
            associations: point.associations as u64,
            mailbox_depth: point.mailbox_depth as u64,
            writers_busy: point.writers_busy,
            received_bytes: point.received_bytes,
            acknowledged: point.acknowledged,
            acknowledged_bytes: point.acknowledged_bytes,
            refused: point.refused,
            response: quantiles(point.response_us),
            commit: quantiles(point.commit_us),
        }
    }
}

impl Leased {
    fn of(bytes: &StageBytes) -> Self {
        Self {
            floor: bytes.get(Stage::Floor),
            tls: bytes.get(Stage::Tls),
            negotiating: bytes.get(Stage::Negotiating),
            receiving: bytes.get(Stage::Receiving),
            queued: bytes.get(Stage::Queued),
            writing: bytes.get(Stage::Writing),
            spooling: bytes.get(Stage::Spooling),
            catalogue: bytes.get(Stage::Catalogue),
            commitment: bytes.get(Stage::Commitment),
            delivery: bytes.get(Stage::Delivery),
            admin: bytes.get(Stage::Admin),
        }
    }
}

impl RefusedEntry {
    fn of(refused: &Refused) -> Self {
        let what = match refused.what {
            RefusedWhat::Instance(_) => "instance",
            RefusedWhat::Association(_) => "association",
        };
        Self {
            at_unix_ms: unix_ms(refused.at),
            what: what.to_owned(),
            peer: refused.sender.peer.to_string(),
            calling_ae_title: refused.sender.calling_ae_title.clone(),
            called_ae_title: refused.sender.called_ae_title.clone(),
            reason: refused.what.reason().to_owned(),
            status: refused.what.status().map(|status| status.to_string()),
            sop_instance_uid: refused.sop_instance.clone(),
            detail: refused.detail.clone(),
        }
    }
}

impl EndedEntry {
    pub(crate) fn of(ended: &ChildEnded) -> Self {
        Self {
            at_unix_ms: unix_ms(ended.at),
            child: ended.child.clone(),
            cause: ended.cause.clone(),
            next: ended.next.to_owned(),
        }
    }
}

impl Association {
    pub(crate) fn of(found: &AssociationUse) -> Self {
        Self {
            id: found.id,
            peer: found.peer.to_string(),
            calling_ae_title: found.calling_ae_title.clone(),
            called_ae_title: found.called_ae_title.clone(),
            age_ms: ms(found.age),
            quiet_ms: ms(found.quiet),
            received_bytes: found.received_bytes,
            held_bytes: found.held_bytes,
            acknowledged: found.acknowledged,
            refused: found.refused,
        }
    }

    /// Every one that is open, the oldest first.
    pub(crate) fn all(observer: &Observer) -> Vec<Self> {
        observer.associations().iter().map(Self::of).collect()
    }
}

impl Drain {
    pub(crate) fn of(observer: &Observer) -> Self {
        let draining = observer.phase() != Phase::Serving;
        Self { draining, associations: observer.open_associations() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_stage_is_told_and_documented_and_drawn() {
        let stages: BTreeSet<_> = Stage::ALL.map(|stage| stage.name().to_owned()).into();
        let told = serde_json::to_value(Leased::of(&StageBytes::default())).unwrap();
        assert_eq!(told.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>(), stages);
        let document: serde_json::Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let documented = document["components"]["schemas"]["Stage"]["enum"].as_array().unwrap();
        assert_eq!(documented.iter().map(|name| name.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>(), stages);
        let (script, style) = (include_str!("dashboard/node.js"), include_str!("dashboard/style.css"));
        for stage in &stages {
            assert!(script.contains(&format!("\"{stage}\"")) && style.contains(&format!(".{stage} {{")), "{stage}");
        }
    }
}
