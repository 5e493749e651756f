//! The errors of a request to a node, each with the remedy.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Exit;
use crate::admin::wire::VERSION;

/// Most threads of a node that are examined.
const MAX_THREADS: usize = 4096;

/// The reason for a missing answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// There is no socket, or its node has ended.
    #[error("no node is running with the admin socket {}; name the right one with --socket, --config or --storage", either(.0))]
    NoNode(Vec<PathBuf>),
    /// The socket belongs to another user.
    #[error("permission denied for the admin socket {}: run this as the user that the node runs as, or as root", .0.display())]
    Denied(PathBuf),
    /// Another user listens there.
    #[error(
        "the admin socket {} belongs to a process of user {uid}, who may have put it there: run this as that user or as root, \
         or name the right one with --socket", .path.display()
    )]
    Stranger { path: PathBuf, uid: u32 },
    /// `sun_path` holds 108 bytes.
    #[error("the path {} is too long for a unix socket: set [admin] socket of the node to a shorter one", .0.display())]
    PathTooLong(PathBuf),
    /// The node is a tidegate with another version of the protocol.
    #[error(
        "the node is tidegate {node} and speaks version {version} of the admin protocol, this program is {} and speaks \
         {VERSION}: use the program that the node runs", env!("CARGO_PKG_VERSION")
    )]
    OtherVersion { node: String, version: u32 },
    /// The node refused, with its reason.
    #[error("the node refused the request: {0}")]
    Refused(String),
    /// The node is overloaded, or hangs.
    #[error("the node did not answer within {}: {found}", humantime::format_duration(*.timeout))]
    TooLate { timeout: Duration, found: Found },
    /// The answer is not one of this protocol.
    #[error("cannot parse the answer of the node: {0}")]
    NotUnderstood(String),
    /// The connection broke.
    #[error("lost the connection to the node: {0}")]
    Broken(#[from] io::Error),
}

impl From<&AskError> for Exit {
    /// A script tells a node that is not there, or says nothing, from one that refuses or is not ready.
    fn from(error: &AskError) -> Self {
        match error {
            AskError::NoNode(_)
            | AskError::Denied(_)
            | AskError::Stranger { .. }
            | AskError::PathTooLong(_)
            | AskError::TooLate { .. }
            | AskError::Broken(_) => Self::Unanswered,
            AskError::OtherVersion { .. } | AskError::Refused(_) | AskError::NotUnderstood(_) => Self::Failed,
        }
    }
}

/// The state of a node that does not answer, found without its help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No connection was made, so its process is unknown.
    Nothing,
    /// Its threads, by state (proc(5)).
    Process { id: u32, threads: usize, stopped: usize, in_disk: usize },
}

impl Found {
    /// The state of the process that listens at the socket, if a connection was made.
    pub(super) fn of(process: Option<u32>) -> Self {
        let Some(id) = process else { return Self::Nothing };
        let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().take(MAX_THREADS);
        let states: Vec<char> = tasks.filter_map(|task| state_of(&task.ok()?.path())).collect();
        let count = |wanted: &[char]| states.iter().filter(|state| wanted.contains(state)).count();
        Self::Process { id, threads: states.len(), stopped: count(&['T', 't']), in_disk: count(&['D']) }
    }

    /// Whether no thread of the process may run.
    pub(super) fn is_stopped(&self) -> bool {
        matches!(*self, Self::Process { threads, stopped, .. } if threads > 0 && stopped == threads)
    }
}

/// The state of a thread. It follows the name, which may hold any character, in parentheses.
fn state_of(task: &Path) -> Option<char> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Nothing => write!(
                f,
                "no connection to its admin socket came about: as many clients wait there as may, or the socket lies on a disk that hangs"
            ),
            Self::Process { id, .. } if self.is_stopped() => {
                write!(
                    f,
                    "process {id} is stopped, by SIGSTOP, a debugger or a frozen container; `kill -CONT {id}` continues it"
                )
            }
            Self::Process { id, threads, in_disk, .. } if in_disk > 0 => write!(
                f,
                "process {id} runs, and {in_disk} of its {threads} threads wait for a disk; /metrics and its log say more"
            ),
            Self::Process { id, threads, .. } => {
                write!(
                    f,
                    "process {id} runs with {threads} threads; it may be short of CPU: see `top -H -p {id}` and its log"
                )
            }
        }
    }
}

/// The paths, as part of a sentence.
fn either(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_told_by_what_the_threads_do() {
        let process = |stopped, in_disk| Found::Process { id: 7, threads: 20, stopped, in_disk }.to_string();
        assert!(process(20, 0).contains("process 7 is stopped") && process(20, 0).contains("`kill -CONT 7`"));
        assert!(process(0, 3).contains("3 of its 20 threads wait for a disk"));
        assert!(process(1, 0).contains("process 7 runs with 20 threads"));
        let found = Found::of(Some(std::process::id()));
        assert!(matches!(found, Found::Process { threads: 1.., stopped: 0, .. }), "{found:?}");
        assert_eq!(Found::of(None), Found::Nothing);
    }
}
