//! Looks through a tree of DICOM files.

use std::fs;
use std::path::Path;

use super::findings::{Findings, Found, ReconcileError};
use super::ledger::{Known, Ledger};
use crate::part10::{Part10Error, Part10File};

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
        // A receiver may keep other things there; an instance that was begun and not finished is known by its name or its emptiness.
        Err(Part10Error::NoPrefix) if !looks_like_an_instance(path) => {
            return findings.saw_extra(path.display().to_string());
        }
        Err(problem) => return findings.partial.push(broken(&problem)),
    };
    match ledger.find(&file.sop_instance) {
        Known::BadPeers => {}
        Known::Foreign => match file.check_whole() {
            Ok(()) => findings.saw_extra(path.display().to_string()),
            Err(problem) => findings.partial.push(broken(&problem)),
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

fn looks_like_an_instance(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let empty = fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0);
    empty || name.ends_with(".dcm") || name.contains("2.25.1")
}
