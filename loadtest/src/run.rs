//! The command `run`: a scenario against a target, what it measured, and whether that is good.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytesize::ByteSize;
use clap::Args;
use thiserror::Error;

use crate::arguments::{address, seconds};
use crate::baseline::Comparison;
use crate::catalogue::Catalogue;
use crate::drive::{EndArgs, ShapeArgs};
use crate::engine::{self, EngineError};
use crate::live::View;
use crate::objective::Wanted;
use crate::plan::{Overrides, Plan};
use crate::reconcile::Verify;
use crate::result::{RunResult, Sampler};
use crate::scenario::{Scenario, TlsSettings};
use crate::{render, target};

/// The load, the receiver and the objectives.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Scenario file, or the name of one that ships: ct, mr, cr-dx, us-multiframe, mammo-dbt, whole-slide, sr-tiny, hospital-day, site,
    /// tls, bad-peers, knee; or of a throughput load: tiny, ct1, ct8, ct64, ct512, large, giant, idle, churn
    #[arg(long, value_name = "FILE")]
    scenario: String,
    /// Where the receiver listens
    #[arg(long, value_name = "HOST:PORT", value_parser = address, required_unless_present = "dry_run")]
    target: Option<String>,
    /// Say what would be sent, and connect to nobody
    #[arg(long)]
    dry_run: bool,
    /// AE title of the receiver
    #[arg(long, value_name = "AET")]
    called_ae: Option<String>,
    /// AE title of the generator
    #[arg(long, value_name = "AET")]
    calling_ae: Option<String>,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    end: EndArgs,
    /// Send so many instances a second, whatever the receiver does
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// Leave this time at the beginning out of the figures: what is sent in it is verified all the same
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    warm_up: Option<f64>,
    /// Maximum PDU length that the generator offers
    #[arg(long, value_name = "SIZE")]
    max_pdu: Option<ByteSize>,
    /// Messages outstanding on an association at a time, where the receiver grants it
    #[arg(long, value_name = "N")]
    async_window: Option<u16>,
    /// Let the UIDs follow from the seed, so that a second run with the same seed sends the same instances again: how a receiver takes
    /// what it has already. Without it no instance is ever sent twice
    #[arg(long)]
    resend: bool,
    /// Look for every instance below this directory afterwards
    #[arg(long, value_name = "DIR", conflicts_with = "verify_hook")]
    verify: Option<PathBuf>,
    /// Run this command with each SOP Instance UID afterwards; it prints the file's path or the SHA-256 of its dataset
    #[arg(long, value_name = "CMD")]
    verify_hook: Option<String>,
    /// Objective to be met, as in p99=250ms, rate=200/s, rate=150MiB/s, rss=200MiB, failures=0
    #[arg(long = "objective", value_name = "NAME=VALUE")]
    objectives: Vec<Wanted>,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE.json")]
    result: Option<PathBuf>,
    /// Write each second as a line of CSV
    #[arg(long, value_name = "FILE.csv")]
    csv: Option<PathBuf>,
    /// Write a report for people
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Show what changed from the result of an earlier run, without a verdict: that takes several runs, and diff
    #[arg(long, value_name = "FILE.json")]
    baseline: Option<PathBuf>,
    /// The receiver's process, on this machine: its memory and CPU are measured, with its children's
    #[arg(long)]
    pid: Option<u32>,
    /// Storage root of a Tidegate on this machine: its leases and mailboxes are measured too
    #[arg(long, value_name = "STORAGE_ROOT")]
    tidegate: Option<PathBuf>,
    /// Use TLS, and trust the certificates in this PEM file
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Use TLS, and trust whoever answers: only for test systems
    #[arg(long, conflicts_with = "tls_ca")]
    tls_insecure: bool,
    /// PEM file of the generator's certificate chain
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Name in the receiver's certificate, where it is not the host of --target
    #[arg(long, value_name = "NAME")]
    tls_name: Option<String>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// Show the run as it goes, when stdout is a terminal
    #[arg(long)]
    live: bool,
}

