//! Errors: how Linux remembers a failed write-back, and which calls the seed lets fail.

use super::random::Random;
use crate::fs::Errno;

/// The record of failed write-backs of a file or a filesystem (`errseq_t`): each handle reports an error once, and a handle that is opened
/// after a report does not report it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WriteBackErrors {
    count: u64,
    was_seen: bool,
    last: Option<Errno>,
}

impl WriteBackErrors {
    pub(super) fn set(&mut self, error: Errno) {
        if self.count == 0 || self.was_seen {
            self.count += 1;
        }
        self.was_seen = false;
        self.last = Some(error);
    }

    /// The position from which a handle opened now reports errors.
    pub(super) fn sample(&self) -> u64 {
        if self.was_seen { self.count } else { 0 }
    }

    /// The error for a handle that has reported up to `seen`.
    pub(super) fn check(&mut self, seen: &mut u64) -> Result<(), Errno> {
        match self.last {
            Some(error) if self.count != *seen => {
                *seen = self.count;
                self.was_seen = true;
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

/// A call of a handle, as the seed chooses errors for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the method of that name")]
pub(crate) enum Call {
    Open,
    Create,
    Look,
    List,
    Read,
    Write,
    Truncate,
    StartWriteBack,
    SyncData,
    Sync,
    SyncFilesystem,
    MakeDirectory,
    Rename,
    Link,
    Unlink,
    SetAttribute,
    Attribute,
    Space,
    Lock,
}

impl Call {
    /// An error of this call on a sound device.
    pub(super) fn error(self, random: &mut Random) -> Option<Errno> {
        let errors: &[Errno] = match self {
            Self::Open | Self::List => &[Errno::IO, Errno::MFILE, Errno::ACCESS, Errno::NOMEM],
            Self::Look | Self::Space => &[Errno::IO, Errno::NOMEM],
            Self::Read => &[Errno::IO],
            Self::Create | Self::MakeDirectory | Self::Link => {
                &[Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS, Errno::MFILE]
            }
            Self::Write => &[Errno::IO, Errno::NOSPC, Errno::DQUOT],
            Self::Truncate => &[Errno::IO, Errno::NOSPC],
            Self::SyncData | Self::Sync | Self::SyncFilesystem => &[Errno::IO],
            Self::Rename => &[Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ACCESS],
            Self::Unlink => &[Errno::IO, Errno::ACCESS],
            Self::SetAttribute => &[Errno::NOSPC, Errno::DQUOT, Errno::OPNOTSUPP],
            Self::Attribute => &[Errno::IO],
            Self::StartWriteBack | Self::Lock => return None,
        };
        Some(*random.pick(errors))
    }

    pub(super) fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::Sync | Self::SyncFilesystem)
    }
}

/// The errors that the seed or a script injects into later calls.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// One call in so many fails.
    pub(crate) one_call_in: u64,
    /// One sync in so many fails.
    pub(crate) one_sync_in: u64,
    /// The next calls of these kinds fail, each once.
    pub(crate) script: Vec<(Call, Errno)>,
}

impl Faults {
    pub(super) fn at(&mut self, call: Call, random: &mut Random) -> Option<Errno> {
        if let Some(at) = self.script.iter().position(|(scripted, _)| *scripted == call) {
            return Some(self.script.remove(at).1);
        }
        let fails = random.one_in(self.one_call_in) || (call.is_sync() && random.one_in(self.one_sync_in));
        fails.then(|| call.error(random)).flatten()
    }
}
