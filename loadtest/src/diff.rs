//! Two results that were measured before, against each other.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::baseline::{self, Verdict};
use crate::render;

/// Which results.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// What `run --result` wrote first
    #[arg(value_name = "BASE.json")]
    base: PathBuf,
    /// What it wrote later
    #[arg(value_name = "NEW.json")]
    new: PathBuf,
    /// Write the report of the later run, with the comparison in it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Prints the comparison; `false` when something is worse.
///
/// # Errors
/// When a file cannot be read or written, or is no result.
pub(crate) fn run(args: &DiffArgs) -> io::Result<bool> {
    let (base, new) = (render::read(&args.base)?, render::read(&args.new)?);
    print!("{}", render::comparison(&base, &new));
    if let Some(path) = &args.html {
        fs::write(path, render::html(&new, Some(&base)))?;
    }
    Ok(baseline::compare(&base, &new).iter().all(|finding| finding.verdict != Verdict::Worse))
}
