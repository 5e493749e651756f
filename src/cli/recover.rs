//! `recover`: explains the remains of a crash in a storage root, and with `--clean` cleans them up.

use std::fmt::Write;
use std::path::Path;

use bytesize::ByteSize;
use clap::Args;
use serde::Serialize;
use tidegate_storage::leftovers::{self, Leftover, Use};
use tidegate_storage::{Aside, OpenError, Recovery, Settings, Store};

use super::root::RootArgs;
use super::{Exit, output};

/// `tidegate recover …`
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if acknowledged instances are set aside or lost.

A node cleans its storage root at its start, so this command is never required; it shows beforehand what there is to clean. \
An unfinished file is an instance that was being received. It was never acknowledged, so its sender still has it and sends it \
again. An acknowledged instance that is only in the commit log is restored to its path. Without --clean nothing is changed.

  tidegate recover /var/lib/tidegate/data
  tidegate recover --config /etc/tidegate/tidegate.toml --clean")]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    root: RootArgs,
    /// Do what a node does at its start: restore acknowledged instances, remove unfinished files
    #[arg(long)]
    clean: bool,
    /// Print one JSON object per line: one for each file, then the totals
    #[arg(long)]
    json: bool,
}

/// A line about an unfinished file, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    bytes: u64,
    age_s: u64,
    sop_instance_uid: Option<&'a str>,
    calling_ae_title: Option<&'a str>,
}

/// The last line, as JSON.
#[derive(Serialize)]
struct Summary {
    /// "never", "free" or "held".
    in_use: &'static str,
    pid: Option<u32>,
    unfinished_files: u64,
    unfinished_bytes: u64,
    /// Acknowledged instances that were in the commit log.
    logged_files: u64,
    removed_files: u64,
    removed_bytes: u64,
    restored_files: u64,
    /// Changed, moved or removed by others since.
    left_files: u64,
    /// Not restored for lack of space.
    waiting_files: u64,
    /// Set aside by this start and earlier ones, and not removed yet.
    lost_files: u64,
    aside: Vec<AsideLine>,
}

/// An acknowledged instance that is not at its path.
#[derive(Serialize)]
struct AsideLine {
    path: String,
    /// `None`: it is lost.
    kept_as: Option<String>,
    reason: String,
}

impl From<&Aside> for AsideLine {
    fn from(aside: &Aside) -> Self {
        Self {
            path: aside.path.to_string_lossy().into_owned(),
            kept_as: aside.kept_as.as_ref().map(|kept_as| kept_as.to_string_lossy().into_owned()),
            reason: aside.reason.to_string(),
        }
    }
}

pub(super) fn run(args: RecoverArgs) -> Exit {
    let settings = match args.root.settings() {
        Ok(settings) => settings.storage,
        Err(exit) => return exit,
    };
    recover(settings, args.clean, args.json).unwrap_or_else(|error| {
        output::complain(&output::one_line(&error));
        Exit::Failed
    })
}

fn recover(settings: Settings, clean: bool, json: bool) -> Result<Exit, OpenError> {
    let root = settings.root.clone();
    let (mut files, mut bytes) = (0, 0);
    let usage = leftovers::scan(&root, |leftover| {
        files += 1;
        bytes += leftover.bytes;
        output::print(&line(&leftover, json));
    })?;
    let logged = leftovers::logged(&root)?;
    let (in_use, pid) = match usage {
        Use::Never => ("never", None),
        Use::Free => ("free", None),
        Use::Held { pid } => ("held", pid),
    };
    let aside_before = leftovers::set_aside(&root)?;
    let removed = if clean && usage != Use::Never { Store::open(settings)?.1 } else { Default::default() };
    if json {
        let summary = Summary {
            in_use,
            pid,
            unfinished_files: files,
            unfinished_bytes: bytes,
            logged_files: logged,
            removed_files: removed.removed_files,
            removed_bytes: removed.removed_bytes,
            restored_files: removed.restored_files,
            left_files: removed.left_files,
            waiting_files: removed.waiting_files,
            lost_files: aside_before.max(removed.lost_files),
            aside: removed.aside.iter().map(AsideLine::from).collect(),
        };
        let lost_files = summary.lost_files;
        let printed = serde_json::to_string(&summary).map_or_else(|_| String::new(), |line| line + "\n");
        return Ok(verdict(output::print(&printed), lost_files, removed.aside.len()));
    }
    let mut text = explain(&root, usage, files, bytes, logged);
    if clean {
        let _ = writeln!(text, "removed {} files, {}", removed.removed_files, size(removed.removed_bytes));
        let _ = writeln!(text, "restored {} files from the commit log", removed.restored_files);
        explain_log(&mut text, &removed);
    } else {
        if usage == Use::Free && files > 0 {
            text.push_str("the next start of the node removes them, and so does --clean\n");
        }
        if aside_before > 0 {
            let _ = writeln!(text, "{aside_before} files are in .tidegate/lost, set aside by earlier starts");
        }
    }
    Ok(verdict(output::print(&text), aside_before.max(removed.lost_files), removed.aside.len()))
}

