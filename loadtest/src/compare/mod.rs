//! The same loads on several receivers, in turns and round after round, so that what drifts on the host meets them all. A limit that
//! takes part is a receiver like any other; what counts then is the ratio within a round.

mod contender;
mod report;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::arguments::setting;
use crate::drive::{Drive, DriveError, EndArgs, Once, ShapeArgs, tell};
use crate::limit::Mode;
use crate::reconcile::Verify;
use crate::result::RunResult;
use crate::target::{Receiver, Running};
use crate::workdir::Workdir;
use contender::{Compared, Contender};

/// Time for the disk's work after a sync, such as discards.
const SETTLE: Duration = Duration::from_secs(1);

/// The receivers, the loads, and the way of the comparison.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Descriptions of receivers, as in loadtest/targets/
    #[arg(long = "receiver", value_name = "FILE", num_args = 1..)]
    receivers: Vec<PathBuf>,
    /// A tidegate binary that takes part; given again, another one: the others are held against the first
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
    /// A setting of the nodes, by its configuration key; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting, requires = "node")]
    settings: Vec<(String, String)>,
    /// Limits that take part: others are held against the fastest, as ratios
    #[arg(long, value_enum, value_delimiter = ',')]
    limit: Vec<Mode>,
    /// The loads, one after the other: scenario files, or names of scenarios that ship
    #[arg(long, value_delimiter = ',', default_value = "ct", value_name = "FILE|NAME,…")]
    scenario: Vec<String>,
    #[command(flatten)]
    shape: ShapeArgs,
    #[command(flatten)]
    end: EndArgs,
    /// Part of each load that is sent: a quick look needs less
    #[arg(long, default_value_t = 1.0, value_name = "SHARE")]
    scale: f64,
    /// Send over TLS; node and limits use the certificate chain and the key of these PEM files
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"], conflicts_with = "receivers")]
    tls: Vec<PathBuf>,
    /// Runs of each receiver; the table shows the median and the range. From three on there is a verdict, six are better
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Where the receivers store; each run has a directory of its own, which is removed at the end
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print every run as JSON
    #[arg(long)]
    json: bool,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs all rounds of all loads; `false` when a receiver lost something or could not be run.
///
/// # Errors
/// When a description or a load cannot be read, or nothing can be written.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, DriveError> {
    let receivers = receivers(args)?;
    // Space is given back after each run, names are removed when all is measured: ext4 gives no inode again that was freed in the last
    // minutes, and a process that creates a file next to thousands of these looks at each of them.
    let mut spent = Vec::new();
    let mut loads = Vec::new();
    for scenario in &args.scenario {
        let drive = Drive::new(scenario, &args.shape)?.scaled(args.scale);
        let mut contenders: Vec<Contender> = receivers.iter().map(Contender::new).collect();
        for round in 0..args.rounds as usize {
            // Another one begins each round: none is always the first after a pause, or always behind the same neighbour.
            for turn in 0..receivers.len() {
                let index = (turn + round) % receivers.len();
                if let (Some(receiver), Some(contender)) = (receivers.get(index), contenders.get_mut(index)) {
                    eprint!("{}, round {} of {}: {} … ", drive.name(), round + 1, args.rounds, receiver.name);
                    let workdir = Workdir::new(&args.workdir, &format!("compare-{}", spent.len()))?;
                    take(contender, measure(args, &drive, receiver, round as u64, &workdir));
                    workdir.empty()?;
                    spent.push(workdir);
                    settle(&args.workdir)?;
                }
            }
        }
        loads.push(Compared { scenario: drive.name().to_owned(), contenders });
    }
    if let Some(path) = &args.html {
        fs::write(path, report::page(&loads)).map_err(DriveError::file(path))?;
    }
    tell(&loads, args.json, || report::text(&loads, args.markdown));
    Ok(loads.iter().all(|load| load.contenders.iter().all(Contender::passed)))
}

/// All that take part: the node, the limits, the others.
fn receivers(args: &CompareArgs) -> Result<Vec<Receiver>, DriveError> {
    let tls = match args.tls.as_slice() {
        [certificate, key] => {
            let file = |path: &Path| path.canonicalize().map_err(DriveError::file(path));
            Some((file(certificate)?, file(key)?))
        }
        _ => None,
    };
    let settings: BTreeMap<_, _> = args.settings.iter().cloned().collect();
    let mut receivers: Vec<Receiver> = args.node.iter().map(|node| Receiver::tidegate(node, &settings)).collect();
    for node in &receivers {
        node.check_settings()?;
    }
    if receivers.len() > 1 {
        for (receiver, (node, number)) in receivers.iter_mut().zip(args.node.iter().zip(1..)) {
            receiver.name = format!("{} {number} ({})", receiver.name, node.display());
        }
    }
    for mode in &args.limit {
        receivers.push(Receiver::limit(*mode)?);
    }
    if let Some((certificate, key)) = &tls {
        receivers = receivers
            .into_iter()
            .map(|receiver| receiver.over_tls(certificate, key))
            .collect::<Result<_, crate::target::TargetError>>()?;
    }
    for file in &args.receivers {
        receivers.push(Receiver::read(file)?);
    }
    match receivers.is_empty() {
        true => Err(DriveError::Usage("nothing to compare: give --receiver, --node or --limit".to_owned())),
        false => Ok(receivers),
    }
}

/// One run of one receiver, from its start to its end, in an empty directory.
fn measure(
    args: &CompareArgs,
    drive: &Drive,
    receiver: &Receiver,
    round: u64,
    workdir: &Workdir,
) -> Result<RunResult, DriveError> {
    let running = Running::start(receiver, &workdir.storage(), &workdir.work())?;
    let once = Once {
        seed: args.shape.seed.wrapping_add(round),
        duration_s: args.end.duration,
        instances: args.end.instances,
        sync_after: Some(workdir.storage()),
        verify: running.files().map(Verify::Directory),
        ..Once::default()
    };
    let result = drive.run(running.aim()?, &once, &mut |_| {})?;
    running.stop()?;
    Ok(result)
}

/// Notes what a run came to.
fn take(contender: &mut Contender, run: Result<RunResult, DriveError>) {
    match run {
        Ok(run) => {
            eprintln!("{:.0} instances/s, {} failed", run.per_s(), run.totals.failed());
            contender.runs.push(Some(run));
        }
        Err(problem) => {
            eprintln!("{problem}");
            contender.runs.push(None);
            contender.problems.push(problem.to_string());
        }
    }
}

/// Returns once the disk has nothing more to do for what happened on it before.
fn settle(workdir: &Path) -> Result<(), DriveError> {
    let directory = File::open(workdir).map_err(DriveError::file(workdir))?;
    rustix::fs::syncfs(directory).map_err(|error| DriveError::file(workdir)(error.into()))?;
    thread::sleep(SETTLE);
    Ok(())
}
