//! The catalogue against the disk: after any number of kills they differ in nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tidegate_catalogue::{Reader, State};

use crate::ledger::files_below;

/// A machine that is busy with other work may take long.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until the catalogue of a running node has every file, with its size, and no other.
pub(crate) fn wait_until_it_agrees(root: &Path) {
    let began = Instant::now();
    while let Err(difference) = compare(root) {
        assert!(began.elapsed() < PATIENCE, "the catalogue is not what the disk is: {difference}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Removes the catalogue of a node that does not run: the next catch-up has every file to read, and takes its time.
pub(crate) fn remove(root: &Path) {
    for name in ["catalogue.sqlite", "catalogue.sqlite-wal", "catalogue.sqlite-shm"] {
        let _ = fs::remove_file(root.join(".tidegate").join(name));
    }
}

/// `catalogue check` finds no difference; no node runs.
pub(crate) fn check(root: &Path) {
    let mut check = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let checked = check.args(["catalogue", "check", "--storage"]).arg(root).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

fn compare(root: &Path) -> Result<(), String> {
    let mut reader = Reader::open(&root.join(".tidegate/catalogue.sqlite")).map_err(|error| error.to_string())?;
    let files: BTreeSet<PathBuf> = files_below(root).into_iter().collect();
    for path in &files {
        let bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
        let below = path.strip_prefix(root).map_err(|error| error.to_string())?;
        match reader.file(below).map_err(|error| error.to_string())? {
            Some(known) if known.state == State::Present && known.bytes == bytes => {}
            known => return Err(format!("{} has {bytes} bytes, and is known as {known:?}", below.display())),
        }
    }
    let present = reader.totals().map_err(|error| error.to_string())?.instances;
    if present == files.len() as u64 { Ok(()) } else { Err(format!("{present} known, {} stored", files.len())) }
}