/// Exit code 1 if acknowledged instances are not at their paths, so that a script stops.
fn verdict(printed: Exit, lost_files: u64, aside: usize) -> Exit {
    if lost_files == 0 && aside == 0 {
        return printed;
    }
    output::complain(
        "acknowledged instances are set aside or lost: look at .tidegate/lost below the storage root, put each file where it belongs or \
         delete it (docs/durability.md)",
    );
    Exit::Failed
}

fn explain(root: &Path, usage: Use, files: u64, bytes: u64, logged: u64) -> String {
    let root = root.display();
    let unfinished = format!("{files} unfinished files, {}", size(bytes));
    match usage {
        Use::Never => format!("{root}: no node has ever stored here\n"),
        Use::Held { pid } => format!(
            "{root}: a node is running{}; {unfinished}, being written now\n",
            pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
        ),
        Use::Free if files == 0 && logged == 0 => format!("{root}: no unfinished files\n"),
        Use::Free => {
            let mut text = format!("{root}: {unfinished}, none of them acknowledged\n");
            if logged > 0 {
                let _ = writeln!(
                    text,
                    "{logged} acknowledged instances are in the commit log (.tidegate/log): the next start restores their files where \
                     needed, and so does --clean; do not delete it"
                );
            }
            text
        }
    }
}

/// The findings in the commit log that need attention.
fn explain_log(text: &mut String, recovery: &Recovery) {
    if recovery.left_files > 0 {
        let _ =
            writeln!(text, "left {} files unchanged that were changed, moved or removed since", recovery.left_files);
    }
    if recovery.waiting_files > 0 {
        let _ = writeln!(text, "{} files stay in the commit log until there is free space", recovery.waiting_files);
    }
    if recovery.lost_files > 0 {
        let _ = writeln!(text, "{} instances are set aside below .tidegate/lost", recovery.lost_files);
    }
    for AsideLine { path, kept_as, reason } in recovery.aside.iter().map(AsideLine::from) {
        let _ = match kept_as {
            Some(kept_as) => writeln!(text, "set aside {path} as {kept_as}: {reason}"),
            None => writeln!(text, "lost {path}: {reason}"),
        };
    }
}

fn line(leftover: &Leftover, json: bool) -> String {
    let path = leftover.path.to_string_lossy();
    let age_s = leftover.age.as_secs();
    let meta = leftover.meta.as_ref();
    if json {
        let line = Line {
            path: &path,
            bytes: leftover.bytes,
            age_s,
            sop_instance_uid: meta.map(|meta| meta.sop_instance_uid.as_str()),
            calling_ae_title: meta.map(|meta| meta.sending_ae_title.as_str()),
        };
        return serde_json::to_string(&line).map_or_else(|_| String::new(), |line| line + "\n");
    }
    let what = meta.map_or_else(
        || "without file meta".to_owned(),
        |meta| format!("instance {} from {}", meta.sop_instance_uid, meta.sending_ae_title.escape_default()),
    );
    let age = humantime::format_duration(std::time::Duration::from_secs(age_s));
    format!("unfinished {path}: {what}, {}, last written {age} ago\n", size(leftover.bytes))
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
