//! The table of configuration keys, a row each. The mirror of the file, the defaults, the bounds and the reload classes derive from it.
//! Tests hold `conf/tidegate.toml`, which documents each key, to it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::Bounded;
use super::human::{Limit, LimitOrAuto, Period, PeriodOrAuto, PeriodOrOff, Size, SizeOrAuto, SizeOrUnlimited};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// Associations that a limit may allow.
pub(super) const ASSOCIATIONS: RangeInclusive<i64> = 1..=65_536;
const LIFETIME: RangeInclusive<Duration> = s(1)..=s(30 * 86_400);
/// The quiet time of a study or series, and how much longer it waits for what seems to be missing.
pub(super) const QUIET: RangeInclusive<Duration> = s(1)..=s(7 * 86_400);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=s(86_400);
/// With a second or less, a child that waits for its turn on a busy machine would count as hung: it sends four heartbeats a second.
const HANG_TIMEOUT: RangeInclusive<Duration> = s(1)..=s(3600);

/// The reload class of a key: the moment at which a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// At a reload.
    Live,
    /// At the next start.
    AtRestart,
}

/// A key of the table.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted, as in `associations.max`.
    pub(super) path: &'static str,
    pub(super) reload: Reload,
}

/// Expands the table. A row is `name: type = default, reload class;`, with the bounds before the semicolon if the value has any.
macro_rules! keys {
    ($($section:ident: $Section:ident {
        $($key:ident: $Type:ty = $default:expr, $reload:ident $(, $bounds:expr)?;)*
    })*) => {
        /// A configuration file. Its shape is checked when it is read, its bounds before it is composed.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct Raw {
            $(pub(super) $section: $Section,)*
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub(super) peer: Vec<PeerEntry>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub(super) destination: Vec<DestinationEntry>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub(super) sink: Vec<SinkEntry>,
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub(super) access: Vec<AccessRule>,
        }

        $(
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(default, deny_unknown_fields)]
            pub(super) struct $Section {
                $(pub(super) $key: $Type,)*
            }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($key: $default,)* }
                }
            }
        )*

        /// Every key, in the order of the table.
        pub(super) const KEYS: &[Key] =
            &[$($(Key { path: concat!(stringify!($section), ".", stringify!($key)), reload: Reload::$reload },)*)*];

        impl Raw {
            /// Calls `refuse` with the key and the complaint for each value out of bounds, and puts one within them in its place.
            pub(super) fn keep_within_bounds(&mut self, mut refuse: impl FnMut(&str, &str)) {
                $($($(
                    if let Err(complaint) = self.$section.$key.keep_within(&($bounds)) {
                        refuse(concat!(stringify!($section), ".", stringify!($key)), &complaint);
                    }
                )?)*)*
            }
        }
    };
}

