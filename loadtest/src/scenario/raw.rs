//! A scenario as TOML has it, before anything is checked but its types.

use std::fmt;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::ValueEnum;
use serde::Deserialize;
use serde::de::{self, Visitor};

use crate::generate::{Encoding, Modality};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) load: Load,
    #[serde(default)]
    pub(super) associations: Associations,
    pub(super) tls: Option<Tls>,
    #[serde(default)]
    pub(super) mix: Vec<StudyKind>,
    #[serde(default)]
    pub(super) senders: Vec<Sender>,
    #[serde(default)]
    pub(super) bad_peers: Vec<BadPeer>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Load {
    pub(super) model: Model,
    pub(super) duration_s: Option<f64>,
    pub(super) instances: Option<u64>,
    pub(super) warm_up_s: Option<f64>,
    pub(super) trace: Option<PathBuf>,
    pub(super) think_time_ms: Option<Range>,
    pub(super) rate_per_s: Option<f64>,
    pub(super) arrival: Option<Arrival>,
    pub(super) rates_per_s: Option<Vec<f64>>,
    pub(super) from_per_s: Option<f64>,
    pub(super) to_per_s: Option<f64>,
    pub(super) steps: Option<u32>,
    pub(super) step_s: Option<f64>,
    pub(super) knee_p99_ms: Option<f64>,
}

/// The load model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Model {
    #[default]
    Closed,
    Open,
    Steps,
    Ramp,
    Trace,
}

/// How the instances of an open load follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Arrival {
    /// As people and machines that know nothing of each other do.
    #[default]
    Poisson,
    /// At equal distances.
    Even,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Associations {
    pub(super) count: u32,
    pub(super) spread_s: f64,
    pub(super) lifetime: Lifetime,
    pub(super) max_pdu: ByteSize,
    pub(super) async_window: u16,
    pub(super) calling_ae: String,
    pub(super) called_ae: String,
    pub(super) timeout_s: u64,
    pub(super) reconnect: bool,
}

impl Default for Associations {
    fn default() -> Self {
        Self {
            count: 8,
            spread_s: 0.0,
            lifetime: Lifetime::Study,
            max_pdu: ByteSize::kib(128),
            async_window: 1,
            calling_ae: "LOADTEST".to_owned(),
            called_ae: "TIDEGATE".to_owned(),
            timeout_s: 60,
            reconnect: true,
        }
    }
}

/// The span of an association, after which it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lifetime {
    Run,
    Study,
    Series,
    Instance,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) ca: Option<PathBuf>,
    pub(super) insecure: bool,
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) server_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StudyKind {
    pub(super) name: Option<String>,
    pub(super) modality: Option<Modality>,
    #[serde(default = "one")]
    pub(super) weight: u32,
    pub(super) transfer_syntax: Option<Encoding>,
    pub(super) rows: Option<u16>,
    pub(super) columns: Option<u16>,
    pub(super) frames: Option<Range>,
    pub(super) size: Option<SizeRange>,
    pub(super) series: Option<Range>,
    pub(super) instances: Option<Range>,
    pub(super) files: Option<PathBuf>,
    pub(super) files_max: Option<ByteSize>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sender {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default = "one")]
    pub(super) count: u32,
    #[serde(default = "one")]
    pub(super) associations: u32,
    pub(super) mix: Option<Vec<String>>,
    pub(super) rate_per_s: Option<f64>,
    pub(super) arrival: Option<Arrival>,
    pub(super) think_time_ms: Option<Range>,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) instances_per_association: Option<Range>,
    pub(super) calling_ae: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BadPeer {
    pub(super) kind: Option<BadPeerKind>,
    #[serde(default = "one")]
    pub(super) count: u32,
    pub(super) every_s: Option<f64>,
    pub(super) size: Option<ByteSize>,
}

/// Ways to behave badly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BadPeerKind {
    /// Sends a message a byte at a time
    SlowLoris,
    /// Aborts in the middle of a dataset
    MidDatasetAbort,
    /// Stops in the middle of a dataset and never closes
    HalfOpen,
    /// Connects and leaves, as a load balancer does
    PortCheck,
    /// Sends GET / to the port
    Http,
    /// Opens and releases associations as quickly as it is let
    ReconnectStorm,
    /// Sends one instance of a size that nobody planned for
    HugeInstance,
    /// Sends each instance twice
    Duplicates,
}

/// A whole number, or any from the first to the last: `8`, `"3..6"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

impl Range {
    pub(crate) const fn just(value: u64) -> Self {
        Self { low: value, high: value }
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RangeVisitor;
        impl Visitor<'_> for RangeVisitor {
            type Value = Range;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number like 8 or a range like \"3..6\"")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Range, E> {
                let number = u64::try_from(value);
                number.map(Range::just).map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Range, E> {
                let parsed = text.split_once("..").and_then(|(low, high)| {
                    let (low, high) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
                    (low <= high).then_some(Range { low, high })
                });
                parsed.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(RangeVisitor)
    }
}

/// A size, or any from the first to the last: `"8 MiB"`, `"8 MiB..30 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeRange {
    pub(super) low: ByteSize,
    pub(super) high: ByteSize,
}

impl<'de> Deserialize<'de> for SizeRange {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (low, high) = text.split_once("..").unwrap_or((&text, &text));
        let (low, high) = (low.trim().parse::<ByteSize>(), high.trim().parse::<ByteSize>());
        match (low, high) {
            (Ok(low), Ok(high)) if low <= high => Ok(Self { low, high }),
            _ => Err(de::Error::invalid_value(
                de::Unexpected::Str(&text),
                &"a size like \"8 MiB\" or a range like \"8 MiB..30 MiB\"",
            )),
        }
    }
}
