//! Results as people read them: a table for the terminal, and pages that need nothing but themselves.

mod baseline;
mod csv;
mod dry_run;
#[cfg(test)]
pub(crate) mod fixture;
mod page;
mod plot;
mod run_page;
mod scale;
mod table;
mod target_plots;
#[cfg(test)]
mod tests;
mod text;

use std::fs;
use std::io;
use std::path::Path;

pub(crate) use baseline::{comparison, comparison_html, verdict};
pub(crate) use csv::csv;
pub(crate) use dry_run::dry_run;
pub(crate) use page::{Page, Tone};
pub(crate) use plot::{Line, Plot, Shape};
pub(crate) use run_page::{per_second, steps_plots};
pub(crate) use scale::Scale;
pub(crate) use table::Table;
pub(crate) use text::text;

use crate::baseline::Comparison;
pub(crate) use crate::figures::{bytes, change, count, escape, ms, rate, utc};
use crate::result::RunResult;

/// The report of one run, with the comparison of the sets that it belongs to when there is one.
pub(crate) fn html(run: &RunResult, compared: Option<&Comparison>) -> String {
    run_page::page(run, compared).finish()
}

/// A run from the JSON that `--result` wrote.
///
/// # Errors
/// Those of the file; `InvalidData` when it is no result, or one of a later schema.
pub(crate) fn read(path: &Path) -> io::Result<RunResult> {
    let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()));
    let text = fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let run: RunResult =
        serde_json::from_slice(&text).map_err(|error| wrong(format!("not a result of a run: {error}")))?;
    if run.schema > crate::result::SCHEMA {
        return Err(wrong(format!(
            "schema {} is newer than this program, which knows {}",
            run.schema,
            crate::result::SCHEMA
        )));
    }
    Ok(run)
}
