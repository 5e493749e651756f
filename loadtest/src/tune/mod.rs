//! Finds the settings of a node that serve a load best on this host, by running it.

mod figures;
mod plan;
mod report;
mod search;
mod trial;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use clap::Args;

use crate::arguments::{setting, some_seconds};
use crate::catalogue::Catalogue;
use crate::drive::{Drive, DriveError, LoadArgs, Once, Steps, tell};
use crate::noise::Noise;
use crate::result::RunResult;
use crate::target::{Receiver, Running};
use crate::workdir::Workdir;
use figures::{Figures, Goal};
use report::Tuned;
use search::Bench;
use trial::{Axis, Rules, Settings, words};

/// The keys and values that are tried by default: stages of keys, those that act on each other together. The first key of a stage keeps its
/// values longest when time is short. The values of a key rise with what they cost.
const STAGES: [&[(&str, &[&str])]; 3] = [
    &[("writers.mailbox_capacity", &["1", "8", "64"]), ("writers.count", &["1", "2", "4", "8", "16"])],
    &[("associations.max_pdu_length", &["16 KiB", "64 KiB", "128 KiB", "512 KiB"])],
    &[("memory.spool_threshold", &["64 KiB", "1 MiB", "8 MiB"])],
];
/// Keys that are tried together when both are named: a writer's batch is its share of what waits in the mailbox.
const TOGETHER: [&str; 2] = ["writers.mailbox_capacity", "writers.count"];
/// The bound on p99 when nothing is said, and the bound at the knee: a modality's operator notices more.
const P99_BOUND_MS: f64 = 1000.0;
/// Open loads at the end, as shares of what the closed load came to.
const KNEE_SHARES: [f64; 7] = [0.5, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3];
/// The part of the budget that is kept for them and for the run without syncs.
const RESERVE: f64 = 0.2;
/// A run of a setting that is slower than this many times what was measured first is cut off; its rate stands all the same.
const SLOWEST: f64 = 2.5;

/// The load and the node to be tuned, and the bounds.
#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// The tidegate binary to start
    #[arg(long, value_name = "PATH")]
    node: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    /// Time for everything: runs get shorter and values fewer before a key is left out
    #[arg(long, default_value = "10m", value_name = "TIME", value_parser = some_seconds)]
    budget: f64,
    /// Length of a run, when there is time enough
    #[arg(long, default_value = "6s", value_name = "TIME", value_parser = some_seconds)]
    duration: f64,
    /// Runs of each combination at least; those that are not told apart get more while time is left
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(3..=30))]
    rounds: u32,
    /// Values to try for a configuration key, from the cheapest to the dearest; given once or more, it replaces what is tried otherwise
    #[arg(long = "try", value_name = "KEY=VALUE,VALUE…", value_parser = axis)]
    axes: Vec<Axis>,
    /// A setting that stands for all runs; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Every combination of all values, in place of one stage after the other
    #[arg(long)]
    grid: bool,
    /// Figure that decides; by default p99 under an open load, whose rate is given
    #[arg(long = "for", value_enum, value_name = "FIGURE")]
    goal: Option<Goal>,
    /// Combinations that take more memory are out
    #[arg(long, value_name = "SIZE")]
    max_rss: Option<ByteSize>,
    /// Combinations whose p99 is longer are out; 1s when nothing is said, and more where nothing keeps to that
    #[arg(long, value_name = "TIME", value_parser = some_seconds)]
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

