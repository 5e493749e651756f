//! The configuration as a file writes it, with the built-in defaults. What the keys mean stands in `conf/tidegate.toml`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::human::{Limit, Period, PeriodOrOff, Size, SizeOrAuto, SizeOrUnlimited};

/// A configuration file. Shapes are checked when it is read, bounds in `compose`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    pub(super) node: Node,
    pub(super) tls: Tls,
    pub(super) associations: Associations,
    pub(super) writers: Writers,
    pub(super) memory: Memory,
    pub(super) supervision: Supervision,
    pub(super) storage: Storage,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) user_identity: UserIdentity,
    pub(super) audit: Audit,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) access: Vec<AccessRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    pub(super) ae_title: String,
    pub(super) listen: String,
    pub(super) require_called_ae_title: bool,
    pub(super) shutdown_grace: Period,
    pub(super) proxy_protocol_from: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    pub(super) listen: String,
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) client_auth: String,
    pub(super) client_ca: String,
    pub(super) client_crls: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct UserIdentity {
    pub(super) file: String,
    pub(super) required: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Audit {
    pub(super) sink: String,
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) queue: i64,
}

/// A table of `[[access]]`. Name and action have no default.
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
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Associations {
    pub(super) max: i64,
    pub(super) max_per_calling_ae: Limit,
    pub(super) max_per_address: Limit,
    pub(super) arbiters: i64,
    pub(super) max_pdu_length: Size,
    pub(super) max_request_length: Size,
    pub(super) max_contexts: i64,
    pub(super) max_command_set: Size,
    pub(super) max_dataset: Size,
    pub(super) max_instances: Limit,
    pub(super) max_bytes: SizeOrUnlimited,
    pub(super) async_operations: i64,
    pub(super) association_request_timeout: Period,
    pub(super) idle_timeout: Period,
    pub(super) send_timeout: Period,
    pub(super) min_rate: Size,
    pub(super) min_rate_window: Period,
    pub(super) accept_unknown_sop_classes: bool,
    pub(super) accept_unknown_transfer_syntaxes: bool,
    pub(super) transfer_syntax_preference: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Writers {
    pub(super) count: i64,
    pub(super) mailbox_capacity: i64,
    pub(super) batch: i64,
    pub(super) handoff_timeout: Period,
    pub(super) commit_timeout: Period,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Memory {
    pub(super) budget: SizeOrAuto,
    pub(super) spool_threshold: Size,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Supervision {
    pub(super) hang_timeout: Period,
    pub(super) max_restarts: i64,
    pub(super) restart_window: Period,
    pub(super) max_hung_threads: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Storage {
    pub(super) root: String,
    pub(super) layout: String,
    pub(super) durability: String,
    pub(super) commit: String,
    pub(super) duplicates: String,
    pub(super) min_free: Size,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub(super) listen: String,
    pub(super) token: String,
    pub(super) token_file: String,
    pub(super) tls_certificate: String,
    pub(super) tls_key: String,
    pub(super) tls_client_ca: String,
    pub(super) socket: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: String,
    pub(super) level: String,
    pub(super) statistics_interval: PeriodOrOff,
    pub(super) repeat_interval: Period,
    pub(super) flight_records: String,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            ae_title: "TIDEGATE".to_owned(),
            listen: "0.0.0.0:11112".to_owned(),
            require_called_ae_title: false,
            shutdown_grace: seconds(30),
            proxy_protocol_from: Vec::new(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: "off".to_owned(),
            certificate: String::new(),
            key: String::new(),
            client_auth: "none".to_owned(),
            client_ca: String::new(),
            client_crls: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        let none = String::new;
        Self { sink: "off".to_owned(), ca: none(), certificate: none(), key: none(), queue: 1024 }
    }
}

impl Default for Associations {
    fn default() -> Self {
        Self {
            max: 512,
            max_per_calling_ae: Limit(None),
            max_per_address: Limit(None),
            arbiters: 2,
            max_pdu_length: Size(128 << 10),
            max_request_length: Size(256 << 10),
            max_contexts: 128,
            max_command_set: Size(4 << 10),
            max_dataset: Size(16 << 30),
            max_instances: Limit(Some(1_000_000)),
            max_bytes: SizeOrUnlimited(Some(4 << 40)),
            async_operations: 8,
            association_request_timeout: seconds(30),
            idle_timeout: seconds(600),
            send_timeout: seconds(30),
            min_rate: Size(256),
            min_rate_window: seconds(60),
            accept_unknown_sop_classes: true,
            accept_unknown_transfer_syntaxes: true,
            transfer_syntax_preference: Vec::new(),
        }
    }
}

impl Default for Writers {
    fn default() -> Self {
        Self { count: 16, mailbox_capacity: 64, batch: 16, handoff_timeout: seconds(30), commit_timeout: seconds(120) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self { budget: SizeOrAuto(None), spool_threshold: Size(8 << 20) }
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self { hang_timeout: seconds(30), max_restarts: 10, restart_window: seconds(60), max_hung_threads: 8 }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            root: "./data".to_owned(),
            layout: "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm".to_owned(),
            durability: "fsync".to_owned(),
            commit: "adaptive".to_owned(),
            duplicates: "replace".to_owned(),
            min_free: Size(512 << 20),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9112".to_owned(),
            token: String::new(),
            token_file: String::new(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            tls_client_ca: String::new(),
            socket: "auto".to_owned(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: "text".to_owned(),
            level: "info".to_owned(),
            statistics_interval: PeriodOrOff(Some(Duration::from_secs(10))),
            repeat_interval: seconds(60),
            flight_records: "auto".to_owned(),
        }
    }
}

fn seconds(count: u64) -> Period {
    Period(Duration::from_secs(count))
}

/// The default of every key, by dotted path.
pub(super) fn defaults() -> BTreeMap<String, toml::Value> {
    let mut keys = BTreeMap::new();
    if let Ok(toml::Value::Table(sections)) = toml::Value::try_from(Raw::default()) {
        for (section, table) in sections {
            for (name, value) in table.as_table().into_iter().flatten() {
                keys.insert(format!("{section}.{name}"), value.clone());
            }
        }
    }
    keys
}
