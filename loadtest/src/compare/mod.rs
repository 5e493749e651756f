//! The same load on several receivers, one after the other and round after round, so that what drifts on the host meets them all.

mod report;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::drive::{Drive, DriveError, LoadArgs, Once, tell};
use crate::result::RunResult;
use crate::target::{Receiver, Running};
use crate::workdir::Workdir;

/// Who is compared, and how.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Descriptions of the receivers, as in loadtest/targets/
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    targets: Vec<PathBuf>,
    #[command(flatten)]
    load: LoadArgs,
    /// Runs of each receiver; the table shows the median and the range
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of a run
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS")]
    seconds: f64,
    /// Where the receivers store; each run has a directory of its own, which is removed after it
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print every run as JSON
    #[arg(long)]
    json: bool,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// One receiver and what its runs came to.
#[derive(Debug, Serialize)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) durability: String,
    pub(crate) runs: Vec<RunResult>,
    /// Why runs are missing.
    pub(crate) problems: Vec<String>,
}

impl Contender {
    /// Whether it stored all that it acknowledged, and every run came to its end.
    pub(crate) fn passed(&self) -> bool {
        self.problems.is_empty() && self.runs.iter().all(RunResult::passed)
    }
}

/// Runs everything and prints the table; `false` when a receiver lost something or did not run.
///
/// # Errors
/// When a description cannot be read or the load cannot be made. A receiver that does not start is a row that says so.
pub(crate) fn run(args: &CompareArgs) -> Result<bool, DriveError> {
    let receivers = args.targets.iter().map(|file| Receiver::read(file)).collect::<Result<Vec<_>, _>>()?;
    let drive = Drive::new(&args.load)?;
    let mut contenders: Vec<Contender> = receivers.iter().map(contender).collect();
    for round in 0..args.rounds as usize {
        // Another one begins each round: none is always the first after a pause, or always behind the same neighbour.
        for turn in 0..receivers.len() {
            let index = (turn + round) % receivers.len();
            let (Some(receiver), Some(contender)) = (receivers.get(index), contenders.get_mut(index)) else {
                continue;
            };
            eprint!("round {} of {}: {} … ", round + 1, args.rounds, receiver.name);
            match measure(args, &drive, receiver, round as u64) {
                Ok(run) => {
                    eprintln!("{:.0} instances/s, {} failed", run.per_s(), run.totals.failed());
                    contender.runs.push(run);
                }
                Err(problem) => {
                    eprintln!("{problem}");
                    contender.problems.push(problem.to_string());
                }
            }
        }
    }
    if let Some(path) = &args.html {
        fs::write(path, report::page(drive.name(), &contenders)).map_err(DriveError::file(path))?;
    }
    tell(&contenders, args.json, || report::text(&contenders, args.markdown));
    Ok(contenders.iter().all(Contender::passed))
}

fn contender(receiver: &Receiver) -> Contender {
    Contender {
        name: receiver.name.clone(),
        version: receiver.version(),
        durability: receiver.durability.clone(),
        runs: Vec::new(),
        problems: Vec::new(),
    }
}

/// One run of one receiver, from its start to its end, in an empty directory.
fn measure(args: &CompareArgs, drive: &Drive, receiver: &Receiver, round: u64) -> Result<RunResult, DriveError> {
    let workdir = Workdir::new(&args.workdir, "compare")?;
    let running = Running::start(receiver, &workdir.storage(), &workdir.work())?;
    let once = Once {
        seed: args.load.seed.wrapping_add(round),
        duration_s: args.seconds,
        verify: running.files(),
        ..Once::default()
    };
    let result = drive.run(running.aim()?, &once, &mut |_| {})?;
    running.stop()?;
    Ok(result)
}