/// Searches and prints what it found; `false` if no combination served the load.
///
/// # Errors
/// When the node does not start with a value, or the load cannot be made.
pub(crate) fn run(args: &TuneArgs) -> Result<bool, DriveError> {
    let drive = Drive::new(&args.load.scenario, &args.load.shape)?;
    if drive.has_steps() {
        return Err(DriveError::Usage(
            "a load in steps has no rate to tune for: take a closed or an open one".to_owned(),
        ));
    }
    let fixed: Settings = args.settings.iter().cloned().collect();
    let rules = Rules {
        goal: args.goal.unwrap_or(if drive.is_open() { Goal::P99 } else { Goal::Instances }),
        rounds: args.rounds as usize,
        length_s: args.duration,
        max_rss_bytes: args.max_rss.map_or(f64::INFINITY, |size| size.as_u64() as f64),
        max_p99_ms: args.max_p99.map_or(P99_BOUND_MS, |longest_s| longest_s * 1000.0),
    };
    let stages = stages(args);
    check_settings(args, &stages, &fixed)?;
    let keys = stages.iter().flatten().map(|axis| axis.key.as_str());
    let defaults = Receiver::tidegate(&args.node, &fixed).effective_settings(keys)?;
    let mut node = Node::new(args, &drive)?;
    // Filling caches is nobody's fault, and the first run says how many instances a run has.
    node.calibrate(&fixed)?;
    let search = search::search(&stages, &fixed, &defaults, &rules, &mut node)?;
    let (knee, unsynced) = node.at_the_end(&search)?;
    let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
    let filesystem = filesystem(&args.workdir);
    let noise = node.noise;
    let asked_p99_ms = rules.max_p99_ms;
    let scenario = drive.name().to_owned();
    let tuned = Tuned { scenario, search, defaults, asked_p99_ms, knee, unsynced, cpus, filesystem, noise };
    if let Some(path) = &args.html {
        fs::write(path, report::page(&tuned)).map_err(DriveError::file(path))?;
    }
    tell(&tuned, args.json, || report::text(&tuned));
    Ok(tuned.search.has_an_answer())
}

/// Finds a mistyped key or a value out of bounds before anything is measured.
fn check_settings(args: &TuneArgs, stages: &[Vec<Axis>], fixed: &Settings) -> Result<(), DriveError> {
    Receiver::tidegate(&args.node, fixed).check_settings()?;
    for axis in stages.iter().flatten() {
        for value in &axis.values {
            let mut settings = fixed.clone();
            settings.insert(axis.key.clone(), value.clone());
            Receiver::tidegate(&args.node, &settings).check_settings()?;
        }
    }
    Ok(())
}

/// The keys to try, in stages.
fn stages(args: &TuneArgs) -> Vec<Vec<Axis>> {
    let owned = |(key, values): &(&str, &[&str])| Axis {
        key: (*key).to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    if args.axes.is_empty() {
        let stages: Vec<Vec<Axis>> = STAGES.iter().map(|stage| stage.iter().map(owned).collect()).collect();
        return if args.grid { vec![stages.concat()] } else { stages };
    }
    if args.grid {
        return vec![args.axes.clone()];
    }
    let (mut together, alone): (Vec<Axis>, Vec<Axis>) =
        args.axes.iter().cloned().partition(|axis| TOGETHER.contains(&axis.key.as_str()));
    together.sort_by_key(|axis| TOGETHER.iter().position(|key| axis.key == *key));
    let first = (!together.is_empty()).then_some(together);
    first.into_iter().chain(alone.into_iter().map(|axis| vec![axis])).collect()
}

/// A node that is started for each run.
struct Node<'a> {
    args: &'a TuneArgs,
    drive: &'a Drive,
    /// Encoded once: every run sends from it.
    catalogue: Arc<Catalogue>,
    deadline: Instant,
    /// Of what is configured, by the first run.
    per_s: f64,
    /// The time that the run took beside its length.
    beside_s: f64,
    /// The worst of all runs.
    noise: Option<Noise>,
}

impl<'a> Node<'a> {
    fn new(args: &'a TuneArgs, drive: &'a Drive) -> Result<Self, DriveError> {
        let deadline = Instant::now() + Duration::from_secs_f64(args.budget);
        let catalogue = drive.catalogue(args.load.shape.seed)?;
        Ok(Self { args, drive, catalogue, deadline, per_s: 0.0, beside_s: 0.0, noise: None })
    }

