//! The figures of a run: the one contract between the engine and everything that draws, compares or judges a run.
//!
//! Written as JSON by `--result` and read back by `diff` and `--baseline`, so a field is added and never renamed; a change that an
//! older reader would misread raises [`SCHEMA`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::noise::Noise;

pub(crate) use crate::latency::{Latency, us_to_ms};
pub(crate) use crate::usage::Usage;

/// Version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunResult {
    pub(crate) schema: u32,
    /// Name of the scenario.
    pub(crate) scenario: String,
    pub(crate) seed: u64,
    /// The number that the UIDs follow from; the seed with `--resend`.
    #[serde(default)]
    pub(crate) run: u64,
    pub(crate) started_unix_ms: u64,
    /// From the start of the load to the last answer.
    pub(crate) elapsed_s: f64,
    pub(crate) target: Target,
    pub(crate) host: Host,
    /// The load model in words, as in `open, 200/s for 60 s`.
    pub(crate) load: String,
    pub(crate) totals: Totals,
    /// From the intended start of an instance to its answer: what a modality waits.
    pub(crate) latency: Latency,
    /// From the first byte really sent to the answer: what the receiver takes. The same as `latency` under a closed load.
    pub(crate) service: Latency,
    /// One entry a second, in order.
    pub(crate) series: Vec<Second>,
    pub(crate) modalities: Vec<Modality>,
    /// By sender, where the scenario has several.
    #[serde(default)]
    pub(crate) senders: Vec<Modality>,
    /// Of a load in steps, in order; empty otherwise.
    pub(crate) steps: Vec<Step>,
    pub(crate) generator: Usage,
    pub(crate) target_usage: Option<Usage>,
    /// The target's resident set before the load.
    #[serde(default)]
    pub(crate) target_resting_bytes: Option<u64>,
    /// Time that a sync of the target's whole filesystem took after the load, where one was made.
    #[serde(default)]
    pub(crate) sync_after_s: Option<f64>,
    /// The use of the generator's machine by others; `None`: the machine does not report it.
    #[serde(default)]
    pub(crate) noise: Option<Noise>,
    /// Why the load was ended before its time.
    #[serde(default)]
    pub(crate) stopped: Option<String>,
    pub(crate) verification: Option<Verification>,
    pub(crate) objectives: Vec<Objective>,
}

/// The receiver that was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) kind: TargetKind,
    pub(crate) name: Option<String>,
    /// The promise of its acknowledgement, in the words of the configuration.
    pub(crate) durability: Option<String>,
}

/// How much of the target can be seen from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetKind {
    /// Answers on its admin socket.
    Tidegate,
    /// A process tree on this host.
    Process,
    /// Only the wire.
    #[default]
    Unknown,
}

/// Where the generator ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpus: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

/// The outcomes of the instances and the associations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Answered with success.
    pub(crate) acknowledged: u64,
    /// Bytes of the acknowledged datasets.
    pub(crate) bytes: u64,
    /// Answered with another status, by its four hexadecimal digits (`A700`).
    pub(crate) refused: BTreeMap<String, u64>,
    /// Begun and never answered, because their association ended.
    pub(crate) unanswered: u64,
    /// Due and never begun: their association never stood, or the open load's queue was full or its time over.
    pub(crate) unsent: u64,
    /// Answered with success in the time for warming up, and in no other figure.
    #[serde(default)]
    pub(crate) warm_up: u64,
    pub(crate) associations_opened: u64,
    /// A-ASSOCIATE-RJ, or the presentation context refused.
    pub(crate) associations_rejected: u64,
    /// Could not connect, or ended by anything but a release.
    pub(crate) associations_failed: u64,
    /// Actions and outcomes of bad peers, by `kind.outcome`; never counted in anything above.
    #[serde(rename = "citizens")]
    pub(crate) bad_peers: BTreeMap<String, u64>,
}

