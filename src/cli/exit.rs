//! How the process ends.

use std::process::ExitCode;

/// How the process ends. Scripts rely on these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: the command did what it was asked.
    Done,
    /// 1: it failed while starting or running.
    Failed,
    /// 2: the command line or the configuration is wrong; nothing was started.
    Misused,
    /// 3: the node went down in order because its supervisor gave up.
    GaveUp,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Misused => Self::from(2),
            Exit::GaveUp => Self::from(3),
        }
    }
}
