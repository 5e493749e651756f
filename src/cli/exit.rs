//! Exit codes.

use std::process::ExitCode;

/// The exit code of the process. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: the command succeeded.
    Done,
    /// 1: it failed while starting or running.
    Failed,
    /// 2: the command line or the configuration is wrong; nothing was started.
    Misused,
    /// 3: the node stopped in order because its supervisor escalated.
    GaveUp,
    /// 4: no node answered, so its state is unknown.
    Unanswered,
    /// 5: a destination did not answer what it was asked, so what it has is unknown.
    NotTold,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Misused => Self::from(2),
            Exit::GaveUp => Self::from(3),
            Exit::Unanswered => Self::from(4),
            Exit::NotTold => Self::from(5),
        }
    }
}