impl Totals {
    /// Instances of the load that were not stored, for whatever reason.
    pub(crate) fn failed(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.unanswered + self.unsent
    }
}

/// One second of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Second {
    /// End of the second, from the start of the load.
    pub(crate) t_s: f64,
    /// Instances acknowledged within it, and their bytes.
    pub(crate) acknowledged: u64,
    pub(crate) bytes: u64,
    /// Refused and unanswered within it.
    pub(crate) failed: u64,
    /// Of the instances answered within it; zero when there was none.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Associations of the load that stood at its end.
    pub(crate) associations: u64,
    /// Instances due and not yet begun at its end; only an open load has them.
    #[serde(default)]
    pub(crate) backlog: u64,
    pub(crate) target: Option<TargetSample>,
}

/// The target as it was at the end of a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TargetSample {
    pub(crate) rss_bytes: u64,
    /// CPU time since its start, or since the sampler's.
    pub(crate) cpu_s: f64,
    pub(crate) leased_bytes: Option<u64>,
    /// Leased bytes by stage.
    pub(crate) stages: BTreeMap<String, u64>,
    pub(crate) mailbox_depth: Option<u64>,
    pub(crate) threads: Option<u64>,
}

/// Looks at the target once a second.
pub(crate) trait Sampler: Send {
    /// How it is now; `None` when it cannot be seen at the moment.
    fn sample(&mut self) -> Option<TargetSample>;
    /// Its use since the sampler was made.
    fn usage(&self) -> Option<Usage>;
    /// The kind of this target.
    fn kind(&self) -> TargetKind;
    /// Its name and version, when it tells them.
    fn name(&self) -> Option<String> {
        None
    }
    /// The promise of its acknowledgement, if it reports that.
    fn durability(&self) -> Option<String> {
        None
    }
}

/// The share of one modality of the mix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Modality {
    pub(crate) name: String,
    pub(crate) acknowledged: u64,
    pub(crate) bytes: u64,
    pub(crate) latency: Latency,
}

/// One step of a load in steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) offered_per_s: f64,
    pub(crate) achieved_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// The last step that the receiver kept up with.
    pub(crate) knee: bool,
}

/// The findings of the reconciliation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verification {
    pub(crate) acknowledged: u64,
    /// Acknowledged and found with the digest that was sent.
    pub(crate) whole: u64,
    /// UIDs acknowledged and not found.
    pub(crate) lost: Vec<String>,
    /// UIDs acknowledged and found with other bytes.
    pub(crate) corrupt: Vec<String>,
    /// Acknowledged and found with the bytes that were sent, but with another SOP class, transfer syntax or name: each with what differs.
    #[serde(default)]
    pub(crate) mislabelled: Vec<String>,
    /// UIDs of which there is more than one file.
    #[serde(default)]
    pub(crate) duplicated: Vec<String>,
    /// Files or UIDs that the run never sent.
    pub(crate) extra: Vec<String>,
    /// Never acknowledged, and whole all the same: allowed.
    pub(crate) unacknowledged_whole: u64,
    /// Never acknowledged and not there: allowed.
    pub(crate) unacknowledged_absent: u64,
    /// Found in part though never acknowledged, or files that are no whole DICOM file.
    pub(crate) partial: Vec<String>,
}

/// One `--objective` and how it came out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Objective {
    /// As it was given, as in `p99=250ms`.
    pub(crate) text: String,
    /// With its unit; `not measured` is not met.
    pub(crate) measured: String,
    pub(crate) met: bool,
}

impl RunResult {
    /// Acknowledged instances a second.
    pub(crate) fn per_s(&self) -> f64 {
        self.totals.acknowledged as f64 / self.elapsed_s.max(f64::EPSILON)
    }

    /// Acknowledged MiB a second.
    pub(crate) fn mib_per_s(&self) -> f64 {
        self.totals.bytes as f64 / f64::from(1 << 20) / self.elapsed_s.max(f64::EPSILON)
    }
}