keys! {
    node: Node {
        ae_title: String = text("TIDEGATE"), Live;
        listen: String = text("0.0.0.0:11112"), AtRestart;
        require_called_ae_title: bool = false, Live;
        shutdown_grace: Period = Period(s(30)), Live, s(0)..=s(3600);
        proxy_protocol_from: Vec<String> = Vec::new(), Live;
    }
    tls: Tls {
        listen: String = text("off"), AtRestart;
        certificate: String = text(""), Live;
        key: String = text(""), Live;
        client_auth: String = text("none"), Live;
        client_ca: String = text(""), Live;
        client_crls: Vec<String> = Vec::new(), Live;
    }
    associations: Associations {
        max: i64 = 512, Live, ASSOCIATIONS;
        max_per_calling_ae: Limit = Limit(None), Live, ASSOCIATIONS;
        max_per_address: LimitOrAuto = LimitOrAuto::Auto, Live, ASSOCIATIONS;
        arbiters: i64 = 2, AtRestart, 1..=64;
        max_pdu_length: Size = Size(128 * KIB), Live, 4 * KIB..=16 * MIB;
        max_request_length: Size = Size(256 * KIB), Live, 16 * KIB..=MIB;
        max_dataset: Size = Size(16 << 30), Live, MIB..=1024 * TIB;
        max_instances: Limit = Limit(Some(1_000_000)), Live, 1..=1_000_000_000;
        max_bytes: SizeOrUnlimited = SizeOrUnlimited(Some(4 * TIB)), Live, MIB..=1024 * TIB;
        async_operations: i64 = 8, Live, 1..=64;
        association_request_timeout: Period = Period(s(30)), Live, TIMEOUT;
        idle_timeout: Period = Period(s(600)), Live, TIMEOUT;
        max_lifetime: Period = Period(s(86_400)), Live, LIFETIME;
        min_rate: Size = Size(256), Live, 0..=MIB;
        strict: bool = false, Live;
        accept_unknown_sop_classes: bool = true, Live;
        accept_unknown_transfer_syntaxes: bool = true, Live;
        transfer_syntax_preference: Vec<String> = Vec::new(), Live;
    }
    writers: Writers {
        count: i64 = 16, AtRestart, 1..=256;
        mailbox_capacity: i64 = 64, Live, 1..=65_536;
        batch: i64 = 16, Live, 1..=256;
        handoff_timeout: Period = Period(s(30)), Live, TIMEOUT;
        commit_timeout: Period = Period(s(120)), Live, TIMEOUT;
    }
    memory: Memory {
        budget: SizeOrAuto = SizeOrAuto::Auto, Live, 8 * MIB..=1024 * TIB;
        spool_threshold: Size = Size(8 * MIB), Live, 64 * KIB..=TIB;
    }
    supervision: Supervision {
        hang_timeout: Period = Period(s(30)), Live, HANG_TIMEOUT;
        max_restarts: i64 = 10, Live, 0..=10_000;
        restart_window: Period = Period(s(60)), Live, s(1)..=s(86_400);
    }
    storage: Storage {
        root: String = text("./data"), AtRestart;
        layout: String = text("{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"), AtRestart;
        durability: String = text("fsync"), AtRestart;
        commit: String = text("adaptive"), AtRestart;
        duplicates: String = text("keep-both"), AtRestart;
        min_free: Size = Size(512 * MIB), AtRestart, 0..=1024 * TIB;
        file_mode: String = text("auto"), AtRestart;
        directory_mode: String = text("auto"), AtRestart;
        group: String = text(""), AtRestart;
        require_mark: bool = false, AtRestart;
    }
    catalogue: Catalogue {
        path: String = text("auto"), AtRestart;
        patient: bool = true, AtRestart;
    }
    commitment: Commitment {
        enabled: bool = true, Live;
        verify: String = text("size"), Live;
        retry_for: Period = Period(s(86_400)), Live, s(60)..=s(30 * 86_400);
        commit_when: Vec<String> = Vec::new(), Live;
    }
    delivery: Delivery {
        to: Vec<String> = Vec::new(), Live;
    }
    completeness: Completeness {
        study_quiet: Period = Period(s(60)), Live, QUIET;
        series_quiet: Period = Period(s(30)), Live, QUIET;
        wait_for_missing: PeriodOrOff = PeriodOrOff(Some(s(120))), Live, QUIET;
        ask_source: bool = false, Live;
    }
    retention: Retention {
        delete_after: String = text("off"), Live;
        max_bytes: String = text("off"), Live;
        low_water: f64 = 0.8, Live;
    }
    admin: Admin {
        listen: String = text("127.0.0.1:9112"), AtRestart;
        token_file: String = text(""), Live;
        tls_certificate: String = text(""), Live;
        tls_key: String = text(""), Live;
        tls_client_ca: String = text(""), Live;
        tls_client_crls: Vec<String> = Vec::new(), Live;
        tls_client_operators: Vec<String> = Vec::new(), Live;
        socket: String = text("auto"), AtRestart;
    }
    log: Log {
        format: String = text("text"), AtRestart;
        level: String = text("info"), Live;
        statistics_interval: PeriodOrAuto = PeriodOrAuto::Auto, Live, s(1)..=s(3600);
        repeat_interval: Period = Period(s(60)), Live, s(0)..=s(3600);
        flight_records: String = text("auto"), AtRestart;
    }
    user_identity: UserIdentity {
        file: String = text(""), Live;
        required: bool = false, Live;
    }
    audit: Audit {
        sink: String = text("off"), AtRestart;
        ca: String = text(""), AtRestart;
        certificate: String = text(""), AtRestart;
        key: String = text(""), AtRestart;
    }
}

