//! Kills the receiver at random under load, starts it again, and holds it to what it acknowledged; round after round over the same
//! storage.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::arguments::seconds;
use crate::drive::{Drive, DriveError, LoadArgs, Once, ReceiverArgs, tell};
use crate::random::Random;
use crate::reconcile::{self, Ledger, Verify};
use crate::render::{self, Table};
use crate::result::Verification;
use crate::target::{Receiver, Running};
use crate::workdir::Workdir;

/// A load that acknowledges nothing in this time is no load; the receiver is killed all the same.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the receiver is crashed.
#[derive(Debug, Args)]
pub(crate) struct CrashArgs {
    #[command(flatten)]
    receiver: ReceiverArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Times that it is killed
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: u32,
    /// Longest time from the first acknowledged instance of a round to the kill
    #[arg(long, default_value = "3s", value_name = "TIME", value_parser = seconds)]
    longest: f64,
    /// Where it stores while it is crashed; a directory `crash` is made there, and removed at the end when nothing is lost
    #[arg(long, default_value = ".", value_name = "DIR")]
    workdir: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// One round.
#[derive(Debug, Serialize)]
struct Round {
    round: u32,
    /// From its first acknowledged instance.
    killed_after_ms: u64,
    restarted_in_ms: u64,
    /// Of this round and all before it, as of the restart.
    verification: Verification,
}

/// Runs all rounds; `true` when nothing was lost or broken in any.
///
/// # Errors
/// When the receiver does not start, or start again, or a round cannot be checked.
pub(crate) fn run(args: &CrashArgs) -> Result<bool, DriveError> {
    let receiver = args.receiver.receiver()?;
    let drive = Drive::new(&args.load.scenario, &args.load.shape)?;
    let workdir = Workdir::new(&args.workdir, "crash")?;
    let rounds = crash(args, &receiver, &drive, &workdir)?;
    let passed = rounds.iter().all(|round| round.verification.passed());
    tell(&rounds, args.json, || text(&receiver, &rounds));
    if !passed {
        println!("what was found stays in {}", workdir.keep().display());
    }
    Ok(passed)
}

fn crash(args: &CrashArgs, receiver: &Receiver, drive: &Drive, workdir: &Workdir) -> Result<Vec<Round>, DriveError> {
    let mut random = Random::stream(args.load.shape.seed, 0xC7A5);
    let longest_ms = (args.longest * 1000.0) as u64;
    let catalogue = drive.catalogue(args.load.shape.seed)?;
    let mut ledger = Ledger::new(args.load.shape.seed, Arc::clone(&catalogue));
    let mut running = Running::start(receiver, &workdir.storage(), &workdir.work())?;
    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let after = Duration::from_millis(random.between(0, longest_ms));
        let once = Once {
            seed: args.load.shape.seed.wrapping_add(u64::from(round)),
            duration_s: Some(args.longest + 2.0 * PATIENCE.as_secs_f64()),
            catalogue: Some(Arc::clone(&catalogue)),
            gives_up: true,
            ..Once::default()
        };
        ledger.merge(kill_under_load(drive, &running, &once, after)?);
        let killed = Instant::now();
        // The old one is waited for before the new one may have its directory.
        drop(running);
        running = Running::start(receiver, &workdir.storage(), &workdir.work())?;
        let restarted_in_ms = killed.elapsed().as_millis() as u64;
        let files = running.files().ok_or_else(|| {
            DriveError::Usage(format!("{}: without `files` in its description nothing can be checked", receiver.name))
        })?;
        let verification = reconcile::check(&ledger, &Verify::Directory(files))?;
        eprintln!(
            "round {round} of {}: killed after {} ms, {} acknowledged so far, {} lost, {} corrupt, {} partial",
            args.rounds,
            after.as_millis(),
            verification.acknowledged,
            verification.lost.len(),
            verification.corrupt.len(),
            verification.partial.len()
        );
        rounds.push(Round { round, killed_after_ms: after.as_millis() as u64, restarted_in_ms, verification });
    }
    running.stop()?;
    Ok(rounds)
}

/// Puts the load on it, kills it `after` its first acknowledgement, and says what was sent.
fn kill_under_load(drive: &Drive, running: &Running, once: &Once, after: Duration) -> Result<Ledger, DriveError> {
    let aim = running.aim()?;
    thread::scope(|scope| {
        let load = scope.spawn(|| drive.load(aim, once));
        let begun = Instant::now();
        let acknowledged = || once.acknowledged.load(Ordering::Relaxed);
        while acknowledged() == 0 && !load.is_finished() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        if !load.is_finished() {
            thread::sleep(after);
        }
        let killed = running.kill();
        once.stop.store(true, Ordering::Relaxed);
        let loaded = load.join().map_err(|_| DriveError::Usage("the load ended by a panic".to_owned()))?;
        killed?;
        loaded
    })
}

fn text(receiver: &Receiver, rounds: &[Round]) -> String {
    let mut table =
        Table::new(&["round", "killed after", "restarted in", "acknowledged", "whole", "lost", "corrupt", "partial"]);
    for round in rounds {
        let found = &round.verification;
        let cells = [
            round.round.to_string(),
            render::ms(round.killed_after_ms as f64),
            render::ms(round.restarted_in_ms as f64),
            render::count(found.acknowledged),
            render::count(found.whole),
            render::count(found.lost.len() as u64),
            render::count(found.corrupt.len() as u64),
            render::count(found.partial.len() as u64),
        ];
        if found.passed() { table.row(cells) } else { table.marked_row(cells) }
    }
    let broken = rounds.iter().filter(|round| !round.verification.passed()).count();
    let acknowledged = rounds.last().map_or(0, |round| round.verification.acknowledged);
    let verdict = match broken {
        0 => format!(
            "Passed: {} killed {} times under load; all {} acknowledged instances are whole, nothing is partial.",
            receiver.name,
            rounds.len(),
            render::count(acknowledged)
        ),
        _ => {
            format!("Failed: {} lost or broke instances, seen after {broken} of {} kills.", receiver.name, rounds.len())
        }
    };
    format!("{}\n{verdict}\n", table.text())
}
