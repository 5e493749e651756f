//! `verify`: proves that each stored file is whole, and lists the others.

mod known;

use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tidegate_storage::layout::Layout;
use tidegate_storage::verify::{Condition, Digested, Totals, Verdict, Verification};

use self::known::Catalogued;
use super::catalogue::checked_moment;
use super::root::RootArgs;
use super::{Exit, output};
use crate::admin::catalogue::search::moment;
use crate::admin::time::rfc3339;

/// `tidegate verify …`
#[derive(Debug, Args)]
#[command(after_help = "\
Every file below DIR is read to its end. It must be a Part 10 file with well-formed file meta and a well-formed dataset, and its \
bytes must match the digest that was recorded at the commit (an extended attribute, which is absent from a copy made without such \
attributes; then length and digest are those of the catalogue, if it has them). The digest also tells damage from a dataset that its \
sender sent malformed.

A file that the catalogue has and that is not there is missing: it was stored, and has been removed or renamed since, unless the \
catalogue knows that already. --since reads only the files that were received since, as the catalogue lists them.

A whole file at another path than a layout makes of its UIDs is misplaced, which is no damage: somebody moved it, or it was stored \
under another layout. The layouts are storage.layout and those of the access rules, so name the configuration of the node with \
--config, and a layout of former times with --layout.

Nothing is changed, symbolic links are not followed, and a node may be running. Entries below .tidegate are skipped. Foreign entries \
are counted and are no damage: files that are neither DICOM nor at a path that a layout could make, links, and names that begin with \
a period; --all lists the files. `ionice -c3 tidegate verify DIR` leaves the disk to a busy node.

Exit codes: 0 no file is damaged, 1 some are damaged, missing or cannot be read (with --fail-misplaced: or are misplaced), or the \
catalogue cannot be read, which alone knows what is missing, 2 usage or configuration error.

  tidegate verify /var/lib/tidegate/data
  tidegate verify --config /etc/tidegate/tidegate.toml --json
  tidegate verify --config /etc/tidegate/tidegate.toml --since 1day
  tidegate verify --config /etc/tidegate/tidegate.toml --layout '{PatientID}/{SOPInstanceUID}.dcm'")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    root: RootArgs,
    /// A layout that the root had before, besides those of the configuration; repeat it for each
    #[arg(long, value_name = "TEMPLATE", value_parser = Layout::parse)]
    layout: Vec<Layout>,
    /// Read only what was received since: how long ago (1day), a day or a time (2026-11-29T10:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = checked_moment)]
    since: Option<String>,
    /// Files read in parallel
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Exit with 1 for a misplaced file too
    #[arg(long)]
    fail_misplaced: bool,
    /// Report every file, not only those with faults, foreign ones too
    #[arg(long)]
    all: bool,
    /// Print one JSON object per line: one for each file, then the totals
    #[arg(long)]
    json: bool,
}

/// A line about a file, as JSON.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a str,
    condition: &'static str,
    bytes: u64,
    digest: &'static str,
    faults: Vec<String>,
}

/// The last line, as JSON.
#[derive(Serialize)]
struct Summary {
    files: u64,
    bytes: u64,
    whole: u64,
    malformed_as_received: u64,
    misplaced: u64,
    damaged: u64,
    without_digest: u64,
    foreign: u64,
    gone: u64,
    /// `None`: the catalogue could not be read.
    missing: Option<u64>,
    since: Option<String>,
}

pub(super) fn run(args: VerifyArgs) -> Exit {
    let settings = match args.root.settings() {
        Ok(settings) => settings,
        Err(exit) => return exit,
    };
    let (root, all, json) = (settings.storage.root, args.all, args.json);
    let since_ms = args.since.as_deref().and_then(|text| moment(text, SystemTime::now()));
    let opened = Catalogued::open(&root, settings.catalogue.as_ref()).inspect_err(|error| output::complain(error));
    let mut is_unread = opened.is_err();
    let catalogued = opened.unwrap_or_default();
    if since_ms.is_some() && catalogued.is_none() {
        if !is_unread {
            output::complain("--since needs the catalogue, and there is none: start the node, or verify all files");
        }
        return Exit::Failed;
    }
    // The settings or an access rule decided the path of a file.
    let of_rules = settings.live.access.terms.iter().filter_map(|terms| Some(terms.placement.as_ref()?.layout.clone()));
    let layouts = std::iter::once(settings.storage.layout).chain(of_rules).chain(args.layout).collect();
    let threads = NonZeroUsize::new(args.threads.into()).unwrap_or(NonZeroUsize::MIN);
    let verification = Verification::new(&root, layouts, threads);
    let bar = bar();
    let lookup = |path: &Path| catalogued.as_ref()?.find(path);
    let report = |verdict: Verdict| {
        if all || !matches!(verdict.condition(), Condition::Whole | Condition::Foreign) {
            bar.suspend(|| output::print(&line(&verdict, json)));
        }
        bar.inc(1);
    };
    let totals = match (&catalogued, since_ms) {
        (Some(catalogued), Some(since_ms)) => {
            verification.run_of(catalogued.received_since(since_ms), &lookup, &report)
        }
        _ => std::thread::scope(|scope| {
            if !bar.is_hidden() {
                // The progress needs the total, which is known when the listing is done; reading does not wait for it.
                scope.spawn(|| verification.count_files().map(|files| bar.set_length(files)));
            }
            verification.run(&lookup, &report)
        }),
    };
    // What was listed was there; what the catalogue has besides is missing.
    let totals = totals.and_then(|totals| match &catalogued {
        Some(catalogued) if since_ms.is_none() => {
            let missing = verification.missing_of(catalogued.received_since(i64::MIN), &report)?;
            Ok(Totals { missing, ..totals })
        }
        _ => Ok(totals),
    });
    bar.finish_and_clear();
    let failure = catalogued.as_ref().and_then(Catalogued::failure);
    failure.iter().for_each(|failure| output::complain(failure));
    is_unread |= failure.is_some();
    match totals {
        Ok(totals) => {
            let missing = (!is_unread).then_some(totals.missing);
            let printed = output::print(&summary(&root, &totals, missing, since_ms, json));
            let is_damaged = totals.damaged > 0 || totals.missing > 0 || args.fail_misplaced && totals.misplaced > 0;
            if is_damaged || is_unread { Exit::Failed } else { printed }
        }
        Err(error) => {
            output::complain(&output::one_line(&error));
            Exit::Failed
        }
    }
}

