//! Load-test harness for DICOM C-STORE receivers: a closed-loop generator, the raw sink that shows what the machine
//! could do without DICOM, and a check that every acknowledged instance is whole on disk.

mod acked;
mod association;
mod commit;
mod dataset;
mod dimse;
mod message;
mod part10;
mod pdu;
mod raw;
mod report;
mod sink;
mod store;
mod uid;
mod usage;
mod verify;

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
    /// Send generated CT images over concurrent associations, each waiting for an answer before its next instance
    Store(store::StoreArgs),
    /// Write the same bytes to the same number of files with the same syncs as a receiver, and no DICOM
    RawSink(sink::RawSinkArgs),
    /// Check that every acknowledged instance is found whole under a receiver's storage root
    Verify(verify::VerifyArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
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
    Ok(match command {
        Command::Store(args) => store::run(&args)?,
        Command::RawSink(args) => sink::run(&args)?,
        Command::Verify(args) => verify::run(&args)?,
    })
}
