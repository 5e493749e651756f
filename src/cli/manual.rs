//! `completions` and `man`: files that a package installs beside the program, generated from the grammar of the command line.

use std::path::{Path, PathBuf};

use clap::{Command, ValueEnum};
use clap_complete::Shell;

use super::{Exit, output};

/// A shell with completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompletedShell {
    Bash,
    Zsh,
    Fish,
    Elvish,
    #[value(name = "powershell")]
    PowerShell,
}

pub(super) fn completions(mut command: Command, shell: CompletedShell) -> Exit {
    let shell = match shell {
        CompletedShell::Bash => Shell::Bash,
        CompletedShell::Zsh => Shell::Zsh,
        CompletedShell::Fish => Shell::Fish,
        CompletedShell::Elvish => Shell::Elvish,
        CompletedShell::PowerShell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tidegate", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

/// Writes `tidegate.1` and a page for each command into `directory`.
pub(super) fn pages(command: Command, directory: &Path) -> Exit {
    let written = std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    match written {
        Ok(()) => Exit::Done,
        Err(error) => {
            output::complain(&format!("cannot write man pages to {}: {error}", directory.display()));
            Exit::Failed
        }
    }
}

/// `tidegate man …`
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Directory to write them to; created if missing
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}