    fn left_in_all_s(&self) -> f64 {
        self.deadline.saturating_duration_since(Instant::now()).as_secs_f64()
    }

    fn calibrate(&mut self, settings: &Settings) -> Result<(), DriveError> {
        let length_s = self.args.duration.min(0.1 * self.args.budget);
        let once = Once { duration_s: Some(length_s), ..self.once(0) };
        let begun = Instant::now();
        self.per_s = self.run(settings, once)?.per_s();
        self.beside_s = (begun.elapsed().as_secs_f64() - length_s).max(0.0);
        Ok(())
    }

    fn once(&self, round: usize) -> Once {
        let seed = self.args.load.shape.seed.wrapping_add(round as u64);
        Once { seed, catalogue: Some(Arc::clone(&self.catalogue)), ..Once::default() }
    }

    /// One node, one load, one empty directory.
    fn run(&mut self, settings: &Settings, once: Once) -> Result<RunResult, DriveError> {
        let workdir = Workdir::new(&self.args.workdir, "tune")?;
        let receiver = Receiver::tidegate(&self.args.node, settings);
        let running = Running::start(&receiver, &workdir.storage(), &workdir.work())?;
        let result = self.drive.run(running.aim()?, &once, &mut |_| {})?;
        running.stop()?;
        self.noise = Noise::worst([self.noise.as_ref(), result.noise.as_ref()].into_iter());
        Ok(result)
    }

    /// With what is recommended: open loads up to the knee, and a run without syncs, as far as there is time.
    fn at_the_end(
        &mut self,
        search: &search::Search,
    ) -> Result<(Vec<crate::result::Step>, Option<Figures>), DriveError> {
        let capacity = search.best_figures().map_or(0.0, |figures| figures.per_s);
        let runs = KNEE_SHARES.len() as f64 + 2.0;
        let step_s = self.args.duration.min(self.left_in_all_s() / runs);
        let mut knee = Vec::new();
        if capacity > 0.0 && step_s >= 0.5 * self.args.duration && !self.drive.is_open() && !self.drive.has_senders() {
            let rates_per_s = KNEE_SHARES.iter().map(|share| (capacity * share).max(1.0)).collect();
            let steps = Some(Steps { rates_per_s, step_s });
            let once = Once { steps, ..self.once(0) };
            knee = self.run(&search.best, once)?.steps;
        }
        let mut unsynced = None;
        if capacity > 0.0 && self.left_in_all_s() > step_s {
            let mut settings = search.best.clone();
            settings.insert("storage.durability".to_owned(), "none".to_owned());
            let once = Once { duration_s: Some(step_s), ..self.once(0) };
            unsynced = Some(Figures::of(&self.run(&settings, once)?));
        }
        Ok((knee, unsynced))
    }
}

impl Bench for Node<'_> {
    type Error = DriveError;

    fn measure(&mut self, settings: &Settings, round: usize, length_s: f64) -> Result<Figures, DriveError> {
        let once = Once {
            // A number of instances, not a time: whoever is slower would send other ones.
            instances: Some(((self.per_s * length_s) as u64).max(1)),
            duration_s: Some(SLOWEST * length_s),
            equal_shares: true,
            ..self.once(round)
        };
        let figures = Figures::of(&self.run(settings, once)?);
        eprintln!(
            "round {}, {}: {:.1} instances/s, {:.1} MiB/s, p99 {:.1} ms, {:.0} s left",
            round + 1,
            words(settings),
            figures.per_s,
            figures.mib_per_s,
            figures.p99_ms,
            self.left_in_all_s()
        );
        Ok(figures)
    }

    fn left_s(&self) -> f64 {
        self.left_in_all_s() - RESERVE * self.args.budget
    }

    fn beside_s(&self) -> f64 {
        self.beside_s
    }
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
