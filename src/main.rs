//! The `tidegate` binary: parse → load → start → wait → exit code.

mod admin;
mod audit;
mod cli;
mod config;
mod flight;
mod log_value;
mod own_directory;
mod unprintable;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main().into()
}
