//! Results that were measured before, against each other.

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::baseline::Comparison;
use crate::render;
use crate::result::RunResult;

/// Which results.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Results of one run each, written by `run --result`: shows the change, and cannot tell whether it is one
    #[arg(value_names = ["BASE.json", "NEW.json"], num_args = 2, conflicts_with_all = ["base", "new"])]
    files: Vec<PathBuf>,
    /// Results of several runs of the one, from three on
    #[arg(long, value_name = "FILE.json", num_args = 1.., requires = "new", required_unless_present = "files")]
    base: Vec<PathBuf>,
    /// And of the other. Runs that were made in turns are compared in pairs
    #[arg(long, value_name = "FILE.json", num_args = 1.., requires = "base")]
    new: Vec<PathBuf>,
    /// Write the report of the last new run, with the comparison in it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Prints the comparison; `false` when something is worse, or nothing can be compared since runs stored nothing.
///
/// # Errors
/// When a file cannot be read or written, is no result, or has the same run as another.
pub(crate) fn run(args: &DiffArgs) -> io::Result<bool> {
    let (base, new) = match args.files.as_slice() {
        [base, new] => (std::slice::from_ref(base), std::slice::from_ref(new)),
        _ => (args.base.as_slice(), args.new.as_slice()),
    };
    let read = |paths: &[PathBuf]| paths.iter().map(|path| render::read(path)).collect::<io::Result<Vec<RunResult>>>();
    let paths: Vec<&PathBuf> = base.iter().chain(new).collect();
    let (base, new) = (read(base)?, read(new)?);
    let runs: Vec<&RunResult> = base.iter().chain(&new).collect();
    for (index, (path, run)) in paths.iter().zip(&runs).enumerate() {
        if let Some((other, _)) = paths.iter().zip(&runs).take(index).find(|(_, other)| is_same(run, other)) {
            return Err(io::Error::other(format!(
                "{} and {} hold the same run: a run tells nothing against itself, and each counts once",
                other.display(),
                path.display()
            )));
        }
    }
    let last = new.last().cloned();
    let compared = Comparison::of(base, new);
    print!("{}", render::comparison(&compared));
    if let (Some(path), Some(last)) = (&args.html, last) {
        fs::write(path, render::html(&last, Some(&compared)))?;
    }
    Ok(compared.is_comparable() && !compared.is_worse())
}

/// Whether two results are of one run, in whatever files.
fn is_same(one: &RunResult, other: &RunResult) -> bool {
    (one.started_unix_ms, one.run, &one.totals) == (other.started_unix_ms, other.run, &other.totals)
}
