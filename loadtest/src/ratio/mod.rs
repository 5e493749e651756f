//! A receiver held against what the same machine does without DICOM: both take turns over the same loads, and what counts is the
//! ratio within a round.

mod contender;
mod report;
mod visits;
mod workload;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use self::contender::Contender;
use self::workload::Workload;
use crate::commit::Mode;
use crate::drive::{DriveError, setting, tell};
use crate::target::{Receiver, TargetError, free_port};
use crate::tls::TlsError;
use crate::workdir::Workdir;

/// What a disk does behind a sync, discards for one, is over by then.
const SETTLE: Duration = Duration::from_secs(1);

/// Which loads, and who takes part.
#[derive(Debug, Args)]
pub(crate) struct RatioArgs {
    /// The tidegate binary to measure
    #[arg(long, value_name = "PATH")]
    node: PathBuf,
    /// A setting of the node, by its configuration key; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Loads, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tiny,ct1,ct8,ct64,large")]
    workload: Vec<Workload>,
    /// Limits that take part; the fastest is what the node is held against
    #[arg(long, value_enum, value_delimiter = ',', default_value = "per-file,shared,log")]
    limit: Vec<Mode>,
    /// Other receivers that take part, described as in loadtest/targets/
    #[arg(long, value_name = "FILE")]
    target: Vec<PathBuf>,
    /// Send over TLS; node and limit use the certificate chain and the key of these PEM files
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"], conflicts_with = "target")]
    tls: Vec<PathBuf>,
    /// Rounds; in each, all take their turn, and another one begins
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Part of each load's instances that is sent: a quick look needs fewer
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Where the receivers store: on the disk that is meant
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the tables as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print every run as JSON
    #[arg(long)]
    json: bool,
}

/// What a run came to. What a load does not measure is zero.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// Instances or associations a second.
    pub(crate) per_s: f64,
    /// The same with the time that it took afterwards to sync the whole filesystem.
    pub(crate) synced_per_s: f64,
    pub(crate) p99_ms: f64,
    pub(crate) cpu_s_per_gb: f64,
    pub(crate) peak_rss_bytes: f64,
    /// Memory for each association that is open and idle.
    pub(crate) idle_bytes: f64,
}

/// What loads over TLS need.
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    /// Of the node, beside its plain one.
    port: u16,
}

impl Tls {
    fn new(files: &[PathBuf]) -> io::Result<Option<Self>> {
        let [certificate, key] = files else {
            return Ok(None);
        };
        Ok(Some(Self { certificate: certificate.canonicalize()?, key: key.canonicalize()?, port: free_port()? }))
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn settings(&self) -> [(String, String); 3] {
        let file = |path: &Path| path.display().to_string();
        [("listen", self.address()), ("certificate", file(&self.certificate)), ("key", file(&self.key))]
            .map(|(key, value)| (format!("tls.{key}"), value))
    }
}

/// Why a measurement could not go on.
#[derive(Debug, Error)]
pub(crate) enum RatioError {
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("no file for --tls")]
    TlsFile(#[source] io::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("cannot run this program again")]
    Myself(#[source] io::Error),
    #[error("{0}: not every instance was stored")]
    NotStored(String),
    #[error("an association of {0} failed")]
    Visit(String, #[source] io::Error),
}

/// Returns once the disk has nothing more to do for what happened on it before.
fn settle(workdir: &Path) -> Result<(), RatioError> {
    let directory = File::open(workdir).map_err(DriveError::file(workdir))?;
    rustix::fs::syncfs(directory).map_err(|error| RatioError::Myself(error.into()))?;
    thread::sleep(SETTLE);
    Ok(())
}

/// Runs everything and prints a table for each load.
///
/// # Errors
/// The first of any run: what does not store everything has no throughput.
pub(crate) fn run(args: &RatioArgs) -> Result<bool, RatioError> {
    let tls = Tls::new(&args.tls).map_err(RatioError::TlsFile)?;
    let settings = args.settings.iter().cloned().chain(tls.iter().flat_map(Tls::settings)).collect();
    let mut contenders = vec![Contender::Receiver(Box::new(Receiver::tidegate(&args.node, &settings)))];
    contenders.extend(args.limit.iter().map(|mode| Contender::Limit(*mode)));
    for file in &args.target {
        contenders.push(Contender::Receiver(Box::new(Receiver::read(file)?)));
    }
    let mut results = Vec::new();
    let mut spent = Vec::new();
    for workload in &args.workload {
        let mut result = report::Workload::new(*workload, &contenders);
        for round in 0..args.rounds as usize {
            for turn in 0..contenders.len() {
                let index = (turn + round) % contenders.len();
                let Some(contender) = contenders.get(index).filter(|contender| contender.takes(*workload)) else {
                    continue;
                };
                let workdir = Workdir::new(&args.workdir, &format!("ratio-{}", spent.len()))?;
                let figures = contender.measure(*workload, args.scale, tls.as_ref(), &workdir)?;
                eprintln!("{workload:?}, round {}: {} {:.0}/s", round + 1, contender.name(), figures.per_s);
                result.add(index, figures);
                // Its space is needed, its names are not removed before all is measured: ext4 gives no inode again that was freed in
                // the last minutes, and whoever creates a file next to thousands of these looks at each of them.
                workdir.empty()?;
                spent.push(workdir);
                // What the disk still does for the last one is not the next one's.
                settle(&args.workdir)?;
            }
        }
        results.push(result);
    }
    tell(&results, args.json, || results.iter().map(|result| result.text(args.markdown)).collect());
    Ok(true)
}
