//! `mem profile`: a heap profile of the live node, into a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use serde::Serialize;
use tidegate_memory::profile::{self, Format};

use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::text::size;

/// The reason for a missing profile.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProfileError {
    /// The file name has no known ending, so the format is unknown.
    #[error("{}: end the name in .svg for a flame graph or in .pb.gz for pprof", .0.display())]
    Ending(PathBuf),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The call stacks cannot be drawn.
    #[error(transparent)]
    Draw(#[from] profile::ProfileError),
}

/// A complete profile.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Taken {
    path: PathBuf,
    format: Format,
    seconds: u64,
    bytes: u64,
}

/// Takes a profile of the node for `seconds`, and writes it to `path`. The ending of the path decides the format.
pub(super) fn take(client: &Client, seconds: u64, path: PathBuf) -> Result<Taken, ProfileError> {
    let format = format(&path).ok_or_else(|| ProfileError::Ending(path.clone()))?;
    // An unknown ending is reported before the wait, not after it.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    access(directory, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|errno| ProfileError::Unwritable { path: path.clone(), source: errno.into() })?;
    let profile = client.profile(seconds)?.draw(format)?;
    match fs::write(&path, &profile) {
        Ok(()) => Ok(Taken { path, format, seconds, bytes: profile.len() as u64 }),
        Err(source) => Err(ProfileError::Unwritable { path, source }),
    }
}

fn format(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    if name.ends_with(".svg") {
        Some(Format::Svg)
    } else if name.ends_with(".pb.gz") {
        Some(Format::Pprof)
    } else {
        None
    }
}

impl Taken {
    pub(super) fn render(&self) -> String {
        let what = match self.format {
            Format::Svg => "flame graph",
            Format::Pprof => "pprof profile",
        };
        format!("wrote {}: {what} of {} s, {}\n", self.path.display(), self.seconds, size(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_format() {
        for (name, expected) in [
            ("heap.svg", Some(Format::Svg)),
            ("a/b/HEAP.SVG", Some(Format::Svg)),
            ("heap.pb.gz", Some(Format::Pprof)),
            ("heap.gz", None),
            ("heap", None),
            ("..", None),
        ] {
            assert_eq!(format(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_before_the_node_is_asked() {
        let nobody = Client::new(vec!["/nowhere/admin.sock".into()], std::time::Duration::from_secs(180));
        let error = take(&nobody, 1, "/nowhere/heap.svg".into()).unwrap_err().to_string();
        assert!(error.starts_with("cannot write /nowhere/heap.svg: "), "{error}");
        let error = take(&nobody, 1, "heap.txt".into()).unwrap_err().to_string();
        assert_eq!(error, "heap.txt: end the name in .svg for a flame graph or in .pb.gz for pprof");
    }

    #[test]
    fn where_it_was_written_is_said() {
        let taken = Taken { path: "heap.pb.gz".into(), format: Format::Pprof, seconds: 30, bytes: 2048 };
        assert_eq!(taken.render(), "wrote heap.pb.gz: pprof profile of 30 s, 2.0 KiB\n");
    }
}
