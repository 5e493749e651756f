//! The stages of leased bytes, and the bytes in each.

use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The purpose of leased bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Stage {
    /// The floor of an association: its first receive segment, command sets and responses.
    Floor,
    /// The buffers of TLS for an association: records in both directions, and their plaintext.
    Tls,
    /// Negotiation: the accepted presentation contexts, and a passcode that is verified.
    Negotiating,
    /// A dataset that is still arriving, or an association request that exceeds the floor.
    Receiving,
    /// A complete dataset that waits for a writer.
    Queued,
    /// A dataset that a writer commits.
    Writing,
    /// A part in flight to a spool file.
    Spooling,
    /// Instances that wait to be entered into the catalogue, and its caches while it is written.
    Catalogue,
    /// Requests for storage commitment, from their arrival until they are durable, and what evaluates and reports them.
    Commitment,
    /// Associations of this node with destinations, and the pages of their queues.
    Delivery,
    /// Requests to the admin surface and their answers.
    Admin,
}

impl Stage {
    /// Every stage, in the order a byte passes them.
    pub const ALL: [Stage; 11] = [
        Self::Floor,
        Self::Tls,
        Self::Negotiating,
        Self::Receiving,
        Self::Queued,
        Self::Writing,
        Self::Spooling,
        Self::Catalogue,
        Self::Commitment,
        Self::Delivery,
        Self::Admin,
    ];

    /// Whether bytes of this stage may not take the control reserve: they grow with what peers send.
    pub(crate) fn is_data(self) -> bool {
        match self {
            Self::Floor | Self::Tls | Self::Negotiating => false,
            Self::Receiving
            | Self::Queued
            | Self::Writing
            | Self::Spooling
            | Self::Catalogue
            | Self::Commitment
            | Self::Delivery
            | Self::Admin => true,
        }
    }

    /// Name in logs, statistics and snapshots.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Tls => "tls",
            Self::Negotiating => "negotiating",
            Self::Receiving => "receiving",
            Self::Queued => "queued",
            Self::Writing => "writing",
            Self::Spooling => "spooling",
            Self::Catalogue => "catalogue",
            Self::Commitment => "commitment",
            Self::Delivery => "delivery",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes by stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageBytes([u64; Stage::ALL.len()]);

impl StageBytes {
    /// Bytes leased for `stage`.
    pub fn get(&self, stage: Stage) -> u64 {
        self.0[stage as usize]
    }

    /// The sum over all stages.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl StageBytes {
    /// Adds bytes leased for `stage`.
    pub fn add(&mut self, stage: Stage, bytes: u64) {
        self.0[stage as usize] += bytes;
    }

    /// The stages that hold bytes, as text: `receiving=65536 queued=1024`, or `nothing`.
    pub fn text(&self) -> String {
        let held = Stage::ALL.into_iter().filter(|stage| self.get(*stage) > 0);
        let parts: Vec<_> = held.map(|stage| format!("{stage}={}", self.get(stage))).collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(" ") }
    }
}

impl AddAssign for StageBytes {
    fn add_assign(&mut self, other: Self) {
        for (to, from) in self.0.iter_mut().zip(other.0) {
            *to += from;
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct StageCounters([AtomicU64; Stage::ALL.len()]);

impl StageCounters {
    pub(crate) fn add(&self, stage: Stage, bytes: u64) {
        self.0[stage as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, stage: Stage, bytes: u64) {
        self.0[stage as usize].fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> StageBytes {
        let mut bytes = StageBytes::default();
        for (to, from) in bytes.0.iter_mut().zip(&self.0) {
            *to = from.load(Ordering::Relaxed);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_by_stage_add_up_and_are_written_by_name() {
        let mut bytes = StageBytes::default();
        assert_eq!(bytes.text(), "nothing");
        bytes.add(Stage::Queued, 5);
        let mut more = StageBytes::default();
        more.add(Stage::Floor, 1);
        more.add(Stage::Queued, 2);
        bytes += more;
        assert_eq!((bytes.total(), bytes.text().as_str()), (8, "floor=1 queued=7"));
    }

    #[test]
    fn a_stage_has_one_name_everywhere_and_its_own_place_in_the_tables() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.name());
            assert_eq!(stage.to_string(), stage.name());
        }
    }
}
