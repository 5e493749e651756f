//! Reconciles what the receiver has with what was sent: the dataset byte for byte, the file meta and the path by what they say of it, and one
//! file for each instance.
//!
//! Nothing is hashed while the load runs. Every instance is remembered by a few numbers, from which its dataset is made again.

mod directory;
mod findings;
mod hook;
mod ledger;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::result::Verification;
use findings::Findings;
pub(crate) use findings::ReconcileError;
pub(crate) use ledger::{Entry, FIRST_BAD_PEER, Ledger};

/// How to look at what the receiver has.
#[derive(Clone, Debug)]
pub(crate) enum Verify {
    /// A tree of DICOM files.
    Directory(PathBuf),
    /// A command that is given a SOP Instance UID and prints the path of its file, or the SHA-256 of its dataset.
    Hook(String),
}

/// Looks at what the receiver has and holds it to the ledger.
///
/// # Errors
/// When there is no looking.
pub(crate) fn check(ledger: &Ledger, verify: &Verify) -> Result<Verification, ReconcileError> {
    let mut findings = Findings::new(ledger);
    match verify {
        Verify::Directory(directory) => directory::look(directory, ledger, &mut findings)?,
        Verify::Hook(command) => hook::look(command, ledger, &mut findings)?,
    }
    Ok(findings.judge(ledger))
}
