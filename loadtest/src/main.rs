//! Load-test harness for DICOM C-STORE receivers. It knows only the wire.
//!
//! `scenario` says what is sent; `generate` makes it, `dataset` and `message` hold it, encoded once; a `catalogue` is all of it, an
//! `itinerary` what one association sends. `plan` is a scenario with its target, and `engine` turns it into load: a worker a thread over
//! `association` and `wire`, paced by its schedule, with `bad_peers` beside it. `reconcile` holds the receiver to what it acknowledged,
//! `objective` to what was wanted, `verdict` says why a run is not good. What came of it is a `result`, which `render` draws and `baseline` compares. `target` looks at the
//! receiver; `tune`, `soak`, `crash` and `compare` start it themselves. `limit` is what receivers are held against.

mod arguments;
mod association;
mod bad_peers;
mod baseline;
mod catalogue;
mod codes;
mod compare;
mod crash;
mod dataset;
mod diff;
mod dimse;
mod drive;
mod engine;
mod figures;
mod generate;
mod hints;
mod itinerary;
mod latency;
mod left_behind;
mod limit;
mod live;
mod message;
mod noise;
mod objective;
mod part10;
mod pdu;
mod plan;
mod random;
#[cfg(test)]
mod receiver;
mod reconcile;
mod render;
mod result;
mod run;
mod scenario;
mod soak;
mod statistics;
mod target;
mod tls;
mod tune;
mod uid;
mod usage;
mod verdict;
mod wire;
mod workdir;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure a DICOM C-STORE receiver, and what the same machine does without DICOM.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario against a receiver: measure it, hold it to objectives, and check that nothing was lost
    Run(Box<run::RunArgs>),
    /// Put the same loads on several receivers in turn, and show them side by side; beside a limit, as ratios
    Compare(compare::CompareArgs),
    /// Kill a receiver at random under load, start it again, and check what it had acknowledged
    Crash(crash::CrashArgs),
    /// Load a receiver for hours, with pauses, and say whether what it holds grows
    Soak(soak::SoakArgs),
    /// Compare the results of two runs: what is better, worse, or cannot be told
    Diff(diff::DiffArgs),
    /// Find the settings of a node that serve a load best on this host
    Tune(tune::TuneArgs),
    /// Be the receiver that others are held against: what a durable one cannot leave out, and nothing else
    Limit(limit::LimitArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such errors, too.
            let _ = error.print();
            if let Some(hint) = hints::hint::<Cli>(&error) {
                eprintln!("\nhint: {hint}");
            }
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  caused by: {inner}");
                cause = inner.source();
            }
            ExitCode::from(2)
        }
    }
}

/// Runs one command; `false` means that it ran to its end and what it measured or checked failed.
fn run(command: Command) -> Result<bool, Box<dyn Error>> {
    // `run` ends its load in order on SIGINT and starts no receiver; `limit` is one.
    if !matches!(command, Command::Run(_) | Command::Limit(_)) {
        left_behind::remove_on_signal()?;
    }
    Ok(match command {
        Command::Run(args) => run::run(&args)?,
        Command::Limit(args) => limit::run(&args)?,
        Command::Compare(args) => compare::run(&args)?,
        Command::Crash(args) => crash::run(&args)?,
        Command::Diff(args) => diff::run(&args)?,
        Command::Soak(args) => soak::run(&args)?,
        Command::Tune(args) => tune::run(&args)?,
    })
}
