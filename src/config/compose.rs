//! From the raw mirror to the settings types of each crate: every bound, and the checks across keys.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate_actors::{
    AssociationSettings, CertificateEnds, FLOOR_LEASE_BYTES, LiveSettings, MinimumRate, NodeSettings, RestartLimit,
    SupervisionSettings, TLS_LEASE_BYTES, WriterSettings, fixed, floors_of,
};
use tidegate_memory::host::{default_budget, host_memory};
use tidegate_memory::pressure::ALLOWANCE_BYTES;
use tidegate_protocol::Policy;
use tidegate_protocol::syntaxes::is_standard_transfer_syntax;
use tidegate_storage::layout::Layout;
use tidegate_storage::{CommitStrategy, Duplicates, Durability};

use super::access::access;
use super::admin;
use super::audit::audit;
use super::catalogue::catalogue;
use super::checks::Checks;
use super::commitment::commitment;
use super::criteria::STANDARD_ROOT;
use super::delivery::delivery;
use super::events::events;
use super::human::{LimitOrAuto, PeriodOrAuto, SizeOrAuto, period_text, size_text};
use super::keys::{self, Raw};
use super::listen::{listen, listen_for_tls, one_address_each};
use super::permissions::file_access;
use super::problem::Problem;
use super::removed::COMMIT_SHARED;
use super::retention::retention;
use super::sources::Given;
use super::tls::{OwnCertificate, tls};
use super::{LogFormat, LogSettings, Settings};
use crate::admin::{AdminSettings, SOCKET_PATH_BYTES, SocketPath};
use crate::flight::RecordPath;

const MIB: u64 = 1 << 20;
/// Assumed memory of the host if the system does not tell it.
const HOST_BYTES_IF_UNKNOWN: u64 = 2 << 30;
/// Least part of the budget beyond the floor leases, so that not every dataset must be spooled.
const SHARED_MEMORY_MIN_BYTES: u64 = 4 * MIB;
/// The spool threshold is at most this fraction of the budget.
const SPOOL_SHARE: u64 = 4;
/// Least limit of associations of one address that is derived from `associations.max`.
const MIN_PER_ADDRESS: usize = 4;

/// Interval of the statistics line, unless the configuration states one.
const STATISTICS_INTERVAL: Duration = Duration::from_secs(10);

