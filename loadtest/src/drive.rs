//! One load against one receiver that the harness has started: what tuning, soaking, crashing and comparing have in common.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use thiserror::Error;

use crate::arguments::{setting, some_seconds};
use crate::catalogue::Catalogue;
use crate::engine::{self, EngineError};
use crate::plan::{Overrides, Plan};
use crate::reconcile::{Ledger, ReconcileError, Verify};
use crate::result::{RunResult, Second};
use crate::scenario::{Arrival, Pace, Scenario, ScenarioError};
use crate::target::{Aim, Receiver, TargetError};

/// A step whose p99 is longer is past the knee: a modality's operator notices.
const KNEE_P99_MS: f64 = 1000.0;

/// The load of a command that has one.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArgs {
    /// The load: a scenario file, or the name of one that ships (ct, mr, hospital-day, …)
    #[arg(long, default_value = "ct", value_name = "FILE|NAME")]
    pub(crate) scenario: String,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
}

/// Changes to the scenario.
#[derive(Clone, Debug, Args)]
pub(crate) struct ShapeArgs {
    /// Associations at a time, in place of the scenario's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) associations: Option<u32>,
    /// Pixel data of every generated instance before it is encoded, in place of the scenario's
    #[arg(long)]
    pub(crate) size: Option<ByteSize>,
    /// Decides kinds, sizes, pixels, their order and the arrivals: the same seed is the same load. UIDs are new in every run all the same
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Send files of one's own with the names, IDs and everything else in them; without it another patient takes their place
    #[arg(long)]
    pub(crate) keep_patient: bool,
}

/// When the load ends, in place of what the scenario says.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct EndArgs {
    /// Time that the load lasts: seconds, or with a unit, as in 90s, 10m, 8h
    #[arg(long, value_name = "TIME", value_parser = some_seconds)]
    pub(crate) duration: Option<f64>,
    /// Instances to send in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) instances: Option<u64>,
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

impl ReceiverArgs {
    /// The receiver to be started. A node is asked first whether it takes its settings.
    ///
    /// # Errors
    /// When the description cannot be read, there is none, or the node refuses a setting.
    pub(crate) fn receiver(&self) -> Result<Receiver, DriveError> {
        match (&self.node, &self.receiver) {
            (Some(node), _) => {
                let receiver = Receiver::tidegate(node, &self.settings.iter().cloned().collect::<BTreeMap<_, _>>());
                receiver.check_settings()?;
                Ok(receiver)
            }
            (None, Some(file)) => Ok(Receiver::read(file)?),
            (None, None) => Err(DriveError::Usage("--node or --receiver is needed".to_owned())),
        }
    }
}

/// The parameters of one load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    pub(crate) seed: u64,
    /// With this or `instances` the load ends so, otherwise as the scenario says.
    pub(crate) duration_s: Option<f64>,
    pub(crate) instances: Option<u64>,
    /// Each association sends its equal share of `instances`, so that the same ones are sent whoever is quicker.
    pub(crate) equal_shares: bool,
    /// Open loads in place of the scenario's pace, until the receiver does not keep up.
    pub(crate) steps: Option<Steps>,
    /// The filesystem of this directory is synced after the load, and the time that it takes is in the result.
    pub(crate) sync_after: Option<PathBuf>,
    /// How every instance is looked for afterwards.
    pub(crate) verify: Option<Verify>,
    /// The datasets, if they are encoded already: see [`Drive::catalogue`].
    pub(crate) catalogue: Option<Arc<Catalogue>>,
    /// Counts instances as they are acknowledged.
    pub(crate) acknowledged: Arc<AtomicU64>,
    /// Ends the load soon after it is set.
    pub(crate) stop: Arc<AtomicBool>,
    /// Whether every association that breaks ends the load's part that it carried.
    pub(crate) gives_up: bool,
}

/// So many instances a second, one rate after the other.
#[derive(Clone, Debug)]
pub(crate) struct Steps {
    pub(crate) rates_per_s: Vec<f64>,
    pub(crate) step_s: f64,
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
    Reconcile(#[from] ReconcileError),
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
    size_bytes: Option<u64>,
    keep_patient: bool,
    scale: f64,
}

impl Drive {
    /// # Errors
    /// When there is no such scenario, or it is none.
    pub(crate) fn new(scenario: &str, shape: &ShapeArgs) -> Result<Self, DriveError> {
        Ok(Self {
            scenario: Scenario::load(scenario)?,
            associations: shape.associations,
            size_bytes: shape.size.map(|size| size.as_u64()),
            keep_patient: shape.keep_patient,
            scale: 1.0,
        })
    }

