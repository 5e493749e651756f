//! `tidegate studies`, `study`, `instance` and `catalogue`: what is stored, asked of the running node, and without one of the file.

mod at_destination;
mod reconcile;
pub(super) mod source;
#[cfg(test)]
mod tests;
mod text;
mod whole;
mod work;

#[cfg(test)]
pub(super) use tests::widest;

use std::time::SystemTime;

use clap::{Args, Subcommand};

pub(super) use self::reconcile::{ReconcileArgs, reconcile};
use self::source::Source;
pub(super) use self::source::reader;
use super::Exit;
use super::output::{self, show};
use super::reach::Reach;
use super::source::refuse;
use crate::admin::catalogue::look;
use crate::admin::catalogue::model::{CatalogueState, Studies};
use crate::admin::catalogue::search::{DEFAULT_LIMIT, MAX_LIMIT, StudySearch, moment};
use crate::admin::catalogue::state::CatalogueWork;

/// `tidegate studies`
#[derive(Debug, Args)]
#[command(after_help = "\
All conditions must fit, in upper or lower case. TEXT is what one has at hand: the beginning of a patient ID, of a patient's name (family \
name first: Doe^Jane or \"Doe, Jane\") or of any of its components, of an accession number or of a Study Instance UID, or a whole AE title.

Times are UTC. If no node runs, the catalogue is read as it was left. Exit codes: 0 found, 1 nothing fits or the catalogue cannot be \
read, 2 usage or configuration error, 4 no node answered.

  tidegate studies                          the last 50
  tidegate studies --since 2h --source CT1  what CT1 has sent in the last two hours
  tidegate studies doe                      of patients whose name begins so
  tidegate studies --accession A1234 --json")]