/// Builds the settings; `None`, or an entry in `problems`, if they are invalid. `started`: the configuration that a running node has
/// started with.
pub(super) fn compose(
    raw: &Raw,
    started: Option<&Raw>,
    given: &Given,
    problems: &mut Vec<Problem>,
) -> Option<Settings> {
    let (checks, raw) = (&mut Checks::new(given, problems), &mut raw.clone());
    raw.keep_within_bounds(|key, complaint| checks.refuse(key, complaint));
    let (listen, tls_listen) = (listen("node.listen", &raw.node.listen, checks), listen_for_tls(raw, checks));
    warn_of_unused_tls(raw, checks);
    let tls = tls_listen.flatten().and_then(|_| tls(&raw.tls, checks));
    let max = number(raw.associations.max);
    let (memory_budget_bytes, spool_threshold_bytes) = memory(raw, max, tls.is_some(), checks);
    let associations = associations(raw, max, spool_threshold_bytes, checks);
    let (writer_settings, storage) = (writer_settings(raw, checks), storage(raw, checks));
    // The rules must be kept apart from the layout that is in force, not from that of the next start.
    let in_force = started.and_then(|started| self::storage(started, checks));
    let access = access(raw, in_force.as_ref().or(storage.as_ref()), checks);
    let admin = admin::admin(&raw.admin, raw.storage.root.as_ref(), checks);
    one_address_each(listen.flatten(), tls_listen.flatten(), admin.as_ref().and_then(Option::as_ref), checks);
    let (admin_socket, delivery, retention, events) =
        (admin_socket(raw, checks), delivery(raw, checks), retention(raw, checks), events(raw, checks));
    let (log, flight_records, audit) = (log(raw, checks), flight_records(raw, checks), audit(raw, checks));
    let (catalogue, commitment) = (catalogue(raw, started, checks), commitment(raw, checks));
    // All checks are done. From here on, a missing value ends the composition.
    let audit = audit?;
    let (tls, client_verifier, certificate, revocation_lists) = match tls {
        Some(tls) => (Some(tls.server), tls.client_verifier, Some(tls.own), tls.revocation_lists),
        None => (None, None, None, Vec::new()),
    };
    let live = LiveSettings {
        associations,
        tls,
        client_verifier,
        access,
        commitment: Arc::new(commitment?),
        delivery: Arc::new(delivery?),
        retention,
        events: Arc::new(events),
        writers: writer_settings,
        memory_budget_bytes,
        statistics_interval: statistics_interval(raw.log.statistics_interval, std::io::stderr().is_terminal()),
        log_repeat_interval: raw.log.repeat_interval.0,
        supervision: supervision(raw),
        certificate_ends: certificate_ends(certificate.as_ref(), admin.as_ref().and_then(Option::as_ref)),
    };
    let node = NodeSettings {
        listen: listen?,
        tls_listen: tls_listen?,
        association_threads: number(raw.associations.arbiters),
        writers: number(raw.writers.count),
        storage: storage?,
        audits: audit.is_some(),
        catalogue: catalogue?,
        live,
    };
    let (admin, log, shutdown_grace) = (admin?, log?, raw.node.shutdown_grace.0);
    Some(Settings {
        node,
        certificate,
        revocation_lists,
        shutdown_grace,
        admin,
        admin_socket,
        log,
        audit,
        flight_records,
        warnings: checks.warnings.iter().map(ToString::to_string).collect(),
    })
}

fn certificate_ends(of_node: Option<&OwnCertificate>, admin: Option<&AdminSettings>) -> CertificateEnds {
    let of_admin = admin.and_then(|admin| admin.door.tls.as_ref()).map(|tls| &tls.own);
    CertificateEnds {
        dicom_s: of_node.map(|certificate| certificate.not_after_s),
        admin_s: of_admin.map(|certificate| certificate.not_after_s),
    }
}

/// The interval of the statistics line; `None`: there is none. A person who starts the node in a terminal has not asked for it.
pub(super) fn statistics_interval(interval: PeriodOrAuto, is_terminal: bool) -> Option<Duration> {
    match interval {
        PeriodOrAuto::Auto => (!is_terminal).then_some(STATISTICS_INTERVAL),
        PeriodOrAuto::Given(interval) => interval.0,
    }
}

/// Keys of `[tls]` that look as if peers were checked, while nothing is.
fn warn_of_unused_tls(raw: &Raw, checks: &mut Checks<'_>) {
    let keys::Tls { listen, certificate, client_auth, client_ca, client_crls, .. } = &raw.tls;
    let (has_authorities, has_lists) = (!client_ca.trim().is_empty(), !client_crls.is_empty());
    // Peers and destinations that are called over TLS are verified by the same authorities.
    let calls_peers = raw.peer.iter().any(|peer| peer.tls) || raw.destination.iter().any(|entry| entry.tls);
    let of_clients = [("tls.client_ca", has_authorities && !calls_peers), ("tls.client_crls", has_lists)];
    if listen.trim() == "off" && calls_peers {
        checks.without_effect(&[("tls.client_crls", has_lists)], "tls.listen = \"off\"");
    } else if listen.trim() == "off" {
        let is_set = [("tls.certificate", !certificate.trim().is_empty()), ("tls.client_auth", client_auth != "none")];
        checks.without_effect(
            &is_set,
            "tls.listen = \"off\": no association is encrypted; set it to an address, such as 0.0.0.0:2762",
        );
        checks.without_effect(&of_clients, "tls.listen = \"off\"");
    } else if client_auth == "none" {
        checks.without_effect(
            &of_clients,
            "tls.client_auth = \"none\": no peer is asked for a certificate; set it to \"required\" or \"optional\"",
        );
    }
}

