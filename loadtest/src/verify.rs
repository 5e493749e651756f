//! Holds a receiver to what it acknowledged: every instance whole under the storage root, nothing partial beside it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use thiserror::Error;

use crate::acked::{self, DatasetDigest};
use crate::part10::Part10File;
use crate::result::Verification;

/// What is checked against what.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The record that `store --acked` wrote
    #[arg(long, value_name = "FILE")]
    acked: PathBuf,
    /// The receiver's storage root
    #[arg(long, value_name = "STORAGE")]
    dir: PathBuf,
}

/// Why nothing could be checked.
#[derive(Debug, Error)]
pub(crate) enum VerifyError {
    #[error("cannot read the record of acknowledged instances")]
    Acked(#[source] io::Error),
    #[error("cannot list {directory}")]
    List { directory: PathBuf, source: io::Error },
}

/// Checks everything and prints what is lost or broken; `true` when nothing is.
///
/// # Errors
/// When the record or a directory cannot be read.
pub(crate) fn run(args: &VerifyArgs) -> Result<bool, VerifyError> {
    let acked = acked::read(&args.acked).map_err(VerifyError::Acked)?;
    let findings = Findings::of(&acked, &args.dir)?;
    for uid in &findings.lost {
        println!("lost: {uid}");
    }
    for uid in &findings.corrupt {
        println!("corrupt: {uid}: no file under this UID has the dataset that was acknowledged");
    }
    for (path, problem) in &findings.partial {
        println!("partial: {}: {problem}", path.display());
    }
    println!(
        "{} acknowledged: {} whole, {} lost, {} corrupt; {} files, {} of them never acknowledged, {} partial; {} hidden",
        acked.len(),
        acked.len() - findings.lost.len() - findings.corrupt.len(),
        findings.lost.len(),
        findings.corrupt.len(),
        findings.files,
        findings.unacknowledged,
        findings.partial.len(),
        findings.hidden,
    );
    Ok(findings.lost.is_empty() && findings.corrupt.is_empty() && findings.partial.is_empty())
}

/// Holds what stands under `root` to the record of acknowledged instances.
///
/// # Errors
/// When the record or a directory cannot be read.
pub(crate) fn check(acked: &Path, root: &Path) -> Result<Verification, VerifyError> {
    let acked = acked::read(acked).map_err(VerifyError::Acked)?;
    let findings = Findings::of(&acked, root)?;
    let broken = findings.lost.len() + findings.corrupt.len();
    Ok(Verification {
        acknowledged: acked.len() as u64,
        whole: (acked.len() - broken) as u64,
        lost: findings.lost,
        corrupt: findings.corrupt,
        unacknowledged_whole: findings.unacknowledged,
        partial: findings.partial.iter().map(|(path, problem)| format!("{}: {problem}", path.display())).collect(),
        ..Verification::default()
    })
}

/// What stands under a storage root, against what was acknowledged.
#[derive(Debug, Default)]
struct Findings {
    /// Acknowledged, and no file has the UID.
    lost: Vec<String>,
    /// Acknowledged, and no file with the UID has the dataset.
    corrupt: Vec<String>,
    /// Files under a final name that are no whole DICOM file.
    partial: Vec<(PathBuf, String)>,
    /// Files under a final name.
    files: u64,
    /// Whole files whose answer never reached the sender: right, and worth knowing.
    unacknowledged: u64,
    /// Files in hidden directories, where a receiver keeps its own and what is not yet an instance.
    hidden: u64,
}

impl Findings {
    fn of(acked: &HashMap<String, DatasetDigest>, root: &Path) -> Result<Self, VerifyError> {
        let mut findings = Self::default();
        let (mut seen, mut whole) = (HashSet::new(), HashSet::new());
        // Each entry is a directory and whether it or one above it is hidden.
        let mut directories = vec![(root.to_owned(), false)];
        while let Some((directory, hidden)) = directories.pop() {
            let listed = |source| VerifyError::List { directory: directory.clone(), source };
            for entry in fs::read_dir(&directory).map_err(listed)? {
                let entry = entry.map_err(listed)?;
                let hidden = hidden || entry.file_name().as_encoded_bytes().starts_with(b".");
                if entry.file_type().map_err(listed)?.is_dir() {
                    directories.push((entry.path(), hidden));
                } else if hidden {
                    findings.hidden += 1;
                } else {
                    findings.file(acked, &entry.path(), &mut seen, &mut whole);
                }
            }
        }
        for uid in acked.keys().filter(|uid| !whole.contains(*uid)) {
            let list = if seen.contains(uid) { &mut findings.corrupt } else { &mut findings.lost };
            list.push(uid.clone());
        }
        findings.lost.sort_unstable();
        findings.corrupt.sort_unstable();
        Ok(findings)
    }

    fn file(
        &mut self,
        acked: &HashMap<String, DatasetDigest>,
        path: &Path,
        seen: &mut HashSet<String>,
        whole: &mut HashSet<String>,
    ) {
        self.files += 1;
        let checked = Part10File::open(path).and_then(|mut file| {
            seen.insert(file.sop_instance.clone());
            let expected = acked.get(&file.sop_instance);
            if expected.is_some() && expected == Some(&file.dataset_digest()?) {
                whole.insert(file.sop_instance.clone());
                return Ok(());
            }
            self.unacknowledged += u64::from(expected.is_none());
            file.check_whole()
        });
        if let Err(problem) = checked {
            self.partial.push((path.to_owned(), problem.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Encoding, ct_image};
    use crate::part10::tests::write_file;

    #[test]
    fn lost_corrupt_partial_and_unacknowledged_are_told_apart() {
        let root = tempfile::tempdir().unwrap();
        let series = root.path().join("study/series");
        fs::create_dir_all(&series).unwrap();
        fs::create_dir_all(root.path().join(".node/tmp")).unwrap();
        let syntax = Encoding::Explicit;
        let dataset = ct_image(4096, syntax, 1).to_bytes();
        let other = ct_image(4096, syntax, 2).to_bytes();
        for (name, uid, bytes) in [
            ("whole", "1.1", &dataset[..]),
            ("changed", "1.2", &other),
            ("unacknowledged", "1.3", &other),
            ("cut", "1.4", &dataset[..dataset.len() - 1]),
            // A numbered copy beside the acknowledged one takes nothing from it.
            ("whole-2", "1.1", &other),
        ] {
            write_file(&series.join(name), uid, syntax, bytes);
        }
        fs::write(series.join("empty"), b"").unwrap();
        fs::write(root.path().join(".node/tmp/1"), b"half").unwrap();

        let digest = acked::digest([&dataset[..]].into_iter());
        let acked = ["1.1", "1.2", "1.4", "1.5"].map(|uid| (uid.to_owned(), digest.clone()));
        let findings = Findings::of(&HashMap::from(acked), root.path()).unwrap();
        assert_eq!(findings.lost, ["1.5"]);
        assert_eq!(findings.corrupt, ["1.2", "1.4"]);
        let mut partial: Vec<_> = findings.partial.iter().filter_map(|(path, _)| path.file_name()).collect();
        partial.sort_unstable();
        assert_eq!(partial, ["cut", "empty"]);
        assert_eq!((findings.files, findings.unacknowledged, findings.hidden), (6, 1, 1));
    }
}
