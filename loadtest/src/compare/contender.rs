//! The results of each receiver under one load.

use serde::Serialize;

use crate::baseline::Comparison;
use crate::result::RunResult;
use crate::target::Receiver;

/// One load, and what it came to with each receiver.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub(crate) scenario: String,
    pub(crate) contenders: Vec<Contender>,
}

/// One receiver and what its runs came to.
#[derive(Debug, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) durability: String,
    /// Others are held against it.
    pub(crate) is_limit: bool,
    /// By round; `None` where it failed.
    pub(crate) runs: Vec<Option<RunResult>>,
    /// Why runs are missing.
    pub(crate) problems: Vec<String>,
}

impl Contender {
    pub(super) fn new(receiver: &Receiver) -> Self {
        Self {
            name: receiver.name.clone(),
            version: receiver.version(),
            durability: receiver.durability.clone(),
            is_limit: receiver.is_limit,
            runs: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Whether it stored all that it acknowledged, and every run came to its end.
    pub(crate) fn passed(&self) -> bool {
        self.problems.is_empty() && self.runs().all(RunResult::passed)
    }

    /// Held against another, over the rounds that both came through.
    pub(crate) fn against(&self, base: &Self) -> Comparison {
        let both = base.runs.iter().zip(&self.runs).filter_map(|(base, new)| base.clone().zip(new.clone()));
        let (base, new) = both.unzip();
        Comparison::of(base, new)
    }

    /// The runs that came to their end.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().flatten()
    }
}