/// A table of `[[access]]`, all of whose keys are live. Name and action have no default; an omitted criterion or term does not apply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessRule {
    pub(super) name: String,
    pub(super) action: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) calling: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) called: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) from: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) certificate: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sop_class: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_associations: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) layout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duplicates: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) durability: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commitment: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deliver_to: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) study_quiet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) series_quiet: Option<String>,
}

/// A table of `[[peer]]`, all of whose keys are live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeerEntry {
    pub(super) ae_title: String,
    pub(super) address: String,
    #[serde(default)]
    pub(super) tls: bool,
}

/// A table of `[[destination]]`, all of whose keys are live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationEntry {
    pub(super) name: String,
    #[serde(default = "DestinationEntry::kind")]
    pub(super) kind: String,
    pub(super) address: String,
    pub(super) called: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) calling: Option<String>,
    #[serde(default = "DestinationEntry::connections")]
    pub(super) connections: i64,
    #[serde(default)]
    pub(super) tls: bool,
    #[serde(default)]
    pub(super) commit: bool,
    #[serde(default = "DestinationEntry::attempts")]
    pub(super) attempts: i64,
    #[serde(default = "DestinationEntry::off")]
    pub(super) bandwidth: String,
    #[serde(default = "DestinationEntry::off")]
    pub(super) hours: String,
    #[serde(default)]
    pub(super) priority: i64,
    #[serde(default = "DestinationEntry::retry_for")]
    pub(super) retry_for: String,
}

/// A table of `[[sink]]`, all of whose keys are live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SinkEntry {
    pub(super) name: String,
    #[serde(default = "SinkEntry::kind")]
    pub(super) kind: String,
    pub(super) url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exchange: Option<String>,
    #[serde(default = "SinkEntry::ca")]
    pub(super) ca: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) events: Option<Vec<String>>,
    #[serde(default)]
    pub(super) patient: bool,
    #[serde(default = "SinkEntry::timeout")]
    pub(super) timeout: String,
    #[serde(default = "DestinationEntry::retry_for")]
    pub(super) retry_for: String,
}

/// Defaults.
impl SinkEntry {
    fn kind() -> String {
        text("webhook")
    }

    fn ca() -> String {
        text("/etc/ssl/certs/ca-certificates.crt")
    }

    fn timeout() -> String {
        text("10s")
    }
}

/// Defaults.
impl DestinationEntry {
    fn kind() -> String {
        text("dicom")
    }

    fn connections() -> i64 {
        2
    }

    fn attempts() -> i64 {
        5
    }

    fn off() -> String {
        text("off")
    }

    fn retry_for() -> String {
        text("7days")
    }
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn text(text: &str) -> String {
    text.to_owned()
}

/// Whether a changed value of the key takes effect at the next start only.
pub(super) fn needs_restart(path: &str) -> bool {
    KEYS.iter().any(|key| key.path == path && key.reload == Reload::AtRestart)
}

/// The default of every key, by dotted path.
pub(super) fn defaults() -> BTreeMap<String, toml::Value> {
    values(&Raw::default()).into_iter().collect()
}

/// The value of every key, by dotted path; each array of tables is one.
pub(super) fn values(raw: &Raw) -> Vec<(String, toml::Value)> {
    let Ok(toml::Value::Table(sections)) = toml::Value::try_from(raw) else { return Vec::new() };
    let values = sections.into_iter().flat_map(|(section, table)| match table {
        toml::Value::Table(table) => {
            table.into_iter().map(|(name, value)| (format!("{section}.{name}"), value)).collect()
        }
        tables => vec![(section, tables)],
    });
    values.collect()
}