/// PS3.5 §6.2: default repertoire without backslash and control characters; outer spaces do not count.
fn ae_title(raw: &Raw, checks: &mut Checks<'_>) -> String {
    let title = raw.node.ae_title.trim_matches(' ');
    let allowed = |c: char| matches!(c, ' '..='~') && c != '\\';
    if !(1..=16).contains(&title.len()) || !title.chars().all(allowed) {
        checks.refuse("node.ae_title", "must be 1 to 16 characters of printable ASCII without backslash");
    }
    title.to_owned()
}

fn policy(raw: &Raw, checks: &mut Checks<'_>) -> Policy {
    let ae_title = ae_title(raw, checks);
    let require_called_ae_title = raw.node.require_called_ae_title;
    // Destinations that commit report on the same presentation context.
    let is_wanted = raw.commitment.enabled || raw.destination.iter().any(|entry| entry.commit);
    let storage_commitment = is_wanted && raw.catalogue.path.trim() != "off";
    let raw = &raw.associations;
    if !raw.transfer_syntax_preference.iter().all(|uid| is_uid(uid)) {
        checks.refuse(
            "associations.transfer_syntax_preference",
            "must be transfer syntax UIDs, such as \"1.2.840.10008.1.2.4.90\"",
        );
    }
    let is_of_another_kind = |uid: &&String| uid.starts_with(STANDARD_ROOT) && !is_standard_transfer_syntax(uid);
    if let Some(uid) = raw.transfer_syntax_preference.iter().find(is_of_another_kind) {
        let complaint =
            format!("can never match: {uid:?} is no transfer syntax of the standard (PS3.6 table A-1); delete it");
        checks.refuse("associations.transfer_syntax_preference", &complaint);
    }
    Policy {
        ae_title,
        require_called_ae_title,
        max_pdu_length: u32::try_from(raw.max_pdu_length.0).unwrap_or(u32::MAX),
        max_request_length: u32::try_from(raw.max_request_length.0).unwrap_or(u32::MAX),
        max_command_set: fixed::MAX_COMMAND_SET_BYTES,
        async_operations: number(raw.async_operations),
        strict: raw.strict,
        accept_unknown_sop_classes: raw.accept_unknown_sop_classes,
        accept_unknown_transfer_syntaxes: raw.accept_unknown_transfer_syntaxes,
        storage_commitment,
        transfer_syntax_preference: raw.transfer_syntax_preference.clone(),
    }
}

fn associations(raw: &Raw, max: usize, spool_threshold_bytes: u64, checks: &mut Checks<'_>) -> AssociationSettings {
    let policy = policy(raw, checks);
    let raw = &raw.associations;
    AssociationSettings {
        max,
        max_per_calling_ae: raw.max_per_calling_ae.0.map(number),
        max_per_address: match raw.max_per_address {
            LimitOrAuto::Auto => Some(max.div_ceil(4).max(MIN_PER_ADDRESS)),
            LimitOrAuto::Given(limit) => limit.0.map(number),
        },
        max_per_address_is_auto: matches!(raw.max_per_address, LimitOrAuto::Auto),
        policy: Arc::new(policy),
        spool_threshold_bytes,
        request_timeout: raw.association_request_timeout.0,
        idle_timeout: raw.idle_timeout.0,
        max_lifetime: raw.max_lifetime.0,
        send_timeout: fixed::send_timeout(),
        minimum_rate: MinimumRate { bytes_per_s: raw.min_rate.0, window: fixed::min_rate_window() },
        max_dataset_bytes: raw.max_dataset.0,
        max_instances: raw.max_instances.0.map(number),
        max_bytes: raw.max_bytes.0,
    }
}