/// On stderr if that is a terminal; otherwise hidden.
fn bar() -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style = "{bar:30} {percent}% {pos}/{len} files, {elapsed} elapsed, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}

fn line(verdict: &Verdict, json: bool) -> String {
    let condition = match verdict.condition() {
        Condition::Whole => "whole",
        Condition::MalformedAsReceived => "malformed-as-received",
        Condition::Misplaced => "misplaced",
        Condition::Damaged => "damaged",
        Condition::Missing => "missing",
        Condition::Foreign => "foreign",
    };
    let faults: Vec<String> = verdict.faults.iter().map(ToString::to_string).collect();
    let path = verdict.path.to_string_lossy();
    if !json {
        let because = if faults.is_empty() { "" } else { ": " };
        return format!("{condition} {path}{because}{}\n", faults.join("; "));
    }
    let digest = match verdict.digested {
        Digested::Matches => "matches",
        Digested::Differs => "differs",
        Digested::NotRecorded => "not-recorded",
    };
    as_json(&Line { path: &path, condition, bytes: verdict.bytes, digest, faults })
}

/// `missing`: `None` if the catalogue could not be read.
fn summary(root: &Path, totals: &Totals, missing: Option<u64>, since_ms: Option<i64>, json: bool) -> String {
    let Totals { files, bytes, damaged, malformed_as_received, misplaced, without_digest, foreign, gone, .. } = *totals;
    let since = since_ms.map(rfc3339);
    let whole = files - damaged - malformed_as_received - misplaced;
    if json {
        return as_json(&Summary {
            files,
            bytes,
            whole,
            malformed_as_received,
            misplaced,
            damaged,
            without_digest,
            foreign,
            gone,
            missing,
            since,
        });
    }
    let mut text = format!(
        "{}: {files} files{}, {}: {whole} whole, {malformed_as_received} malformed as received, {misplaced} misplaced, {damaged} damaged, {} missing\n",
        root.display(),
        since.map(|since| format!(" received since {since}")).unwrap_or_default(),
        ByteSize(bytes).display().iec(),
        missing.map_or("an unknown number".to_owned(), |missing| missing.to_string()),
    );
    let are = |number: u64| if number == 1 { "1 is".to_owned() } else { format!("{number} are") };
    if let Some(missing) = missing.filter(|missing| *missing > 0) {
        text.push_str(&format!(
            "{} missing: in the catalogue, and not on the disk; restore what is missing, or let `tidegate catalogue catch-up` \
             note that it is gone\n",
            are(missing)
        ));
    }
    if misplaced > 0 {
        text.push_str(&format!(
            "{} misplaced, and no damage: moved, or stored under another layout; --config names the node's configuration, \
             --layout a layout of former times\n",
            are(misplaced)
        ));
    }
    if foreign > 0 {
        text.push_str(&format!(
            "{} foreign: neither DICOM files nor at a path of the layout, links, or names with a leading period\n",
            are(foreign)
        ));
    }
    if without_digest > 0 {
        let have = if without_digest == 1 { "has" } else { "have" };
        text.push_str(&format!("{without_digest} {have} no digest: the structure was verified, not every byte\n"));
    }
    text
}

fn as_json(line: &impl Serialize) -> String {
    serde_json::to_string(line).map_or_else(|_| String::new(), |line| line + "\n")
}

#[cfg(test)]
mod tests {
    use tidegate_storage::verify::Fault;

    use super::*;

    #[test]
    fn the_totals_count_what_is_missing_in_words_that_fit_one() {
        let totals = Totals { files: 3, ..Totals::default() };
        let of = |missing| summary(Path::new("data"), &totals, missing, None, false);
        let text = |missing| of(Some(missing));
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert!(first(&text(0)).ends_with("3 whole, 0 malformed as received, 0 misplaced, 0 damaged, 0 missing"));
        assert!(first(&text(1)).ends_with(" 1 missing") && text(1).contains("\n1 is missing: "), "{}", text(1));
        assert!(text(2).contains("\n2 are missing: "), "{}", text(2));
        assert!(first(&of(None)).ends_with(" 0 damaged, an unknown number missing"), "{}", of(None));
    }

    #[test]
    fn lines_are_for_people_or_for_programs() {
        let faults = vec![Fault::Digest, Fault::Misplaced { belongs_at: "a/\"b\".dcm".into() }];
        let verdict = Verdict { path: "x.dcm".into(), bytes: 7, digested: Digested::Differs, faults };
        let text = line(&verdict, false);
        assert!(text.starts_with("damaged x.dcm: its bytes are not those"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&line(&verdict, true)).unwrap();
        assert_eq!((&json["condition"], &json["digest"]), (&"damaged".into(), &"differs".into()));
        assert_eq!(json["faults"][1], "elsewhere than the layout puts it: a/\"b\".dcm");
    }
}
