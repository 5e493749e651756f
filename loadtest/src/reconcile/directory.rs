//! Looks through a tree of DICOM files.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::findings::{Findings, Found, ReconcileError};
use super::ledger::{Known, Ledger};
use crate::part10::{Part10Error, Part10File};

/// The clock of a filesystem, which may be another machine's, and this one's.
const CLOCKS_APART: Duration = Duration::from_secs(1);

/// Looks at every file below `root`. Directories and files with a hidden name are a receiver's own, and not yet instances.
pub(super) fn look(root: &Path, ledger: &Ledger, findings: &mut Findings) -> Result<(), ReconcileError> {
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let failed = |source| ReconcileError::List { directory: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type().map_err(failed)?.is_dir() {
                directories.push(entry.path());
            } else {
                file(&entry.path(), root, ledger, findings);
            }
        }
    }
    Ok(())
}

fn file(path: &Path, root: &Path, ledger: &Ledger, findings: &mut Findings) {
    let broken = |problem: &Part10Error| format!("{}: {problem}", path.display());
    let mut file = match Part10File::open(path) {
        Ok(file) => file,
        Err(problem) if is_unfinished(path, &problem, ledger) => return findings.partial.push(broken(&problem)),
        Err(_) => return findings.saw_extra(path.display().to_string()),
    };
    match ledger.find(&file.sop_instance) {
        Known::BadPeers => {}
        Known::Foreign => match file.check_whole() {
            Err(problem) if is_unfinished(path, &problem, ledger) => findings.partial.push(broken(&problem)),
            _ => findings.saw_extra(path.display().to_string()),
        },
        Known::Ours(place) => {
            let Some((start, rest)) = ledger.dataset(place) else {
                return;
            };
            match file.dataset_is(std::iter::once(&start[..]).chain(rest)) {
                Ok(true) => {
                    let name = path.strip_prefix(root).unwrap_or(path);
                    match ledger.mislabelled(place, &file, name) {
                        Some(problem) => findings.saw_mislabelled(place, format!("{}: {problem}", path.display())),
                        None => findings.saw(place, Found::Whole),
                    }
                }
                Ok(false) => findings.saw(place, Found::Other),
                Err(problem) => findings.partial.push(broken(&problem)),
            }
        }
    }
}

/// Whether a broken file is an instance that the receiver began and did not finish. A file that was last changed before the load belongs to
/// others, whatever it holds. One without the DICM prefix is an instance by its name or its emptiness only: people and receivers keep other
/// files there, too.
fn is_unfinished(path: &Path, problem: &Part10Error, ledger: &Ledger) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let metadata = fs::metadata(path).ok();
    let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let is_new = changed.is_none_or(|changed| changed + CLOCKS_APART >= ledger.begun);
    let is_empty = metadata.is_some_and(|metadata| metadata.len() == 0);
    let is_named = name.ends_with(".dcm") || name.contains("2.25.1");
    is_new && (!matches!(problem, Part10Error::NoPrefix) || is_empty || is_named)
}