/// PS3.5 §9.1.
fn is_uid(text: &str) -> bool {
    let component = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    text.len() <= 64 && text.split('.').all(component)
}

fn writer_settings(raw: &Raw, checks: &mut Checks<'_>) -> WriterSettings {
    let (raw, hang_timeout) = (&raw.writers, raw.supervision.hang_timeout);
    let commit_timeout = raw.commit_timeout.0;
    let keys = ["writers.commit_timeout", "supervision.hang_timeout"];
    if checks.sound(&keys) && commit_timeout <= hang_timeout.0 {
        let complaint = format!(
            "must be longer than supervision.hang_timeout = \"{0}\", or no other writer could store the dataset of one that hangs; \
             raise writers.commit_timeout above \"{0}\" or lower supervision.hang_timeout",
            period_text(hang_timeout.0),
        );
        checks.refuse("writers.commit_timeout", &complaint);
    }
    WriterSettings {
        mailbox_capacity: number(raw.mailbox_capacity),
        batch: number(raw.batch),
        handoff_timeout: raw.handoff_timeout.0,
        commit_timeout,
    }
}

fn supervision(raw: &Raw) -> SupervisionSettings {
    let raw = &raw.supervision;
    SupervisionSettings {
        hang_timeout: raw.hang_timeout.0,
        restarts: RestartLimit { max: number(raw.max_restarts), window: raw.restart_window.0 },
        max_hung_threads: fixed::max_hung_threads(),
    }
}

fn memory(raw: &Raw, associations: usize, with_tls: bool, checks: &mut Checks<'_>) -> (u64, u64) {
    let host_bytes = host_memory().map_or(HOST_BYTES_IF_UNKNOWN, |host| host.bytes);
    let budget = match raw.memory.budget {
        SizeOrAuto::Auto => default_budget(host_bytes),
        SizeOrAuto::Given(size) => size.0,
    };
    if checks.sound(&["memory.budget"]) && budget.saturating_add(ALLOWANCE_BYTES) > host_bytes {
        let complaint = format!(
            "exceeds the available memory: this process may use {} and needs {} besides its budget; lower memory.budget to at most \
             \"{}\"",
            size_text(host_bytes),
            size_text(ALLOWANCE_BYTES),
            size_text(host_bytes.saturating_sub(ALLOWANCE_BYTES) / MIB * MIB),
        );
        checks.refuse("memory.budget", &complaint);
    }
    let spool = raw.memory.spool_threshold.0;
    // Every association may use the TLS port.
    let tls = if with_tls { TLS_LEASE_BYTES } else { 0 };
    let floors = |associations: usize| floors_of(associations) + associations as u64 * tls;
    let floor = floors(associations);
    let needed = floor + SHARED_MEMORY_MIN_BYTES;
    let too_many = checks.sound(&["memory.budget", "associations.max"]) && budget < needed;
    let too_long = checks.sound(&["memory.budget", "memory.spool_threshold"]) && spool > budget / SPOOL_SHARE;
    if too_many {
        let complaint = format!(
            "too small for associations.max = {associations}: each association holds {}, together {} with the startup places, and {} \
             more are needed for negotiation and datasets; raise memory.budget to at least \"{}\" or lower associations.max to at \
             most {}",
            size_text(FLOOR_LEASE_BYTES + tls),
            size_text(floor),
            size_text(SHARED_MEMORY_MIN_BYTES),
            size_text(needed.next_multiple_of(MIB)),
            (1..associations).rev().find(|max| floors(*max) + SHARED_MEMORY_MIN_BYTES <= budget).unwrap_or(1),
        );
        checks.refuse("memory.budget", &complaint);
    }
    if too_long {
        let complaint = format!(
            "more than a quarter of memory.budget = \"{}\": lower memory.spool_threshold to at most \"{}\" or raise \
             memory.budget to at least \"{}\"",
            size_text(budget),
            size_text(budget / SPOOL_SHARE),
            size_text(spool.saturating_mul(SPOOL_SHARE)),
        );
        checks.refuse("memory.spool_threshold", &complaint);
    }
    (budget, spool)
}

