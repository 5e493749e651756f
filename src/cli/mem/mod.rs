//! `tidegate mem`: the holders of the running node's memory. Each command has a file of its own; [`crate::cli::client`] sends the requests.

mod diff;
mod profile;
#[cfg(test)]
mod sample;
mod stats;
mod top;
mod watch;
mod who;

#[cfg(test)]
pub(super) use sample::widest;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use tidegate_memory::AllocatorStatistics;

use super::{Exit, output};
use crate::admin::wire::{MAX_PROFILE_SECONDS, Purged};
use crate::cli::ask_error::AskError;
use crate::cli::client::Client;
use crate::cli::output::show;
use crate::cli::reach::Reach;
use crate::cli::table::Table;
use crate::cli::text::{growth, size};
use diff::Diff;
use who::{Least, Queue, Who};

/// `tidegate mem …`
#[derive(Debug, Args)]
#[command(after_help = "\
The node is found by --config, --storage and the environment, as `tidegate run` reads them, or by the path of its socket. \
Only the user that it runs as, and root, may connect.

  tidegate mem top
  tidegate mem who --over 10MiB --older 60s
  tidegate mem diff --seconds 60 --stacks
  tidegate mem stats
  tidegate mem profile --seconds 30 -o heap.svg")]
pub(super) struct MemArgs {
    #[command(flatten)]
    reach: Reach,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: MemCommand,
}

#[derive(Debug, Subcommand)]
enum MemCommand {
    /// Bytes, leases and oldest lease, by stage and by association
    Top,
    /// Each holder of memory: association, stage, writer or position in the mailbox, and since when
    Who {
        /// Show only holders of more than this, such as 10MiB
        #[arg(long, value_name = "SIZE", default_value = "0", value_parser = bytes)]
        over: u64,
        /// Show only leases older than this, such as 60s
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
        older: Duration,
    },
    /// Growth between two snapshots, by stage and by association
    Diff {
        /// Seconds between the snapshots
        #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=86_400))]
        seconds: u64,
        /// Record the allocations in between, and show by call stack those that are still live
        #[arg(long)]
        stacks: bool,
    },
    /// Heap profile of the live process: live bytes by the code that allocated them
    Profile {
        /// Seconds for which allocations are sampled
        #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=MAX_PROFILE_SECONDS))]
        seconds: u64,
        /// File to write: .svg for a flame graph, .pb.gz for pprof
        #[arg(short, long, value_name = "FILE", default_value = "heap.svg")]
        output: PathBuf,
    },
    /// The allocator's pages, arenas and size classes, beside the process and its control group
    Stats,
    /// Return free pages to the system, and print the allocator's figures before and after
    Purge,
    /// Live view, a frame a second: bars by stage, resident against budget, largest holders
    Watch {
        /// Stop after N frames
        #[arg(long, value_name = "N")]
        frames: Option<u64>,
    },
}

/// Call stacks that `mem diff --stacks` lists.
const LARGEST_STACKS: usize = 10;
/// Runtime crates that call our code: they are at the outer end of every stack.
const RUNTIME: [&str; 3] = ["actix", "actix-rt", "tokio"];

fn bytes(text: &str) -> Result<u64, String> {
    let size: Result<ByteSize, _> = text.trim().parse();
    size.map(|size| size.as_u64()).map_err(|_| "must be a size such as 10MiB or 64KiB".to_owned())
}

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
enum MemError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the node restarted between the two snapshots: they cannot be compared")]
    Restarted,
    #[error(transparent)]
    Profile(#[from] profile::ProfileError),
}

impl From<&MemError> for Exit {
    fn from(error: &MemError) -> Self {
        match error {
            MemError::Profile(profile::ProfileError::Ending(_)) => Self::Misused,
            MemError::Ask(error) | MemError::Profile(profile::ProfileError::Ask(error)) => Self::from(error),
            MemError::Restarted | MemError::Profile(_) => Self::Failed,
        }
    }
}

