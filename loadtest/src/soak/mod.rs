//! Loads a receiver for hours, with pauses, and says whether what it holds grows.
//!
//! Memory of one second resembles that of the second before, so that a line through all seconds is surer of itself than it may be. What
//! counts here is one figure for each cycle of load and pause.

mod judge;
mod report;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;

use crate::arguments::{address, seconds, some_seconds};
use crate::drive::{Drive, DriveError, LoadArgs, Once, ReceiverArgs, tell};
use crate::reconcile::Verify;
use crate::result::{Sampler, TargetSample};
use crate::target::{self, Aim, Running};
use crate::workdir::Workdir;
use judge::{Cycle, Verdict};
use report::Soaked;

/// Between two looks while it rests.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The load and the length of a soak.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    #[command(flatten)]
    receiver: ReceiverArgs,
    /// A receiver that runs already, in place of --node or --receiver
    #[arg(long, value_name = "HOST:PORT", value_parser = address, conflicts_with_all = ["node", "receiver"])]
    target: Option<String>,
    /// The process to watch, for --target
    #[arg(long, requires = "target")]
    pid: Option<u32>,
    /// Storage root of a running Tidegate to watch, for --target
    #[arg(long, value_name = "DIR", requires = "target", conflicts_with = "pid")]
    tidegate: Option<PathBuf>,
    /// Look below this directory for what --target acknowledged. A receiver that is started here is verified where its description says
    #[arg(long, value_name = "DIR", requires = "target", conflicts_with = "verify_hook")]
    verify: Option<PathBuf>,
    /// The same by a command, as in run
    #[arg(long, value_name = "CMD", requires = "target")]
    verify_hook: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    /// Length of the soak, as in 8h. Never fewer than eight cycles, since fewer have no verdict
    #[arg(long, value_name = "TIME", value_parser = some_seconds)]
    duration: f64,
    /// Length of the load in each cycle
    #[arg(long = "load", default_value = "40s", value_name = "TIME", value_parser = some_seconds)]
    load_s: f64,
    /// Length of the pause behind it; allocators need some ten seconds to give memory back
    #[arg(long = "pause", default_value = "20s", value_name = "TIME", value_parser = seconds)]
    pause_s: f64,
    /// Growth in an hour that is not yet called a leak
    #[arg(long, default_value = "1 MiB", value_name = "SIZE")]
    tolerance: ByteSize,
    /// Where a receiver that is started here stores; what it has stored is removed in each pause
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Soaks and prints the verdict; `false` when there is a leak, or what was acknowledged is not there, or too much was not stored.
///
/// # Errors
/// When the receiver does not start or cannot be seen, or a load cannot start.
pub(crate) fn run(args: &SoakArgs) -> Result<bool, DriveError> {
    let drive = Drive::new(&args.load.scenario, &args.load.shape)?;
    let soaked = match &args.target {
        Some(address) => {
            let look = || target::sampler(args.pid, args.tidegate.as_deref());
            if look()?.is_none() {
                return Err(DriveError::Usage(
                    "--target needs --pid or --tidegate: growth is judged by what it holds".to_owned(),
                ));
            }
            let aim = || Ok(Aim { address: address.clone(), called_ae: None, tls: None, sampler: look()? });
            {
                let directory = args.verify.clone().map(Verify::Directory);
                let verify = directory.or_else(|| args.verify_hook.clone().map(Verify::Hook));
                soak(args, &drive, address, &Soil { aim: &aim, verify, clear: &|| {} })?
            }
        }
        None => {
            let receiver = args.receiver.receiver()?;
            let workdir = Workdir::new(&args.workdir, "soak")?;
            let running = Running::start(&receiver, &workdir.storage(), &workdir.work())?;
            let clear = || {
                // Instances that are still being written are counted in the next pause.
                let _ = clear(&workdir.storage());
            };
            let verify = running.files().map(Verify::Directory);
            let soil = Soil { aim: &|| Ok(running.aim()?), verify, clear: &clear };
            let soaked = soak(args, &drive, &receiver.name, &soil)?;
            running.stop()?;
            soaked
        }
    };
    if let Some(path) = &args.html {
        fs::write(path, report::page(&soaked)).map_err(DriveError::file(path))?;
    }
    tell(&soaked, args.json, || report::text(&soaked));
    let leaks = soaked.judgements.iter().any(|judgement| judgement.verdict == Verdict::Leak);
    Ok(!leaks && soaked.cycles.iter().all(|cycle| cycle.faults.is_empty()))
}

/// The receiver that is soaked.
struct Soil<'a> {
    aim: &'a dyn Fn() -> Result<Aim, DriveError>,
    verify: Option<Verify>,
    /// Removes what it has stored, where that is the harness's own.
    clear: &'a dyn Fn(),
}

fn soak(args: &SoakArgs, drive: &Drive, receiver: &str, soil: &Soil<'_>) -> Result<Soaked, DriveError> {
    let mut soaked = Soaked { receiver: receiver.to_owned(), scenario: drive.name().to_owned(), ..Soaked::default() };
    let started = Instant::now();
    let length_s = args.duration;
    while started.elapsed().as_secs_f64() < length_s || soaked.cycles.len() < judge::MIN_CYCLES {
        let number = soaked.cycles.len() as u64;
        let begun_s = started.elapsed().as_secs_f64();
        let once = Once {
            seed: args.load.shape.seed.wrapping_add(number),
            duration_s: Some(args.load_s),
            verify: soil.verify.clone(),
            ..Once::default()
        };
        // Verified before anything is removed.
        let result = drive.run((soil.aim)()?, &once, &mut |_| {})?;
        let loaded: Vec<(f64, TargetSample)> =
            result.series.iter().filter_map(|second| Some((begun_s + second.t_s, second.target.clone()?))).collect();
        let sampler = (soil.aim)()?.sampler;
        (soil.clear)();
        let resting = rest(sampler, started, args.pause_s);
        soaked.cycles.push(Cycle {
            end_s: started.elapsed().as_secs_f64(),
            acknowledged: result.totals.acknowledged,
            failed: result.totals.failed(),
            verified: result.verification.is_some(),
            faults: result.faults(),
            ..judge::cycle(&loaded, &resting)
        });
        soaked.samples.extend(loaded.into_iter().chain(resting));
        soaked.judgements = judge::judge(&soaked.cycles, args.tolerance.as_u64() as f64);
        if let Some(cycle) = soaked.cycles.last() {
            eprintln!("{}", report::progress(cycle, number + 1, length_s));
        }
    }
    Ok(soaked)
}

/// Looks at the receiver for so long while nothing is sent.
fn rest(sampler: Option<Box<dyn Sampler>>, started: Instant, seconds: f64) -> Vec<(f64, TargetSample)> {
    let mut seen = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(seconds.max(0.0));
    let Some(mut sampler) = sampler else {
        return seen;
    };
    while Instant::now() < end {
        thread::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now())));
        seen.extend(sampler.sample().map(|sample| (started.elapsed().as_secs_f64(), sample)));
    }
    seen
}

/// Removes what was stored, and leaves alone what a receiver hides for itself.
fn clear(storage: &Path) -> io::Result<()> {
    for entry in fs::read_dir(storage)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.path().extension().is_none_or(|extension| extension != "db") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
