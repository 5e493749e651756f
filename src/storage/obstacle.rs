//! What stands in the way of the node's own files, in the words of an operator.

use std::fmt;
use std::path::Path;

use crate::fs::{Errno, Handle, Kind, Link};
use crate::own::{LOST, OWN};

/// The directories in the node's own directory.
const DIRECTORIES: [&str; 3] = ["tmp", LOG, LOST];
const LOG: &str = "log";

/// What stands at a path of the node's own, and is not what it needs there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Obstacle {
    found: Found,
    needs_directory: bool,
    /// What belongs there may hold the only copy of acknowledged instances.
    holds_instances: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Link,
    OtherKind(Kind),
    /// It is of the right kind, and the process may not use it.
    Closed {
        uid: u32,
        mode: u32,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = if self.needs_directory { "directory" } else { "file" };
        match self.found {
            Found::Link => write!(f, "a symbolic link stands there, and none is followed below {OWN}: ")?,
            Found::OtherKind(Kind::File) => write!(f, "a file stands where a {needed} is needed: ")?,
            Found::OtherKind(Kind::Directory) => write!(f, "a directory stands where a {needed} is needed: ")?,
            Found::OtherKind(Kind::Link | Kind::Other) => {
                write!(f, "a pipe, a socket or a device stands where a {needed} is needed: ")?;
            }
            Found::Closed { uid, mode } => {
                write!(
                    f,
                    "this user may not use it, which belongs to user {uid} with mode {mode:04o}: give it to the user of the node, or "
                )?;
            }
        }
        write!(f, "put back the {needed} that was there")?;
        match self.holds_instances {
            true => f.write_str(
                ", which may hold acknowledged instances; if it is lost, move this away; then start the node again",
            ),
            false => f.write_str(" or move this away, and start the node again"),
        }
    }
}

impl Obstacle {
    /// What is in the way at `at`, which is the node's own directory `own` or below it; `error` is the answer to a call on `at` or a path below.
    /// `None`: nothing that this look finds.
    pub(crate) fn at<H: Handle>(top: &H, own: &Path, at: &Path, error: Errno) -> Option<Self> {
        let stat = top.stat_at(at, Link::NoFollow).ok()?;
        let name = at.strip_prefix(own).ok()?;
        let needs_directory = at == own || DIRECTORIES.iter().any(|directory| name == Path::new(directory));
        let is_refused = matches!(error, Errno::ACCESS | Errno::PERM);
        let found = match stat.kind {
            Kind::Link => Found::Link,
            Kind::Other => Found::OtherKind(Kind::Other),
            kind if (kind == Kind::Directory) != needs_directory => Found::OtherKind(kind),
            Kind::Directory if is_refused && top.may_write(at).is_ok() => return None,
            _ if is_refused => Found::Closed { uid: stat.uid, mode: stat.mode & 0o7777 },
            _ => return None,
        };
        Some(Self { found, needs_directory, holds_instances: at == own || name.starts_with(LOG) })
    }
}
