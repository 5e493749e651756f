//! The settings of a store at its opening: root, layout, durability, sync strategy, and the policy for a second instance under a known
//! UID.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::layout::Layout;

/// How a [`Store`](crate::Store) behaves. Fixed for as long as it is open.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory everything is stored in; created when absent. A relative path is taken from the working
    /// directory at the time of opening.
    pub root: PathBuf,
    /// How an instance's path below the root is made.
    pub layout: Layout,
    /// The durability of a stored instance.
    pub durability: Durability,
    /// The sync strategy that achieves it.
    pub commit: CommitStrategy,
    /// The policy for different bytes under a SOP Instance UID that is already stored.
    pub duplicates: Duplicates,
    /// Nothing is written that would leave less than this many bytes of the filesystem free. 0 turns the check off.
    pub min_free_bytes: u64,
    /// Mode and group of what the layout makes.
    pub access: FileAccess,
    /// Whether a root that no store has used is refused: it may be the empty mount point of a volume.
    pub requires_mark: bool,
}

/// Mode and group of the instances' files, and of the directories that a layout makes for them. The node's own directory is not among
/// them. `None`: as the process creates them (0640 and 0750, less its umask, in the group that the filesystem chooses).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileAccess {
    /// Mode of files.
    pub file_mode: Option<u32>,
    /// Mode of directories. One that inherits the set-group-ID bit keeps it.
    pub directory_mode: Option<u32>,
    /// Group of both, by number.
    pub group: Option<u32>,
}

/// Where and how an instance is stored below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// How its path below the root is made.
    pub layout: Layout,
    /// The durability of the instance once it is stored.
    pub durability: Durability,
    /// The policy for different bytes under its SOP Instance UID, at the path of its layout.
    pub duplicates: Duplicates,
}

impl Settings {
    /// Where and how an instance is stored of which nothing else is said.
    pub fn placement(&self) -> Placement {
        let Self { layout, durability, duplicates, .. } = self;
        Placement { layout: layout.clone(), durability: *durability, duplicates: *duplicates }
    }
}

/// Durability: the state of the disk that an instance needs to count as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Data, name and directories are synced first: a stored instance survives a power cut. Written `fsync`.
    #[default]
    Fsync,
    /// Nothing is synced: a stored instance survives the end of the process, but not of the machine. Written `none`.
    None,
}

/// The sync strategy of instances. The result is the same with all of them; only the duration differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CommitStrategy {
    /// Whichever of the others is the fastest for the size of an instance and the number of those that are being stored.
    /// Written `adaptive`.
    #[default]
    Adaptive,
    /// Each file by itself, then its directory. Written `per-file`.
    PerFile,
    /// A log that holds all that are being stored, once; the files later. Written `log`.
    Log,
}

/// The treatment of different bytes under a SOP Instance UID that is already stored. Identical bytes are always accepted without being
/// stored a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// The new instance is stored beside the old one under a numbered name. Written `keep-both`.
    #[default]
    KeepBoth,
    /// The new instance takes the place of the old one, atomically, once it is durable. Written `replace`.
    Replace,
    /// The new instance is refused. Written `refuse`.
    Refuse,
}

/// A word that is not one of those a setting allows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{word:?} is not one of {allowed}")]
pub struct UnknownWord {
    /// The word as given.
    pub word: String,
    /// The words allowed, as one would list them.
    pub allowed: &'static str,
}

impl Durability {
    /// In the order of their declaration.
    pub const ALL: [Self; 2] = [Self::Fsync, Self::None];
}

impl FromStr for Durability {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "fsync" => Ok(Self::Fsync),
            "none" => Ok(Self::None),
            _ => Err(UnknownWord { word: word.to_owned(), allowed: "fsync, none" }),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fsync => "fsync",
            Self::None => "none",
        })
    }
}

impl FromStr for CommitStrategy {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "adaptive" => Ok(Self::Adaptive),
            "per-file" => Ok(Self::PerFile),
            "log" => Ok(Self::Log),
            _ => Err(UnknownWord { word: word.to_owned(), allowed: "adaptive, per-file, log" }),
        }
    }
}

impl fmt::Display for CommitStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Adaptive => "adaptive",
            Self::PerFile => "per-file",
            Self::Log => "log",
        })
    }
}

impl FromStr for Duplicates {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "replace" => Ok(Self::Replace),
            "keep-both" => Ok(Self::KeepBoth),
            "refuse" => Ok(Self::Refuse),
            _ => Err(UnknownWord { word: word.to_owned(), allowed: "keep-both, replace, refuse" }),
        }
    }
}

impl fmt::Display for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Replace => "replace",
            Self::KeepBoth => "keep-both",
            Self::Refuse => "refuse",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back_as_written() {
        for durability in [Durability::Fsync, Durability::None] {
            assert_eq!(durability.to_string().parse(), Ok(durability));
        }
        use CommitStrategy::{Adaptive, Log, PerFile};
        for commit in [Adaptive, PerFile, Log] {
            assert_eq!(commit.to_string().parse(), Ok(commit));
        }
        for duplicates in [Duplicates::Replace, Duplicates::KeepBoth, Duplicates::Refuse] {
            assert_eq!(duplicates.to_string().parse(), Ok(duplicates));
        }
    }

    #[test]
    fn an_unknown_word_is_named_with_what_is_allowed() {
        let error = "keep".parse::<Duplicates>().unwrap_err();
        assert_eq!(error.to_string(), "\"keep\" is not one of keep-both, replace, refuse");
        assert!("Fsync".parse::<Durability>().is_err());
    }
}
