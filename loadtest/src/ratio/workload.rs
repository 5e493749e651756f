//! The loads that throughput is claimed for.

use clap::ValueEnum;

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// 20,000 instances of 10 KiB over 8 associations
    Tiny,
    /// 4,000 CT slices of 512 KiB over one association
    Ct1,
    /// The same over 8
    Ct8,
    /// The same over 64
    Ct64,
    /// The same over 512
    Ct512,
    /// 10 instances of 200 MiB over 2 associations
    Large,
    /// One instance of 4 GiB less a MiB, the most that a native dataset can have
    Giant,
    /// 1,000 associations that are open and do nothing
    Idle,
    /// Associations of one C-ECHO each, by 8 senders for 3 s
    Churn,
}

/// What is sent: how many instances of how many bytes over how many associations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) instances: u64,
    pub(crate) bytes: u64,
    pub(crate) associations: u64,
}

impl Workload {
    /// `None` when no instances are sent.
    pub(crate) fn load(self, scale: f64) -> Option<Load> {
        let (instances, bytes, associations) = match self {
            Self::Tiny => (20_000, 10 << 10, 8),
            Self::Ct1 => (4_000, 512 << 10, 1),
            Self::Ct8 => (4_000, 512 << 10, 8),
            Self::Ct64 => (4_000, 512 << 10, 64),
            Self::Ct512 => (4_000, 512 << 10, 512),
            Self::Large => (10, 200 << 20, 2),
            Self::Giant => (1, (4 << 30) - (1 << 20), 1),
            Self::Idle | Self::Churn => return None,
        };
        let instances = ((instances as f64 * scale) as u64).max(associations);
        Some(Load { instances, bytes, associations })
    }
}
