//! One load against one receiver that the harness has started: what tuning, soaking, crashing and comparing have in common.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use crate::engine::{self, EngineError, Overrides, Plan};
use crate::reconcile::Verify;
use crate::result::{RunResult, Sampler, Second};
use crate::scenario::{Arrival, Pace, Scenario, ScenarioError};
use crate::target::{Receiver, TargetError};

/// A step whose p99 is longer is past the knee: a modality's operator notices.
const KNEE_P99_MS: f64 = 1000.0;

/// The load, as the command line gives it.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// The load: a scenario file, or the name of one that ships (ct, mr, hospital-day, …)
    #[arg(long, default_value = "ct", value_name = "FILE|NAME")]
    pub(crate) scenario: String,
    /// Associations at a time, in place of the scenario's
    #[arg(long)]
    pub(crate) associations: Option<u32>,
    /// UIDs, pixels and every choice follow from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// The receiver that is started for it.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReceiverArgs {
    /// The tidegate binary to start
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// A setting of the node, by its configuration key; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting, requires = "node")]
    settings: Vec<(String, String)>,
    /// Another receiver, described as in loadtest/targets/
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    receiver: Option<PathBuf>,
}

/// Prints what was found, for a program or for people.
pub(crate) fn tell(found: &impl Serialize, json: bool, text: impl FnOnce() -> String) {
    if json {
        println!("{}", serde_json::to_string(found).unwrap_or_default());
    } else {
        print!("{}", text());
    }
}

/// One `KEY=VALUE`.
pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is expected, as in writers.count=4")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl ReceiverArgs {
    /// Who is to be started.
    ///
    /// # Errors
    /// When the description cannot be read, or there is none.
    pub(crate) fn receiver(&self) -> Result<Receiver, DriveError> {
        match (&self.node, &self.receiver) {
            (Some(node), _) => Ok(Receiver::tidegate(node, &self.settings.iter().cloned().collect::<BTreeMap<_, _>>())),
            (None, Some(file)) => Ok(Receiver::read(file)?),
            (None, None) => Err(DriveError::Usage("--node or --receiver is needed".to_owned())),
        }
    }
}

/// What one load differs in from the others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    pub(crate) seed: u64,
    pub(crate) duration_s: f64,
    /// Open loads one after the other, of so many instances a second and `duration_s` each, until the receiver does not keep up.
    /// Without them the scenario's own pace for `duration_s`.
    pub(crate) steps_per_s: Vec<f64>,
    /// Where every instance is looked for afterwards.
    pub(crate) verify: Option<PathBuf>,
    /// Where acknowledged instances are recorded as they are, with a digest each: it takes the generator some CPU.
    pub(crate) acked: Option<PathBuf>,
    /// Ends the load soon after it is set.
    pub(crate) stop: Arc<AtomicBool>,
    /// Whether every association that breaks ends the load's part that it carried.
    pub(crate) gives_up: bool,
}

/// Whom a load is put on.
pub(crate) struct Aim {
    pub(crate) address: String,
    pub(crate) called_ae: Option<String>,
    pub(crate) sampler: Option<Box<dyn Sampler>>,
}

/// Why a measurement could not go on.
#[derive(Debug, Error)]
pub(crate) enum DriveError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Verify(#[from] crate::verify::VerifyError),
    #[error("cannot make {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Usage(String),
}

impl DriveError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// A load that can be put on receivers again and again.
#[derive(Debug)]
pub(crate) struct Drive {
    scenario: Scenario,
    associations: Option<u32>,
}

impl Drive {
    /// # Errors
    /// When there is no such scenario, or it is none.
    pub(crate) fn new(args: &LoadArgs) -> Result<Self, DriveError> {
        Ok(Self { scenario: Scenario::load(&args.scenario)?, associations: args.associations })
    }

    /// The scenario's name.
    pub(crate) fn name(&self) -> &str {
        &self.scenario.name
    }

    /// Puts the load on a receiver, and calls `watch` once a second.
    ///
    /// # Errors
    /// When the load cannot start; what fails on the way is in the result.
    pub(crate) fn run(&self, aim: Aim, once: &Once, watch: &mut dyn FnMut(&Second)) -> Result<RunResult, DriveError> {
        let mut scenario = self.scenario.clone();
        let steps = !once.steps_per_s.is_empty();
        if steps {
            let rates_per_s = once.steps_per_s.clone();
            let (step_s, arrival, knee_p99_ms) = (once.duration_s, Arrival::Poisson, KNEE_P99_MS);
            scenario.load.pace = Pace::Steps { rates_per_s, step_s, arrival, knee_p99_ms };
        }
        let overrides = Overrides {
            target: aim.address,
            called_ae: aim.called_ae,
            seed: Some(once.seed),
            duration_s: (!steps).then_some(once.duration_s),
            associations: self.associations,
            reconnect: once.gives_up.then_some(false),
            ..Overrides::default()
        };
        let mut plan = Plan::from_scenario(&scenario, &overrides)?;
        if let Some(sampler) = aim.sampler {
            plan = plan.with_sampler(sampler);
        }
        plan.verify = once.verify.clone().map(Verify::Directory);
        plan.acked = once.acked.clone();
        plan.stop = Arc::clone(&once.stop);
        plan.quiet = once.gives_up;
        Ok(engine::run(&plan, watch)?)
    }
}
