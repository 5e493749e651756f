//! Finds the settings of a node that serve a load best on this host, by running it.

mod figures;
mod report;
mod search;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;

use crate::drive::{Drive, DriveError, LoadArgs, Once, Steps, seconds, setting, tell};
use crate::result::RunResult;
use crate::target::{Receiver, Running};
use crate::workdir::Workdir;
use figures::Figures;
use report::Tuned;
use search::{Axis, Rules, Settings};

/// What is tried when nothing is said. The values of an axis rise with what they cost.
const AXES: [(&str, &[&str]); 4] = [
    ("writers.count", &["1", "2", "4", "8", "16"]),
    ("writers.mailbox_capacity", &["1", "8", "64", "256"]),
    ("associations.max_pdu_length", &["16 KiB", "64 KiB", "128 KiB", "512 KiB"]),
    ("memory.spool_threshold", &["64 KiB", "1 MiB", "8 MiB"]),
];
/// Time from one run to the next beside the load itself: start, stop, removal of what was stored.
const BETWEEN_RUNS_S: f64 = 2.0;
/// Open loads at the end, as shares of what the closed load came to.
const KNEE_SHARES: [f64; 7] = [0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1];

/// What is tuned, and within which bounds.
#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The tidegate binary to start
    #[arg(long, value_name = "PATH")]
    node: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    /// Time for everything
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = seconds)]
    budget: f64,
    /// Length of a run
    #[arg(long, default_value = "6s", value_name = "TIME", value_parser = seconds)]
    duration: f64,
    /// Runs of each combination, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Values to try for a configuration key, from the cheapest to the dearest; given once or more, it replaces what is tried otherwise
    #[arg(long = "try", value_name = "KEY=VALUE,VALUE…", value_parser = axis)]
    axes: Vec<Axis>,
    /// A setting that stands for all runs; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Every combination of all values, in place of one key after the other
    #[arg(long)]
    grid: bool,
    /// Combinations that take more memory are out
    #[arg(long, value_name = "SIZE")]
    max_rss: Option<ByteSize>,
    /// Combinations whose p99 is longer are out
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    max_p99: Option<f64>,
    /// Where the node stores: the filesystem that is tuned for. Each run has a directory of its own, which is removed after it
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write a report with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Searches and prints what it found; `true` always, for no setting is wrong.
///
/// # Errors
/// When the node does not start with a value, or the load cannot be made.
pub(crate) fn run(args: &TuneArgs) -> Result<bool, DriveError> {
    let drive = Drive::new(&args.load.scenario, &args.load.shape)?;
    let deadline = Instant::now() + Duration::from_secs_f64(args.budget);
    let run_s = args.duration + BETWEEN_RUNS_S;
    let left = || deadline.saturating_duration_since(Instant::now()).as_secs_f64();
    // The knee and the run without syncs have their part of the budget.
    let reserve_s = run_s * (KNEE_SHARES.len() + 1) as f64;
    let axes = if args.axes.is_empty() { default_axes() } else { args.axes.clone() };
    let rules = Rules {
        repeats: args.rounds as usize,
        max_rss_bytes: args.max_rss.map(|size| size.as_u64() as f64),
        max_p99_ms: args.max_p99.map(|longest_s| longest_s * 1000.0),
    };
    let fixed: Settings = args.settings.iter().cloned().collect();
    let mut seed = args.load.shape.seed;
    let mut measure = |settings: &Settings| -> Result<Figures, DriveError> {
        seed += 1;
        let run = one_run(args, &drive, settings, seed, None)?;
        let figures = Figures::of(&run);
        eprintln!(
            "{}: {:.1} MiB/s, p99 {:.1} ms, {:.0} s left",
            search::words(settings),
            figures.mib_per_s,
            figures.p99_ms,
            left()
        );
        Ok(figures)
    };
    let time_for = |runs: usize| left() - reserve_s > run_s * runs as f64;
    let search = if args.grid {
        search::grid(&axes, &fixed, &rules, time_for, &mut measure)?
    } else {
        search::one_by_one(&axes, &fixed, &rules, time_for, &mut measure)?
    };
    let capacity = search.best_figures().map_or(0.0, |figures| figures.per_s);
    let rates_per_s = KNEE_SHARES.iter().map(|share| (capacity * share).max(1.0)).collect();
    let steps = Steps { rates_per_s, step_s: args.duration };
    let knee =
        if left() > run_s { one_run(args, &drive, &search.best, seed + 1, Some(steps))?.steps } else { Vec::new() };
    let unsynced = if left() > run_s {
        let mut settings = search.best.clone();
        settings.insert("storage.durability".to_owned(), "none".to_owned());
        Some(Figures::of(&one_run(args, &drive, &settings, seed + 2, None)?))
    } else {
        None
    };
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let filesystem = filesystem(&args.workdir);
    let tuned = Tuned { scenario: drive.name().to_owned(), search, knee, unsynced, cpus, filesystem };
    if let Some(path) = &args.html {
        fs::write(path, report::page(&tuned)).map_err(DriveError::file(path))?;
    }
    tell(&tuned, args.json, || report::text(&tuned));
    Ok(true)
}

/// One node, one load, one empty directory.
fn one_run(
    args: &TuneArgs,
    drive: &Drive,
    settings: &Settings,
    seed: u64,
    steps: Option<Steps>,
) -> Result<RunResult, DriveError> {
    let workdir = Workdir::new(&args.workdir, "tune")?;
    let receiver = Receiver::tidegate(&args.node, settings);
    let running = Running::start(&receiver, &workdir.storage(), &workdir.work())?;
    let duration_s = steps.is_none().then_some(args.duration);
    let once = Once { seed, duration_s, steps, ..Once::default() };
    let result = drive.run(running.aim()?, &once, &mut |_| {})?;
    running.stop()?;
    Ok(result)
}

fn default_axes() -> Vec<Axis> {
    let owned = |(key, values): (&str, &[&str])| Axis {
        key: key.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    AXES.into_iter().map(owned).collect()
}

/// `writers.count=1,2,4`
fn axis(text: &str) -> Result<Axis, String> {
    let (key, values) =
        setting(text).map_err(|_| "KEY=VALUE,VALUE… is expected, as in writers.count=1,2,4".to_owned())?;
    let values: Vec<String> =
        values.split(',').map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()).collect();
    if values.is_empty() { Err(format!("{key}: no value to try")) } else { Ok(Axis { key, values }) }
}

/// The filesystem that holds `path`, as `/proc` names it.
fn filesystem(path: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let Ok(path) = path.canonicalize() else {
        return "unknown".to_owned();
    };
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (directory, kind) = (fields.next()?, fields.next()?);
        path.starts_with(directory).then(|| (directory.len(), kind.to_owned()))
    });
    let longest: BTreeMap<usize, String> = mounted.collect();
    longest.into_values().next_back().unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_says_is_understood_or_explained() {
        let sizes = axis("memory.spool_threshold=1 MiB, 8 MiB").unwrap();
        assert_eq!((sizes.key.as_str(), sizes.values.len()), ("memory.spool_threshold", 2));
        assert!(axis("writers.count=").is_err() && axis("writers.count").is_err());
    }

    #[test]
    fn the_filesystem_of_a_directory_is_that_of_its_nearest_mount() {
        assert_eq!(filesystem(Path::new("/proc/self")), "proc");
        assert_eq!(filesystem(Path::new("/nowhere/at/all")), "unknown");
    }
}