pub(super) struct StudiesArgs {
    #[command(flatten)]
    reach: Reach,
    /// The beginning of a patient ID or name, accession number or Study Instance UID, or an AE title
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// An instance was received since: how long ago (2h), a day (2026-11-29, yesterday) or a time (2026-11-29T10:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = checked_moment)]
    since: Option<String>,
    /// The last instance was received before
    #[arg(long, value_name = "TIME", value_parser = checked_moment)]
    until: Option<String>,
    /// Patient ID or name, its beginning
    #[arg(long, value_name = "TEXT")]
    patient: Option<String>,
    /// Accession number, its beginning
    #[arg(long, value_name = "TEXT")]
    accession: Option<String>,
    /// Calling AE title of a sender
    #[arg(long, value_name = "AET")]
    source: Option<String>,
    /// Something of it is owed to a destination
    #[arg(long)]
    undelivered: bool,
    /// It is open: instances of it may be coming
    #[arg(long, conflicts_with = "complete")]
    open: bool,
    /// It is complete: nothing new has come for its quiet time
    #[arg(long)]
    complete: bool,
    /// Most studies, the newest first
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// `tidegate study`
#[derive(Debug, Args)]
#[command(after_help = "\
It shows each series with its files, the gaps in its instance numbers, numbers that several instances have, further versions of an \
instance (storage.duplicates = \"keep-both\"), and files that are not there any more; and who sent it. A gap is no proof: some devices \
skip numbers.

Times are UTC. If no node runs, the catalogue is read as it was left. Exit codes: 0 found, 1 not known or the catalogue cannot be \
read, 2 usage or configuration error, 4 no node answered.")]
pub(super) struct StudyArgs {
    #[command(flatten)]
    of: OneArgs,
}

/// `tidegate instance`
#[derive(Debug, Args)]
#[command(after_help = "\
It shows each file of the instance, versions too, with its path below the storage root, its digest as `xxh128sum` prints it, and who \
sent it; files that are not there any more with the time since when they are not.

Times are UTC. If no node runs, the catalogue is read as it was left. Exit codes: 0 found, 1 not known or the catalogue cannot be \
read, 2 usage or configuration error, 4 no node answered.")]
pub(super) struct InstanceArgs {
    #[command(flatten)]
    of: OneArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    #[command(flatten)]
    reach: Reach,
    /// Study Instance UID of a study, SOP Instance UID of an instance
    #[arg(value_name = "UID")]
    uid: String,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// `tidegate catalogue`
#[derive(Debug, Args)]
#[command(after_help = "\
The catalogue is derived from the stored files: no file is changed by any of these, and instances are received meanwhile. \
Ctrl-C ends the wait; a running node continues the work, and without one what was done until then stays.

  tidegate catalogue status    how far it can be relied on
  tidegate catalogue check     compare it with the list of stored files; exit code 1 if they differ
  tidegate catalogue catch-up  the same, and correct it: what people removed is gone from then on
  tidegate catalogue rebuild   read every stored file, and correct it")]
pub(super) struct CatalogueArgs {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: CatalogueCommand,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum CatalogueCommand {
    /// Show the file, its condition, and the work under way
    Status,
    /// Compare the catalogue with the list of stored files, and change nothing
    Check,
    /// Compare it with the list of stored files, and correct it
    CatchUp,
    /// Read every stored file, and correct what the catalogue has of it
    Rebuild,
}

pub(super) fn checked_moment(text: &str) -> Result<String, String> {
    match moment(text, SystemTime::now()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(
            "must be how long ago, such as 2h, a day such as 2026-11-29, or a time in UTC such as 2026-11-29T10:00:00Z"
                .to_owned(),
        ),
    }
}

pub(super) fn studies(args: StudiesArgs) -> Exit {
    let StudiesArgs { reach, text, since, until, patient, accession, source, undelivered, open, complete, limit, json } =
        args;
    let completeness = [(open, "open"), (complete, "complete")].into_iter().find(|(is_asked, _)| *is_asked);
    let search = StudySearch {
        text,
        since,
        until,
        patient,
        accession,
        source,
        undelivered: undelivered.then_some(true),
        completeness: completeness.map(|(_, state)| state.to_owned()),
        ..StudySearch::default()
    };
    let found = match source::of(reach).and_then(|mut source| pages(&mut source, search, limit)) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    warn_if_partial(found.catalogue.as_ref());
    if found.studies.is_empty() && !json {
        let patients = if open || complete { "" } else { "; patients are not kept if catalogue.patient is false" };
        return nothing(&format!("no study matches{patients}"));
    }
    let printed = show(json, &found, text::studies);
    if found.studies.is_empty() {
        return Exit::Failed;
    }
    if found.next.is_some() && !json {
        output::complain(&format!("only the newest {limit} are shown: raise --limit, or narrow the search"));
    }
    printed
}

/// So many studies, page by page.
fn pages(source: &mut Source, mut search: StudySearch, limit: u32) -> Result<Studies, Exit> {
    let mut all: Option<Studies> = None;
    loop {
        let have = all.as_ref().map_or(0, |all| u32::try_from(all.studies.len()).unwrap_or(u32::MAX));
        search.limit = Some(limit.saturating_sub(have).clamp(1, MAX_LIMIT));
        search.after = all.as_ref().and_then(|all| all.next.clone());
        let page = source.ask(|node| node.studies(search.clone()), |reader| look::studies(reader, &search))?;
        let mut studies = all.take().map(|all| all.studies).unwrap_or_default();
        studies.extend(page.studies);
        let is_enough = studies.len() >= limit as usize || page.next.is_none();
        let found = Studies { studies, ..page };
        if is_enough {
            return Ok(found);
        }
        all = Some(found);
    }
}

pub(super) fn study(args: StudyArgs) -> Exit {
    let OneArgs { reach, uid, json } = args.of;
    let uid = uid.trim();
    let found = found_or_caveat(
        reach,
        |source| source.ask(|node| node.study(uid), |reader| look::study(reader, uid)),
        |study| study.catalogue.as_ref(),
    );
    match found {
        Ok(Some(study)) => show(json, &study, text::study),
        Ok(None) => nothing("no study with that UID is known"),
        Err(exit) => exit,
    }
}

pub(super) fn instance(args: InstanceArgs) -> Exit {
    let OneArgs { reach, uid, json } = args.of;
    let found = found_or_caveat(
        reach,
        |source| source.ask(|node| node.instances(&uid), |reader| look::instances(reader, &uid)),
        |instances| instances.catalogue.as_ref(),
    );
    match found {
        Ok(Some(instances)) => show(json, &instances, text::instances),
        Ok(None) => nothing("no instance with that UID is known"),
        Err(exit) => exit,
    }
}

/// Asks for one thing, and says on stderr what limits the answer, one that finds nothing too.
fn found_or_caveat<T>(
    reach: Reach,
    ask: impl FnOnce(&mut Source) -> Result<Option<T>, Exit>,
    state: impl FnOnce(&T) -> Option<&CatalogueState>,
) -> Result<Option<T>, Exit> {
    let mut source = source::of(reach)?;
    let found = ask(&mut source)?;
    match &found {
        Some(found) => warn_if_partial(state(found)),
        None => warn_of_node(&source),
    }
    Ok(found)
}

/// Says on stderr what limits an answer of a node, by the state of its catalogue now.
pub(super) fn warn_of_node(source: &Source) {
    warn_if_partial(source.node().and_then(|node| node.catalogue().ok()).as_ref());
}

/// Says on stderr what limits an answer that was given in this state.
fn warn_if_partial(state: Option<&CatalogueState>) {
    state.and_then(CatalogueState::caveat).iter().for_each(|caveat| output::complain(caveat));
}

fn nothing(why: &str) -> Exit {
    output::complain(why);
    Exit::Failed
}

pub(super) fn catalogue(args: CatalogueArgs) -> Exit {
    let CatalogueArgs { reach, command, json } = args;
    let work = match command {
        CatalogueCommand::Status => {
            let state = reach.client().and_then(|client| client.catalogue().map_err(|error| refuse(&error)));
            return state.map_or_else(|exit| exit, |state| show(json, &state, text::state));
        }
        CatalogueCommand::Check => CatalogueWork::Check,
        CatalogueCommand::CatchUp => CatalogueWork::CatchUp,
        CatalogueCommand::Rebuild => CatalogueWork::Rebuild,
    };
    match work::done(reach, work) {
        Ok(done) => {
            let printed = show(json, &done, text::done);
            let differs = work == CatalogueWork::Check && done.differences() > 0;
            if differs || done.unreadable > 0 || !done.problems.is_empty() { Exit::Failed } else { printed }
        }
        Err(exit) => exit,
    }
}
