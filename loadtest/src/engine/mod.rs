//! The engine: a scenario becomes a plan, a plan becomes load, and what came of it a [`RunResult`].

mod monitor;
mod pipeline;
mod recorder;
mod run;
mod schedule;
#[cfg(test)]
mod tests;
mod worker;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::association::AssociationError;
use crate::bad_peers;
use crate::catalogue::{Catalogue, CatalogueError};
use crate::codes;
use crate::noise::{Machine, Noise};
use crate::objective;
use crate::plan::{Plan, PlanError};
use crate::reconcile::{self, Ledger, ReconcileError};
use crate::result::{RunResult, SCHEMA, Second, Usage};
use crate::scenario::{Pace, ScenarioError};

use monitor::Monitor;
use recorder::Recorder;
use run::Run;
use worker::Worker;

/// Stack of an association's thread, which holds a read buffer and little else.
const STACK_BYTES: usize = 256 * 1024;

/// Why a run could not be.
#[derive(Debug, Error)]
pub(crate) enum EngineError {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("no association with {target}: is it running, and does it know {calling_ae}?")]
    Unreachable { target: String, calling_ae: String, source: AssociationError },
    #[error("cannot start a thread for association {number}")]
    Thread { number: u32, source: io::Error },
    #[error("cannot sync the filesystem of {directory}")]
    Sync { directory: PathBuf, source: io::Error },
    #[error("an association's thread ended by a panic")]
    Panicked,
    #[error("cannot check what was stored")]
    Reconcile(#[from] ReconcileError),
}

/// Runs a plan to its end and judges it: load, then verification, then objectives. `watch` sees each second as it is closed.
///
/// # Errors
/// When the run cannot begin or be checked; what fails on the way is counted in the result.
pub(crate) fn run(plan: &Plan, watch: &mut dyn FnMut(&Second)) -> Result<RunResult, EngineError> {
    let (mut result, ledger) = load(plan, watch)?;
    if let Some(directory) = &plan.sync_after {
        let begun = Instant::now();
        let synced = File::open(directory).and_then(|directory| Ok(rustix::fs::syncfs(directory)?));
        synced.map_err(|source| EngineError::Sync { directory: directory.clone(), source })?;
        result.sync_after_s = Some(begun.elapsed().as_secs_f64());
    }
    if let Some(verify) = &plan.verify {
        result.verification = Some(reconcile::check(&ledger, verify)?);
    }
    result.objectives = objective::judge(&plan.objectives, &result);
    Ok(result)
}

/// Only the load of a plan, with the ledger of what was sent, which is empty unless the plan keeps one or verifies.
///
/// # Errors
/// As [`run()`].
pub(crate) fn load(plan: &Plan, watch: &mut dyn FnMut(&Second)) -> Result<(RunResult, Ledger), EngineError> {
    let catalogue = match &plan.catalogue {
        Some(catalogue) => Arc::clone(catalogue),
        None => Arc::new(Catalogue::new(&plan.scenario, plan.seed)?),
    };
    warm_up(plan, &catalogue)?;
    let steps = match &plan.scenario.load.pace {
        Pace::Steps { rates_per_s, .. } => rates_per_s.len(),
        Pace::Closed { .. } | Pace::Open { .. } | Pace::Trace { .. } => 0,
    };
    let started_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let (start, usage, machine) = (Instant::now(), Usage::now(), Machine::now());
    let run = Run {
        plan,
        recorder: Recorder::new(catalogue.kinds.len(), plan.scenario.senders.len(), steps),
        groups: run::groups(plan, start),
        start,
        keeps_ledger: plan.keeps_ledger || plan.verify.is_some(),
        complaints: std::sync::atomic::AtomicUsize::new(0),
        catalogue: Arc::clone(&catalogue),
    };
    let mut monitor = Monitor::new(&run, plan.take_sampler());
    let mut ledger = Ledger::new(plan.run, Arc::clone(&catalogue));
    let badly_behaved = bad_peers::BadPeers::default();
    thread::scope(|scope| {
        badly_behaved.start(scope, plan);
        let worked = work(scope, &run, &mut ledger, |left| monitor.watch(left, watch));
        badly_behaved.stop();
        worked
    })?;
    let ended = Instant::now();
    run.recorder.unsent(run.never_taken(ended));

    let mut totals = run.recorder.totals();
    totals.bad_peers = badly_behaved.counts();
    let [latency, service] = run.recorder.latencies();
    let elapsed = run.recorder.last_answer().unwrap_or(ended).saturating_duration_since(run.measured_from());
    let stopped = monitor.stopped();
    let generator = Usage::now().since(usage);
    let noise = noise(plan, machine, &generator, monitor.target_usage());
    let result = RunResult {
        schema: SCHEMA,
        scenario: plan.scenario.name.clone(),
        seed: plan.seed,
        run: plan.run,
        started_unix_ms,
        elapsed_s: elapsed.as_secs_f64(),
        target: monitor.target(),
        host: monitor::host(),
        load: plan.describe_load(),
        totals,
        latency,
        service,
        senders: run.recorder.senders(plan.scenario.senders.iter().map(|sender| sender.name.as_str())),
        modalities: run.recorder.modalities(catalogue.kinds.iter().map(|kind| kind.name.as_str())),
        steps: monitor.steps(),
        generator,
        target_usage: monitor.target_usage(),
        target_resting_bytes: monitor.target_resting_bytes(),
        sync_after_s: None,
        series: monitor.into_series(),
        noise,
        stopped,
        verification: None,
        objectives: Vec::new(),
    };
    Ok((result, ledger))
}

