//! The receiver under test: started and stopped when that is asked for, and looked at while it is under load.

mod launch;
mod process;
mod spec;
mod tidegate;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub(crate) use launch::{Running, free_port};
pub(crate) use spec::Receiver;

use crate::result::Sampler;
use crate::scenario::TlsSettings;

/// Why a receiver cannot be started or seen.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    #[error("there is no process {0} on this host")]
    NoProcess(u32),
    #[error("no Tidegate answers on {socket}: is it running, as this user, with this storage root?")]
    NoSocket { socket: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {problem}")]
    Spec { path: PathBuf, problem: String },
    #[error("cannot prepare {directory}")]
    Prepare { directory: PathBuf, source: io::Error },
    #[error("{name}: cannot start {program}")]
    Start { name: String, program: String, source: io::Error },
    #[error("{name}: ended before it took an association ({status}); the end of its output:\n{output}")]
    Ended { name: String, status: String, output: String },
    #[error("{name}: took no association within {seconds} s; the end of its output:\n{output}")]
    NotReady { name: String, seconds: u64, output: String },
    #[error("cannot find this program, or a port for it")]
    Program(#[source] io::Error),
    #[error("cannot end the process group of {name}")]
    Stop { name: String, source: io::Error },
}

/// Who looks at the target: Tidegate by its storage root, any other receiver on this host by its process.
///
/// # Errors
/// When there is no such process, or no Tidegate answers.
pub(crate) fn sampler(pid: Option<u32>, tidegate_root: Option<&Path>) -> Result<Option<Box<dyn Sampler>>, TargetError> {
    Ok(match (tidegate_root, pid) {
        (Some(root), _) => Some(Box::new(tidegate::TidegateSampler::new(root)?)),
        (None, Some(pid)) => Some(Box::new(process::ProcessSampler::new(pid)?)),
        (None, None) => None,
    })
}

/// Whom a load is put on.
pub(crate) struct Aim {
    pub(crate) address: String,
    pub(crate) called_ae: Option<String>,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) sampler: Option<Box<dyn Sampler>>,
}