    /// The same with so large a part of its instances and its time.
    pub(crate) fn scaled(self, scale: f64) -> Self {
        Self { scale, ..self }
    }

    /// Whether instances are sent at a rate, whatever the receiver does.
    pub(crate) fn is_open(&self) -> bool {
        self.scenario.groups().iter().all(|sender| !matches!(sender.pace, Pace::Closed { .. }))
    }

    /// Whether it has senders with paces of their own.
    pub(crate) fn has_senders(&self) -> bool {
        !self.scenario.senders.is_empty()
    }

    /// Whether the load goes through rates of its own.
    pub(crate) fn has_steps(&self) -> bool {
        matches!(self.scenario.load.pace, Pace::Steps { .. })
    }

    /// The scenario's name.
    pub(crate) fn name(&self) -> &str {
        &self.scenario.name
    }

    /// Everything that the load sends, encoded once for several loads: what differs between them is UIDs, and with another seed the order.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn catalogue(&self, seed: u64) -> Result<Arc<Catalogue>, DriveError> {
        let aim = Aim { address: String::new(), called_ae: None, tls: None, sampler: None };
        let plan = self.plan(aim, &Once::default())?;
        Ok(Arc::new(Catalogue::new(&plan.scenario, seed).map_err(EngineError::from)?))
    }

    /// Puts the load on a receiver, and calls `watch` once a second.
    ///
    /// # Errors
    /// When the load cannot start; what fails on the way is in the result.
    pub(crate) fn run(&self, aim: Aim, once: &Once, watch: &mut dyn FnMut(&Second)) -> Result<RunResult, DriveError> {
        Ok(engine::run(&self.plan(aim, once)?, watch)?)
    }

    /// Puts the load on a receiver and says what was sent, without a look at what became of it.
    ///
    /// # Errors
    /// As [`Drive::run`].
    pub(crate) fn load(&self, aim: Aim, once: &Once) -> Result<Ledger, DriveError> {
        let mut plan = self.plan(aim, once)?;
        plan.keeps_ledger = true;
        let (_, ledger) = engine::load(&plan, &mut |_| {})?;
        Ok(ledger)
    }

    fn plan(&self, aim: Aim, once: &Once) -> Result<Plan, DriveError> {
        let mut scenario = self.scenario.clone();
        if let Some(Steps { rates_per_s, step_s }) = once.steps.clone() {
            let (arrival, knee_p99_ms) = (Arrival::Poisson, KNEE_P99_MS);
            scenario.load.pace = Pace::Steps { rates_per_s, step_s, arrival, knee_p99_ms };
        }
        let load = &mut scenario.load;
        if once.duration_s.is_some() || once.instances.is_some() {
            (load.duration_s, load.instances) = (once.duration_s, once.instances);
        }
        load.duration_s = load.duration_s.map(|duration_s| duration_s * self.scale);
        load.instances = load.instances.map(|instances| ((instances as f64 * self.scale) as u64).max(1));
        let overrides = Overrides {
            target: aim.address,
            called_ae: aim.called_ae,
            tls: aim.tls,
            seed: Some(once.seed),
            associations: self.associations,
            size_bytes: self.size_bytes,
            keep_patient: self.keep_patient,
            reconnect: once.gives_up.then_some(false),
            ..Overrides::default()
        };
        let mut plan = Plan::from_scenario(&scenario, &overrides).map_err(EngineError::from)?;
        if let Some(sampler) = aim.sampler {
            plan = plan.with_sampler(sampler);
        }
        plan.sync_after = once.sync_after.clone();
        plan.verify.clone_from(&once.verify);
        plan.catalogue.clone_from(&once.catalogue);
        plan.acknowledged = Arc::clone(&once.acknowledged);
        plan.stop = Arc::clone(&once.stop);
        plan.quiet = once.gives_up;
        plan.equal_shares = once.equal_shares;
        Ok(plan)
    }
}
