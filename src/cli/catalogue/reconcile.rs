//! `tidegate reconcile`: the catalogue against the stored files, and against what destinations have.

use clap::Args;
use serde::Serialize;
use tidegate_catalogue::{Error, Reader, Reconciled};

use super::{at_destination, text, work};
use crate::admin::catalogue::model::WorkProgress;
use crate::admin::catalogue::state::CatalogueWork;
use crate::cli::Exit;
use crate::cli::output::{self, show};
use crate::cli::reach::Reach;
use crate::cli::table::wrapped;
use crate::cli::text::{count, safe};

/// `tidegate reconcile`
#[derive(Debug, Args)]
#[command(after_help = "\
It compares the catalogue with the list of stored files, as `tidegate catalogue check` does, and looks for each stored instance whether \
every destination that it was received for has it, or is owed it. What waits or is tried again is no difference; what is dead is one.

With --destination, it asks that destination by C-FIND which instances it has of each study that was delivered there, and names those that \
are missing there, and those that are not known here. It does so with and without a running node, and changes nothing.

Exit codes: 0 nothing differs, 1 something differs or cannot be looked at, 2 usage or configuration error, 4 no node answered, 5 the \
destination did not answer all that it was asked.

  tidegate reconcile --json
  tidegate reconcile --destination archive
  tidegate reconcile --destination archive --study 1.2.3
  tidegate outbox add --destination archive --instance 1.2.3.4   deliver what is missing again")]
pub(in crate::cli) struct ReconcileArgs {
    #[command(flatten)]
    reach: Reach,
    /// Ask this destination what it has of what was delivered there
    #[arg(long, value_name = "NAME")]
    destination: Option<String>,
    /// Only of this Study Instance UID
    #[arg(long, value_name = "UID", requires = "destination")]
    study: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Reconciliation {
    /// Differences of all kinds.
    differences: u64,
    /// The catalogue against the stored files.
    files: WorkProgress,
    destinations: Vec<Destination>,
    /// Deliveries that are dead.
    dead: u64,
    /// Deliveries that are neither made nor owed.
    missing: u64,
    /// The first of both.
    not_delivered: Vec<NotDelivered>,
}

/// What a destination has, and is owed.
#[derive(Serialize)]
struct Destination {
    name: String,
    delivered: i64,
    waiting: i64,
    retrying: i64,
    dead: i64,
}

#[derive(Serialize)]
struct NotDelivered {
    sop_instance_uid: String,
    destination: String,
    state: &'static str,
}

pub(in crate::cli) fn reconcile(args: ReconcileArgs) -> Exit {
    let ReconcileArgs { reach, destination, study, json } = args;
    if !reach.is_of_a_root() {
        output::complain(
            "the file of the catalogue is read beside the node: give --config or --storage, and not --socket",
        );
        return Exit::Misused;
    }
    if let Some(destination) = destination {
        return at_destination::reconcile(&reach, &destination, study.as_deref(), json).unwrap_or_else(|exit| exit);
    }
    let path = match reach.settings() {
        Ok(settings) => settings.catalogue.map(|catalogue| catalogue.path),
        Err(exit) => return exit,
    };
    let Some(path) = path else {
        output::complain("the catalogue is off: set [catalogue] path = \"auto\"");
        return Exit::Failed;
    };
    let files = match work::done(reach, CatalogueWork::Check) {
        Ok(files) => files,
        Err(exit) => return exit,
    };
    match Reader::open(&path).and_then(|mut reader| with_deliveries(&mut reader, files)) {
        Ok(found) => {
            let printed = show(json, &found, of_text);
            if found.differences > 0 { Exit::Failed } else { printed }
        }
        Err(error) => {
            output::complain(&output::one_line(&error));
            Exit::Failed
        }
    }
}

fn with_deliveries(reader: &mut Reader, files: WorkProgress) -> Result<Reconciliation, Error> {
    let mut found = Reconciled::default();
    while !found.is_done() {
        reader.reconcile(&mut found)?;
    }
    let destinations: Vec<_> = reader
        .destinations()?
        .into_iter()
        .map(|row| {
            let tidegate_catalogue::Sums { delivered, waiting, retrying, dead, .. } = row.sums;
            Destination { name: row.name, delivered, waiting, retrying, dead }
        })
        .collect();
    // Those of files that are gone among them.
    let dead = destinations.iter().map(|row| row.dead.unsigned_abs()).sum::<u64>().max(found.dead);
    let differences = files.differences() + files.unreadable + files.problems.len() as u64 + dead + found.missing;
    let not_delivered = found.named.into_iter().map(|one| NotDelivered {
        sop_instance_uid: one.sop_instance_uid.to_string(),
        destination: one.destination,
        state: if one.is_dead { "dead" } else { "missing" },
    });
    Ok(Reconciliation {
        differences,
        destinations,
        dead,
        missing: found.missing,
        not_delivered: not_delivered.collect(),
        files,
    })
}

fn of_text(found: &Reconciliation, width: usize) -> String {
    let mut out = text::done(&found.files, width);
    for Destination { name, delivered, waiting, retrying, dead } in &found.destinations {
        let line =
            format!("{}: {delivered} delivered, {waiting} waiting, {retrying} tried again, {dead} dead", safe(name));
        out += &wrapped("", &line, width);
    }
    for NotDelivered { sop_instance_uid, destination, state } in &found.not_delivered {
        out += &format!("{}: {state} for {}\n", safe(sop_instance_uid), safe(destination));
    }
    out + &wrapped("", &count(found.differences, "difference"), width)
}