fn storage(raw: &Raw, checks: &mut Checks<'_>) -> Option<tidegate_storage::Settings> {
    let raw = &raw.storage;
    if raw.root.trim().is_empty() || raw.root.contains('\0') {
        checks.refuse("storage.root", "must be the path of a directory");
    }
    let durability = checks.chosen(
        "storage.durability",
        &raw.durability,
        &[("fsync", Durability::Fsync), ("none", Durability::None)],
    );
    let commit = match raw.commit.as_str() {
        "shared" => {
            checks.refuse("storage.commit", COMMIT_SHARED);
            None
        }
        word => checks.chosen(
            "storage.commit",
            word,
            &[
                ("adaptive", CommitStrategy::Adaptive),
                ("per-file", CommitStrategy::PerFile),
                ("log", CommitStrategy::Log),
            ],
        ),
    };
    let duplicates = checks.chosen(
        "storage.duplicates",
        &raw.duplicates,
        &[("keep-both", Duplicates::KeepBoth), ("replace", Duplicates::Replace), ("refuse", Duplicates::Refuse)],
    );
    let layout = match Layout::parse(&raw.layout) {
        Ok(layout) => Some(layout),
        Err(error) => {
            checks.refuse("storage.layout", &error.to_string());
            None
        }
    };
    let access = file_access(&raw.file_mode, &raw.directory_mode, &raw.group, checks);
    Some(tidegate_storage::Settings {
        root: absolute(&raw.root),
        min_free_bytes: raw.min_free.0,
        access: access?,
        requires_mark: raw.require_mark,
        layout: layout?,
        durability: durability?,
        commit: commit?,
        duplicates: duplicates?,
    })
}

/// The storage root for every message: a relative path is one of the directory in which the program was started.
fn absolute(root: &str) -> PathBuf {
    std::path::absolute(root).unwrap_or_else(|_| root.into())
}

/// A configured path that cannot be bound is an error; a storage root that makes the default path too long is not.
pub(super) fn admin_socket(raw: &Raw, checks: &mut Checks<'_>) -> Option<SocketPath> {
    match raw.admin.socket.trim() {
        "off" => None,
        "auto" => Some(SocketPath::Of(absolute(&raw.storage.root))),
        path => {
            if !(1..=SOCKET_PATH_BYTES).contains(&path.len()) || path.contains('\0') {
                checks.refuse(
                    "admin.socket",
                    &format!("must be \"auto\", \"off\" or a path of at most {SOCKET_PATH_BYTES} bytes"),
                );
            }
            Some(SocketPath::At(path.into()))
        }
    }
}

/// A directory below the storage root would hang together with it.
fn flight_records(raw: &Raw, checks: &mut Checks<'_>) -> Option<RecordPath> {
    match raw.log.flight_records.trim() {
        "off" => None,
        "auto" => Some(RecordPath::Auto),
        path => {
            let is_below_root = absolute(path).starts_with(absolute(&raw.storage.root));
            if path.is_empty() || path.contains('\0') || is_below_root {
                let complaint = "must be \"auto\", \"off\" or the path of a directory outside storage.root";
                checks.refuse("log.flight_records", complaint);
            }
            Some(RecordPath::At(path.into()))
        }
    }
}

fn log(raw: &Raw, checks: &mut Checks<'_>) -> Option<LogSettings> {
    let format = checks.chosen("log.format", &raw.log.format, &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let level = checks.chosen(
        "log.level",
        &raw.log.level,
        &[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ],
    );
    Some(LogSettings { format: format?, level: level? })
}

/// A number that is within its bounds, and so within its type.
fn number<T: TryFrom<i64> + Default>(number: i64) -> T {
    T::try_from(number).unwrap_or_default()
}