/// Runs `tidegate mem …`.
pub(super) fn run(args: MemArgs) -> Exit {
    let client = match args.reach.client() {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    match carry_out(&client, args.command, args.json) {
        Ok(exit) => exit,
        Err(error) => {
            output::complain(&error.to_string());
            Exit::from(&error)
        }
    }
}

fn carry_out(client: &Client, command: MemCommand, json: bool) -> Result<Exit, MemError> {
    Ok(match command {
        MemCommand::Top => {
            let snapshot = client.memory()?;
            show(json, &snapshot, top::render)
        }
        MemCommand::Who { over, older } => {
            let least = Least { over_bytes: over, older_ms: u64::try_from(older.as_millis()).unwrap_or(u64::MAX) };
            let snapshot = client.memory()?;
            show(json, &Who::of(&snapshot, least), |who, width| who.render(&Queue::of(&snapshot), width))
        }
        MemCommand::Diff { seconds, stacks } => {
            let before = client.memory()?;
            hint(json, &format!("first snapshot taken; the second follows in {seconds} s"));
            let recorded = if stacks {
                Some(client.profile(seconds)?)
            } else {
                sleep(Duration::from_secs(seconds));
                None
            };
            let mut diff = Diff::of(&before, &client.memory()?).ok_or(MemError::Restarted)?;
            if let Some(recorded) = recorded {
                diff =
                    diff.with_stacks(recorded.largest(LARGEST_STACKS, &RUNTIME).map_err(profile::ProfileError::from)?);
            }
            show(json, &diff, Diff::render)
        }
        MemCommand::Profile { seconds, output } => {
            hint(json, &format!("recording allocations for {seconds} s"));
            let taken = profile::take(client, seconds, output)?;
            show(json, &taken, |taken, _| taken.render())
        }
        MemCommand::Stats => show(json, &client.allocator()?, stats::render),
        MemCommand::Purge => show(json, &client.purge()?, purged),
        MemCommand::Watch { frames } => watch::run(client, frames, json),
    })
}

/// Prints to a terminal what the command waits for.
fn hint(json: bool, what: &str) {
    if !json {
        output::complain(what);
    }
}

fn purged(Purged { before, after }: &Purged, width: usize) -> String {
    let figures = |of: &AllocatorStatistics| {
        [
            ("allocated", of.allocated),
            ("cached", of.cached),
            ("active", of.active),
            ("metadata", of.metadata),
            ("resident", of.resident),
            ("mapped", of.mapped),
            ("retained", of.retained),
        ]
    };
    let mut table = Table::new(["", "BEFORE", "AFTER", "CHANGE"]);
    for ((name, before), (_, after)) in figures(before).into_iter().zip(figures(after)) {
        let change = after.cast_signed().saturating_sub(before.cast_signed());
        table.row([name.to_owned(), size(before), size(after), growth(change)]);
    }
    table.render(width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::COLUMNS;

    #[test]
    fn a_purge_is_shown_figure_by_figure() {
        let before = AllocatorStatistics {
            allocated: 20 << 20,
            active: 21 << 20,
            metadata: 3 << 20,
            resident: 90 << 20,
            mapped: 120 << 20,
            retained: 0,
            cached: 4 << 20,
        };
        let after = AllocatorStatistics { resident: 25 << 20, mapped: 30 << 20, retained: 90 << 20, ..before };
        let expected = "              BEFORE     AFTER     CHANGE
allocated   20.0 MiB  20.0 MiB        0 B
cached       4.0 MiB   4.0 MiB        0 B
active      21.0 MiB  21.0 MiB        0 B
metadata     3.0 MiB   3.0 MiB        0 B
resident    90.0 MiB  25.0 MiB  -65.0 MiB
mapped     120.0 MiB  30.0 MiB  -90.0 MiB
retained         0 B  90.0 MiB  +90.0 MiB
";
        assert_eq!(purged(&Purged { before, after }, COLUMNS), expected);
    }

    #[test]
    fn a_profile_without_a_node_ends_as_every_other_command_does() {
        let unanswered = || AskError::NoNode(Vec::new());
        assert_eq!(Exit::from(&MemError::Ask(unanswered())), Exit::Unanswered);
        assert_eq!(Exit::from(&MemError::Profile(profile::ProfileError::Ask(unanswered()))), Exit::Unanswered);
    }

    #[test]
    fn sizes_are_read_as_the_configuration_reads_them() {
        assert_eq!([bytes("10MiB"), bytes("0"), bytes("1.5 KiB")], [Ok(10 << 20), Ok(0), Ok(1536)]);
        assert!(bytes("lots").is_err());
    }
}