/// The use of this machine by others since `before`.
fn noise(plan: &Plan, before: Option<Machine>, generator: &Usage, receiver: Option<Usage>) -> Option<Noise> {
    // A receiver on another machine uses none of this one's time.
    let receiver_s = receiver.map(|usage| usage.cpu_s()).or((!plan.is_local()).then_some(0.0));
    Some(before?.noise(&Machine::now()?, generator.cpu_s(), receiver_s))
}

/// One association before the clock runs: it shows that the target is there, and for what length of PDU to frame.
fn warm_up(plan: &Plan, catalogue: &Catalogue) -> Result<(), EngineError> {
    if !plan.quiet && plan.catalogue.is_none() {
        catalogue.notes.iter().for_each(|note| eprintln!("{note}"));
    }
    let unreachable = |source| EngineError::Unreachable {
        target: plan.target.clone(),
        calling_ae: plan.scenario.associations.calling_ae.clone(),
        source,
    };
    let association = plan.connect(catalogue, &plan.scenario.associations.calling_ae).map_err(unreachable)?;
    let refused = catalogue.contexts.iter().filter(|context| !association.accepted(context.id));
    for context in refused {
        let why = association.result(context.id).map(|result| format!(": {}", codes::contexts(&[result])));
        eprintln!(
            "not accepted, and so counted as unsent: SOP class {} in transfer syntax {}{}",
            context.abstract_syntax,
            context.transfer_syntax,
            why.unwrap_or_default()
        );
    }
    catalogue.framed(association.fragment_bytes());
    association.release().map_err(unreachable)
}

/// Runs the associations while `watch` watches; it is called with what tells that they are done.
fn work<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    run: &'env Run<'env>,
    ledger: &mut Ledger,
    watch: impl FnOnce(&mpsc::Receiver<()>),
) -> Result<(), EngineError> {
    // Nothing is ever sent: that the last sender is gone says that all are done.
    let (working, done) = mpsc::sync_channel::<()>(1);
    let mut threads = Vec::new();
    let mut started = Ok(());
    'groups: for (group, index) in run.groups.iter().zip(0..) {
        for number in group.first..group.first + group.sender.associations {
            let working = working.clone();
            let builder = thread::Builder::new().name(format!("association {number}")).stack_size(STACK_BYTES);
            let spawned = builder.spawn_scoped(scope, move || {
                let _working = working;
                Worker::new(run, group, index, number).work()
            });
            match spawned {
                Ok(thread) => threads.push((number, thread)),
                Err(source) => {
                    run.end_now();
                    started = Err(EngineError::Thread { number, source });
                    break 'groups;
                }
            }
        }
    }
    drop(working);
    watch(&done);
    for (number, thread) in threads {
        ledger.add(number, thread.join().map_err(|_| EngineError::Panicked)?);
    }
    started
}
