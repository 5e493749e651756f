//! Why a receiver cannot be started or seen.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a receiver cannot be started or seen.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    #[error("there is no process {0} on this host")]
    NoProcess(u32),
    #[error("no Tidegate answers on {socket}: is it running, as this user, with this storage root?")]
    NoSocket { socket: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{program} refuses the settings:\n{output}")]
    Settings { program: String, output: String },
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