/// Why a run could not be, or be told.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("--max-pdu is {0}: more than a PDU length can say")]
    MaxPduTooLarge(ByteSize),
    #[error(transparent)]
    Target(#[from] target::TargetError),
    #[error("cannot read the baseline {path}")]
    Baseline { path: PathBuf, source: io::Error },
    #[error("{path} is no directory")]
    NoDirectory { path: PathBuf },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot write the result as JSON")]
    Json(#[source] serde_json::Error),
    #[error("cannot catch an interrupt")]
    Interrupt(#[source] io::Error),
}

/// Runs, prints and writes; `true` when nothing was lost and every objective met.
///
/// # Errors
/// When the run cannot be, or its result not written.
pub(crate) fn run(args: &RunArgs) -> Result<bool, RunError> {
    let base = match &args.baseline {
        Some(path) => Some(render::read(path).map_err(|source| RunError::Baseline { path: path.clone(), source })?),
        None => None,
    };
    check_paths(args)?;
    let mut plan = plan(args)?;
    if args.dry_run {
        let catalogue = Catalogue::new(&plan.scenario, plan.seed).map_err(EngineError::from)?;
        print!("{}", render::dry_run(&plan.describe_load(), &plan.scenario.name, &catalogue));
        return Ok(true);
    }
    if let Some(sampler) = target::sampler(args.pid, args.tidegate.as_deref())? {
        plan = plan.with_sampler(sampler as Box<dyn Sampler>);
    }
    stop_on_interrupt(&plan.stop).map_err(RunError::Interrupt)?;
    let in_terminal = args.live && !args.json && io::stdout().is_terminal();
    plan.quiet = in_terminal;
    if !in_terminal && !plan.scenario.description.is_empty() {
        eprintln!("{}: {}", plan.scenario.name, plan.scenario.description);
    }
    let mut view = View::new(in_terminal, &plan);
    let result = engine::run(&plan, &mut |second| view.show(second));
    drop(view);
    let result = result?;
    let compared = base.map(|base| Comparison::of(vec![base], vec![result.clone()]));
    write(args, &result, compared.as_ref())?;
    Ok(result.passed())
}

fn plan(args: &RunArgs) -> Result<Plan, RunError> {
    let scenario = Scenario::load(&args.scenario).map_err(EngineError::from)?;
    let max_pdu_bytes = match args.max_pdu {
        Some(size) => Some(u32::try_from(size.as_u64()).map_err(|_| RunError::MaxPduTooLarge(size))?),
        None => None,
    };
    let overrides = Overrides {
        target: args.target.clone().unwrap_or_default(),
        called_ae: args.called_ae.clone(),
        calling_ae: args.calling_ae.clone(),
        seed: Some(args.shape.seed),
        run: args.resend.then_some(args.shape.seed),
        duration_s: args.end.duration,
        instances: args.end.instances,
        associations: args.shape.associations,
        size_bytes: args.shape.size.map(|size| size.as_u64()),
        rate_per_s: args.rate,
        warm_up_s: args.warm_up,
        max_pdu_bytes,
        async_window: args.async_window,
        timeout_s: None,
        reconnect: None,
        keep_patient: args.shape.keep_patient,
        tls: tls(args, scenario.tls.as_ref()),
    };
    let mut plan = Plan::from_scenario(&scenario, &overrides).map_err(EngineError::from)?;
    plan.verify = match (&args.verify, &args.verify_hook) {
        (Some(directory), _) => Some(Verify::Directory(directory.clone())),
        (None, Some(command)) => Some(Verify::Hook(command.clone())),
        (None, None) => None,
    };
    plan.objectives.clone_from(&args.objectives);
    Ok(plan)
}

/// The scenario's TLS with what the flags say in place of its own; `None` when no flag says anything.
fn tls(args: &RunArgs, scenario: Option<&TlsSettings>) -> Option<TlsSettings> {
    let given = args.tls_ca.is_some() || args.tls_insecure || args.tls_cert.is_some() || args.tls_name.is_some();
    given.then(|| {
        let settings = scenario.cloned().unwrap_or_default();
        TlsSettings {
            ca: args.tls_ca.clone().or(settings.ca),
            insecure: args.tls_insecure || settings.insecure && args.tls_ca.is_none(),
            client: args.tls_cert.clone().zip(args.tls_key.clone()).or(settings.client),
            server_name: args.tls_name.clone().or(settings.server_name),
        }
    })
}

/// Finds a path that cannot be used before the load, not hours later.
fn check_paths(args: &RunArgs) -> Result<(), RunError> {
    if let Some(path) = args.verify.as_ref().filter(|path| !path.is_dir()) {
        return Err(RunError::NoDirectory { path: path.clone() });
    }
    for path in [&args.result, &args.csv, &args.html].into_iter().flatten() {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !parent.is_dir() {
            return Err(RunError::NoDirectory { path: parent.to_owned() });
        }
    }
    Ok(())
}

/// The first interrupt ends the load and tells what was measured; the second ends the program.
fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> io::Result<()> {
    use signal_hook::consts::SIGINT;
    signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(stop))?;
    signal_hook::flag::register(SIGINT, Arc::clone(stop))?;
    Ok(())
}

fn write(args: &RunArgs, result: &RunResult, compared: Option<&Comparison>) -> Result<(), RunError> {
    let to = |path: &PathBuf, text: String| {
        fs::write(path, text).map_err(|source| RunError::Write { path: path.clone(), source })
    };
    let json = serde_json::to_string(result).map_err(RunError::Json)?;
    if args.json {
        println!("{json}");
    } else {
        print!("{}", render::text(result));
        if let Some(compared) = compared {
            print!("\n{}", render::comparison(compared));
        }
    }
    if let Some(path) = &args.result {
        to(path, json + "\n")?;
    }
    if let Some(path) = &args.csv {
        to(path, render::csv(result))?;
    }
    if let Some(path) = &args.html {
        to(path, render::html(result, compared))?;
    }
    Ok(())
}
